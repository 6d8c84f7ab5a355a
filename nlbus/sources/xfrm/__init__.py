"""xfrm: IPsec: states (SA) and policies that are added, expire, move and are removed."""

from nlbus.kernel.groups import Groups
from nlbus.sources.source import NEEDS_ADMIN, Source
from nlbus.sources.xfrm.events import (
    ACQUIRES,
    DEFAULTS,
    EXPIRIES,
    MAPPINGS,
    MIGRATIONS,
    POLICY_EXPIRIES,
    POLICY_FLUSHES,
    REPORTS,
    STATE_EVENTS,
    STATE_FLUSHES,
)
from nlbus.sources.xfrm.objects import POLICIES, STATES

XFRM_MSG_BASE = 0x10

MESSAGES = (
    "NEWSA", "DELSA", "GETSA", "NEWPOLICY", "DELPOLICY", "GETPOLICY", "ALLOCSPI", "ACQUIRE", "EXPIRE",
    "UPDPOLICY", "UPDSA", "POLEXPIRE", "FLUSHSA", "FLUSHPOLICY", "NEWAE", "GETAE", "REPORT", "MIGRATE",
    "NEWSADINFO", "GETSADINFO", "NEWSPDINFO", "GETSPDINFO", "MAPPING", "SETDEFAULT", "GETDEFAULT",
    "MIGRATE_STATE",
)  # fmt: skip

GROUPS = {
    "acquire": 1,
    "expire": 2,
    "sa": 3,
    "policy": 4,
    "aevents": 5,
    "report": 6,
    "migrate": 7,
    "mapping": 8,
}

XFRM = Source(
    name="xfrm",
    protocol=6,
    kernel_name="NETLINK_XFRM",
    framing="nlmsg",
    groups=GROUPS,
    # To the kernel, a listener on acquire is a key manager: for each packet without keys it makes an
    # incomplete state, and keeps it until a key manager completes it.
    default=Groups(*GROUPS.values()) - Groups(GROUPS["acquire"]),
    schemas=(
        STATES,
        POLICIES,
        ACQUIRES,
        EXPIRIES,  # after those that it deletes: as an event, it is an expiry
        POLICY_EXPIRIES,
        MIGRATIONS,
        REPORTS,
        MAPPINGS,
        STATE_EVENTS,
        STATE_FLUSHES,
        POLICY_FLUSHES,
        DEFAULTS,
    ),
    types={number: f"XFRM_MSG_{name}" for number, name in enumerate(MESSAGES, XFRM_MSG_BASE)},
    privileged=True,
    needs=NEEDS_ADMIN,
    option="CONFIG_XFRM_USER",
    module="xfrm_user",
    note="a listener on acquire counts as a key manager: the kernel keeps incomplete states for it",
    example="nlbus listen xfrm -g sa,policy",
)
