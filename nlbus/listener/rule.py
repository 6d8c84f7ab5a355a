"""A rule: which events, and what is done with each."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nlbus.bus.sockets import buffer_sizes, option_values, trusted
from nlbus.errors import SchemaError, UnknownColumn
from nlbus.kernel.groups import Groups
from nlbus.kernel.netns import Netns, inside
from nlbus.listener.events import OWN, Event, Match, message_events, table_events
from nlbus.schema.schema import NL_COLUMNS
from nlbus.schema.topic import Topic
from nlbus.sources import GroupsLike, Source, did_you_mean, find, resolve_groups
from nlbus.table.chunks import Mask
from nlbus.table.expressions import Expression
from nlbus.table.expressions import field as column_of
from nlbus.table.query import Reading, looks_closer, tables_with

if TYPE_CHECKING:
    from nlbus.bus.batch import Batch
    from nlbus.table.table import Table

MESSAGE_KEYS = ("type", "type_name", "flags", "seq", "portid", "payload", "groups", "uid")


NL_NAMES = frozenset(column.name for column in NL_COLUMNS)
_counting = threading.Lock()


class Handler(Protocol):
    """What a rule does with an event."""

    def handle(self, rule: Rule, event: Event, ending: int) -> None:
        """Do it; end soon once the descriptor `ending` is readable. Failed, or whatever else goes wrong."""

    def __str__(self) -> str: ...


class Failed(Exception):  # noqa: N818 - what it is to its rule
    """An event was not handled well: the words say why. `timeout`: it took too long."""

    def __init__(self, words: str, timeout: bool = False) -> None:
        super().__init__(words)
        self.timeout = timeout


@dataclass(kw_only=True, eq=False)
class Rule:
    """Events of a source that fit go to a handler, those of one device or key in their order.

    groups, netns, and `how` (options, trust ...): as of a Subscriber. tables: of these only; None: of those
    that have all that `match` and `where` look at. match: globs by key. where: an expression of columns.
    debounce: seconds of quiet, after which the last event of a key counts; at the latest after ten times
    that. initial: what there is already comes first, and again
    after a loss. SchemaError, UnknownColumn, UnknownSource, KernelError.
    """

    source: str
    handler: Handler
    name: str = ""
    groups: GroupsLike | None = None
    tables: str | Topic | Iterable[str | Topic] | None = None
    match: Mapping[str, str] = field(default_factory=dict)
    where: Expression | None = None
    debounce: float = 0.0
    initial: bool = False
    netns: Netns = None
    how: Mapping[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = dict.fromkeys(("matched", "handled", "failed", "timeouts", "merged", "dropped"), 0)
        self.lost = 0  # events and datagrams, since the last event
        if not 0 <= self.debounce < float("inf"):
            raise SchemaError(f"debounce={self.debounce}: seconds, from 0")
        self.where_from: Source = inside(self.netns, lambda: find(self.source))
        self._check_how()
        tables = [self.tables] if isinstance(self.tables, str | Topic) else list(self.tables or ())
        self.topics = [table for table in tables if isinstance(table, Topic)]
        names = [table for table in tables if isinstance(table, str)]
        self.keys = self._keys()  # that its events may have
        self.fits = Match({key: str(glob) for key, glob in self.match.items()})
        self.table_names = self._tables(names)
        self.members = self._members(bool(names) or self.where is not None)
        self.snapshot = self._snapshot(bool(names)) if self.initial else []
        self._narrow = self._expression()

    def _check_how(self) -> None:
        """Now, not when it begins."""
        option_values(self.where_from, self.how.get("options"))
        trusted(self.where_from, self.how.get("trust"))
        buffer_sizes(self.how.get("buffer_events"), 0)

    def _tables(self, names: list[str]) -> list[str]:
        """Those that it looks at; of a message that is of several, the last one counts."""
        source = self.where_from
        if self.topics or not source.schemas:
            if names or self.where is not None:
                Reading(source, names or None).schema(names[0] if names else "")  # raises
            known = {name for topic in self.topics for name in topic.dtype.names or ()} | {
                *MESSAGE_KEYS,
                *OWN,
            }
            for key in self.match:
                if key not in known:
                    raise UnknownColumn(f"no key {key!r} of {source.name}{did_you_mean(key, sorted(known))}")
            return []
        looked_at = [] if self.where is None else sorted(self.where.columns)
        if source.name == "uevent":
            self._check_variables()
        else:
            looked_at += [key for key in self.match if key not in OWN]
        found = tables_with(source, names, looked_at)
        reading = Reading(source, found, self.where)
        return sorted(found, key=lambda name: looks_closer(reading.schema(name)))

    def _keys(self) -> frozenset[str]:
        source = self.where_from
        if self.topics:
            return frozenset(name for topic in self.topics for name in topic.dtype.names or ())
        if not source.schemas:
            return frozenset(MESSAGE_KEYS)
        every = (column.name for name in source.tables for column in Reading(source).empty(name).columns)
        columns = frozenset(name for name in every if name not in NL_NAMES)
        return frozenset(map(str.upper, columns - {"env"})) if source.name == "uevent" else columns

    def _check_variables(self) -> None:
        """Devices have whatever variables; but those of the columns are no such."""
        for key in self.match:
            if key != key.upper() and key not in OWN:
                raise UnknownColumn(f"no variable {key!r} of uevent (did you mean {key.upper()!r}?)")

    def _members(self, chosen: bool) -> Groups:
        source, groups = self.where_from, self.groups
        if groups is None and self.topics:
            return Groups(*(group for topic in self.topics for group in topic.groups))
        if groups is None and chosen:
            groups = Reading(source, self.table_names).groups
        return resolve_groups(source, groups)

    def _snapshot(self, chosen: bool) -> list[str]:
        """The tables of which there is one; all, where they were asked for by name."""
        schemas = {schema.name: schema for schema in self.where_from.schemas}
        heard = {name for name, number in self.where_from.groups.items() if number in self.members}
        able = [
            name
            for name in self.table_names
            if schemas[name].dump and heard.intersection(schemas[name].groups)
        ]
        lacking = [name for name in self.table_names if schemas[name].dump is None] if chosen else []
        if lacking or not able:
            what = f"{self.source} {', '.join(lacking)}".strip()
            raise SchemaError(f"initial: there is no snapshot of {what}, only events")
        return able

    def _expression(self) -> dict[str, Expression | None]:
        """`where`, and of `match` what columns of text can tell at once: less is left for the slow way."""
        found: dict[str, Expression | None] = {}
        uevent = self.where_from.name == "uevent"
        for name in self.table_names:
            columns = {column.name: column for column in Reading(self.where_from).empty(name).columns}
            tests: list[Expression] = [] if self.where is None else [self.where]
            for key, glob in self.fits.globs.items():
                column = columns.get(key.lower() if uevent else key)
                if column and column.storage == "text" and not column.list and "|" not in glob:
                    tests.append(column_of(column.name).matches(glob))
            found[name] = reduce(and_, tests) if tests else None
        return found

    def count(self, what: str) -> None:
        """One more of these, from any thread."""
        with _counting:
            self.counts[what] += 1

    def pick(self, table: Table, name: str) -> Mask:
        """The rows that may fit: all but what `match` says of other than text."""
        # 0: of a dump, or a message of its own. On the bus it is but one of those that the event went to.
        bus = self.where_from.framing == "bus"
        picked: Mask = np.isin(table["nl_group"], [0, *self.members]) | bus
        narrow = self._narrow[name]
        return picked if narrow is None else picked & narrow.mask(table)

    def events(self, batch: Batch) -> list[tuple[int, Event]]:
        """The events of a batch that fit, by the row of the message, in their order."""
        if batch.origin != "live" and not self.initial:
            return []
        source, found = self.where_from, list[Event]()
        for name in self.table_names:
            found += table_events(source, batch, name, self.pick)
        for topic in self.topics:
            rows = batch.table(topic).iter_rows(absent=False)
            found += ({"nl_table": topic.name} | row | {"nl_group": str(row["nl_group"])} for row in rows)
        if not self.table_names and not self.topics:
            found += message_events(source, batch, self.members)
        fitting = {event.pop("nl_row"): event for event in found if self.fits(event)}
        return sorted(fitting.items())

    def __str__(self) -> str:
        return self.name or str(self.handler)


def named(rules: Sequence[Rule]) -> dict[str, Rule]:
    """The rules by name: their own, or that of what they do, numbered where it is not the only one."""
    found: dict[str, Rule] = {}
    for rule in rules:
        name, number = str(rule), 2
        while name in found:
            name, number = f"{rule} ({number})", number + 1
        found[name] = rule
    return found
