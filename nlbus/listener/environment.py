"""The environment of a program that handles an event."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from nlbus.listener.events import Event, as_text

if TYPE_CHECKING:
    from nlbus.listener.rule import Rule

# The kernel allows 128 KiB per variable, and about 2 MiB for all variables and arguments together.
LONGEST_VALUE = 32 << 10  # bytes
LARGEST_TOTAL = 256 << 10

PREFIX = "NLBUS_EVENT_"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")

# Variables of devices beside the columns of the table: those that the kernel's drivers put into uevents, and
# udev's own. Programs obey more names than a list of bad ones could hold, so this is a list of good ones.
# TEMP and TIMEOUT, which a driver or two sets, are missing: programs obey them.
DEVICE_VARIABLES = re.compile(
    r"ID_\w+|TAGS|CURRENT_TAGS|DEVLINKS|USEC_INITIALIZED"
    r"|SYNTH_ARG_\w+|DEVMODE|DEVUID|DEVGID|PARTN|PARTNAME|PARTUUID|DISK_(RO|MEDIA_CHANGE|EJECT_REQUEST)"
    r"|PCI_(CLASS|ID|SUBSYS_ID|SLOT_NAME)|BUSNUM|DEVNUM|USB_(STATE|UDC_NAME|UDC_DRIVER)|HID_(ID|NAME|PHYS|UNIQ)"
    r"|OF_(NAME|FULLNAME|TYPE|COMPATIBLE_N|(COMPATIBLE|ALIAS)_[0-9]+)"
    r"|NAME|PHYS|UNIQ|PROP|EV|KEY|REL|ABS|MSC|LED|SND|FF|SW"  # input devices
    r"|POWER_SUPPLY_\w+|SDEV_(UA|MEDIA_CHANGE)|SERIO_(TYPE|PROTO|ID|EXTRA|FIRMWARE_ID)|MMC_(TYPE|NAME)"
    r"|SDIO_(CLASS|ID|REVISION|INFO[0-9])|RFKILL_(NAME|TYPE|STATE)|FIRMWARE|COUNTRY"
    r"|NVME_(TRTYPE|TRADDR|TRSVCID|HOST_TRADDR|HOST_IFACE|AEN|EVENT)"
    r"|DM_(NAME|UUID|TARGET|ACTION|SEQNUM|PATH|NR_VALID_PATHS|COOKIE)"
    r"|HOTPLUG|CONNECTOR|PROPERTY|LEASE|WEDGED|EVENT|TRIP|STATE",
    re.ASCII,
)


def variables(rule: Rule, event: Event, base: Mapping[str, str]) -> dict[str, str]:
    """The environment for a program: `base`, the event by its keys, and NLBUS_* about the event.

    Only names that the source defines are used as they are: the columns of its tables (uevent: in upper
    case), and for uevent the variables that the kernel's drivers and udev set (DEVICE_VARIABLES). A column
    replaces a variable of `base`, and is unset where the event lacks it; nothing else replaces a variable.
    Any other key becomes NLBUS_EVENT_<key>. A key that cannot name a variable, or a value that is too large,
    is left out; NLBUS_OMITTED lists these.
    """
    about = {
        "NLBUS_RULE": str(rule),
        "NLBUS_SOURCE": rule.source,
        "NLBUS_TABLE": event.get("nl_table"),
        "NLBUS_OP": event.get("nl_op"),
        "NLBUS_ORIGIN": event.get("nl_origin"),
        "NLBUS_GROUP": event.get("nl_group"),
        "NLBUS_NSID": event.get("nl_nsid"),
        "NLBUS_TIME_NS": event.get("nl_time"),
        "NLBUS_LOST": event.get("nl_lost"),
        "NLBUS_COUNT": event.get("nl_count"),
    }
    # The fields of a topic may be called anything, so they do not replace a variable.
    columns = frozenset() if rule.topics else rule.keys
    found = {key: value for key, value in base.items() if key not in columns and not key.startswith("NLBUS_")}
    found |= {name: _without_nul(value) for name, value in about.items() if value is not None}
    room, omitted = LARGEST_TOTAL, []
    for key, value in event.items():
        if key.startswith("nl_"):
            continue
        text = _without_nul(value)
        name = key if key in columns or (_is_known(rule, key) and key not in base) else PREFIX + key
        size = len(name) + len(os.fsencode(text)) + 2
        if not NAME.fullmatch(key) or size > min(LONGEST_VALUE, room):
            omitted.append(key if NAME.fullmatch(key) else "?")
            continue
        found[name] = text
        room -= size
    if omitted:
        found["NLBUS_OMITTED"] = " ".join(omitted)[:1024]
    return found


def _is_known(rule: Rule, key: str) -> bool:
    """Whether the source defines this name, beside the columns of its tables."""
    if rule.resolved_source.name == "uevent":
        return DEVICE_VARIABLES.fullmatch(key) is not None
    return key in rule.keys


def _without_nul(value: object) -> str:
    return as_text(value).replace("\0", "")
