"""Events as dicts of Python values; matching them; the key within which their order is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import translate
from functools import cache, reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from nlbus._core.render.rows import key_of
from nlbus.kernel.groups import Groups
from nlbus.sources import group_names
from nlbus.sources.uevent import variables
from nlbus.table.expressions import Expression, field

if TYPE_CHECKING:
    from nlbus.bus.batch import Batch
    from nlbus.schema.types import Column
    from nlbus.sources import Source
    from nlbus.table.query import Pick, Query

Event = dict[str, Any]

# Keys that events of every source can have.
EVENT_KEYS = ("nl_table", "nl_time", "nl_op", "nl_origin", "nl_group", "nl_nsid", "nl_lost", "nl_count")


# -- events -----------------------------------------------------------------------------------------


def table_events(query: Query, batch: Batch, preselect: Pick) -> Iterator[Event]:
    """The preselected rows of the query's tables, as events."""
    groups = _GroupNames(query.source)
    of_devices = query.source.name == "uevent"
    for row in query.rows(batch, pick=preselect):
        event: Event = variables(row["env"]) | _nl_columns(row) if of_devices else row
        event["nl_group"] = groups[event["nl_group"]]
        yield event


class _GroupNames(dict[int, str | None]):
    """The names of a source's groups by number, found when they are looked up first."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source

    def __missing__(self, number: int) -> str | None:
        found = self[number] = _group(self._source, number)
        return found


def message_events(source: Source, batch: Batch, groups: Groups) -> Iterator[Event]:
    """Messages of a source without tables, or events of the bus, to these groups; payload is bytes."""
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


def _nl_columns(event: Event) -> Event:
    return {name: value for name, value in event.items() if name.startswith("nl_")}


def _group(source: Source, number: int) -> str | None:
    """The name of a group; None for a message that came to no group: from a dump, or unicast."""
    return group_names(source, [number])[0] if number else None


# -- matching ---------------------------------------------------------------------------------------


class Match:
    """Globs by key, all of which must match; `|` separates alternatives, as in udev rules.

    Values are compared as text: enums by name, addresses as printed; one element of a list is enough. An
    absent value matches nothing.
    """

    def __init__(self, globs: Mapping[str, str]) -> None:
        self.globs = dict(globs)
        self._matchers = [(key, compiled(glob)) for key, glob in globs.items()]

    def __call__(self, event: Event) -> bool:
        """Whether an event matches."""
        for key, matches in self._matchers:
            value = event.get(key)
            if value is None:
                return False
            values = value if isinstance(value, list) else [value]
            if not any(matches(as_text(each)) for each in values):
                return False
        return True


def text_tests(source: Source, columns: Iterable[Column], globs: Mapping[str, str]) -> list[Expression]:
    """What globs by key say of columns of text, as expressions; of others they say more."""
    texts = {column.name for column in columns if column.storage == "text" and not column.list}
    named = ((key.lower() if source.name == "uevent" else key, glob) for key, glob in globs.items())
    return [
        reduce(or_, (field(name).matches(part) for part in glob.split("|")))
        for name, glob in named
        if name in texts
    ]


@cache
def compiled(glob: str) -> Callable[[str], re.Match[str] | None]:
    """A function that matches a text against a glob with its alternatives."""
    return re.compile("|".join(f"(?:{translate(part)})" for part in glob.split("|"))).match


def as_text(value: object) -> str:
    """A value as text, for matching and for the environment; bytes that are not printable UTF-8 as hex."""
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

# proc tables have no key: events of one process stay in order, by the first of these columns.
PROCESS = ("process_tgid", "child_tgid")


def ordering_key(source: Source, event: Event) -> object:
    """The key within which events are handled one after the other: a device, a row's key; None: no order."""
    return ordering(source)(event)


def ordering(source: Source) -> Callable[[Event], object]:
    """`ordering_key` of this source's events."""
    if source.name == "uevent":
        return _device
    if source.name == "proc":
        return _process
    keys = {each.name: ("nl_table", "nl_nsid", *each.key) for each in source.schemas if each.key}
    bus = source.framing == "bus"

    def ordered_by(event: Event) -> object:
        columns = keys.get(event.get("nl_table", ""))
        if columns is not None:
            return key_of(event, columns)
        return (event.get("portid"), tuple(event.get("groups", ()))) if bus else None

    return ordered_by


def _process(event: Event) -> object:
    return next((event[name] for name in PROCESS if name in event), None)


def _device(event: Event) -> object:
    """Identify a device as udev does: a rename changes its path but keeps its number."""
    if "IFINDEX" in event:
        return ("net", event["IFINDEX"])
    if "MAJOR" in event and "MINOR" in event:
        kind = "block" if event.get("SUBSYSTEM") == "block" else "char"
        return (kind, event["MAJOR"], event["MINOR"])
    return event.get("DEVPATH")
