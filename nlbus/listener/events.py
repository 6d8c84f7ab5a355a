"""Events as dicts of Python values, which event is whose, and what must stay in order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import translate
from functools import cache
from typing import TYPE_CHECKING, Any

from nlbus.kernel.groups import Groups
from nlbus.sources import group_names
from nlbus.table.chunks import Mask

if TYPE_CHECKING:
    from nlbus.bus.batch import Batch
    from nlbus.sources import Source
    from nlbus.table.table import Table

Event = dict[str, Any]
Pick = Callable[["Table", str], Mask]

# What is an event's own, of whatever source.
OWN = ("nl_table", "nl_time", "nl_op", "nl_origin", "nl_group", "nl_nsid", "nl_lost", "nl_count")


# -- events -----------------------------------------------------------------------------------------


def table_events(source: Source, batch: Batch, name: str, pick: Pick) -> Iterator[Event]:
    """The rows of a table that are picked."""
    table = batch.table(name)
    if not len(table):
        return
    for row in table.filter(pick(table, name)).iter_rows(absent=False):
        event: Event = {"nl_table": name} | row
        if source.name == "uevent":
            event = _variables(row["env"]) | _own(event)
        yield event | {"nl_group": _group(source, row["nl_group"])}


def message_events(source: Source, batch: Batch, groups: Groups) -> Iterator[Event]:
    """The messages of a source without tables, the events of the bus, to these groups: payload is bytes."""
    mask = groups.mask if source.framing == "bus" else 0
    for i, (seq, time_ns, to, kind, portid, uid) in enumerate(batch.events.tolist()):
        if to & mask:
            yield {
                "nl_row": i, "nl_time": time_ns, "nl_origin": batch.origin,
                "groups": list(Groups.from_mask(to)), "type": kind, "seq": seq, "portid": portid, "uid": uid,
                "payload": batch.payload(i),
            }  # fmt: skip
    for i, (_, _, kind, flags, seq, portid, group, nsid) in enumerate(
        () if mask else batch.messages.tolist()
    ):
        if group and group not in groups:
            continue
        event: Event = {"nl_row": i, "nl_time": batch.time_ns, "nl_origin": batch.origin}
        event |= {"nl_group": _group(source, group)} | ({"nl_nsid": nsid} if nsid >= 0 else {})
        if source.framing == "nlmsg":
            event |= {
                "type": kind,
                "type_name": source.type_name(kind) or str(kind),
                "flags": flags,
                "seq": seq,
            }
        yield event | {"portid": portid, "payload": batch.payload(i)}


def _own(event: Event) -> Event:
    return {name: value for name, value in event.items() if name.startswith("nl_")}


def _variables(pairs: list[str]) -> Event:
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def _group(source: Source, number: int) -> str | None:
    """By its name; None for what no group brought: a dump, a message of its own."""
    return group_names(source, [number])[0] if number else None


# -- matching ---------------------------------------------------------------------------------------


class Match:
    """Globs by key, all of which must fit: `|` stands between alternatives, as in rules of udev.

    Values are compared as text: names of numbers, addresses; of a list one fits. What is absent fits nothing.
    """

    def __init__(self, globs: Mapping[str, str]) -> None:
        self.globs = dict(globs)
        self._fits = [(key, compiled(glob)) for key, glob in globs.items()]

    def __call__(self, event: Event) -> bool:
        """Whether an event fits."""
        for key, fits in self._fits:
            value = event.get(key)
            if value is None:
                return False
            values = value if isinstance(value, list) else [value]
            if not any(fits(as_text(each)) for each in values):
                return False
        return True


@cache
def compiled(glob: str) -> Callable[[str], re.Match[str] | None]:
    """What tells whether a text fits a glob with its alternatives."""
    return re.compile("|".join(f"(?:{translate(part)})" for part in glob.split("|"))).match


def as_text(value: object) -> str:
    """A value as matching and the environment have it; bytes that are no printable UTF-8 in hex."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return value.hex()
        return text if all(c.isprintable() or c in "\t\n" for c in text) else value.hex()
    if isinstance(value, list):
        return " ".join(map(as_text, value))
    return str(value)


# -- order ------------------------------------------------------------------------------------------

# Of tables without a key: what an event is about. Those of one process stay in order.
PROCESS = ("process_tgid", "child_tgid")


def order_of(source: Source, event: Event) -> object:
    """Events of which this is the same are handled one after the other: those of a device, a row's key."""
    if source.name == "uevent":
        return _device(event)
    if source.name == "proc":
        return next((event[name] for name in PROCESS if name in event), None)
    name = event.get("nl_table")
    for schema in source.schemas:
        if schema.name == name and schema.key:
            return (name, event.get("nl_nsid"), *(_hashable(event.get(key)) for key in schema.key))
    if source.framing == "bus":
        return (event.get("portid"), tuple(event.get("groups", ())))
    return None


def _device(event: Event) -> object:
    """As udev knows a device: a rename, which changes its path, keeps its number."""
    if "IFINDEX" in event:
        return ("net", event["IFINDEX"])
    if "MAJOR" in event and "MINOR" in event:
        kind = "block" if event.get("SUBSYSTEM") == "block" else "char"
        return (kind, event["MAJOR"], event["MINOR"])
    return event.get("DEVPATH")


def _hashable(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
