"""A rule: which events it selects, and the handler that gets them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nlbus._text import is_bytes
from nlbus.bus.options import buffer_sizes, option_values, trusted
from nlbus.errors import SchemaError, UnknownColumn
from nlbus.filters import HEADS, Wanted
from nlbus.kernel.arguments import seconds
from nlbus.kernel.groups import Groups
from nlbus.kernel.interfaces import LiveInterfaces
from nlbus.kernel.netns import Netns, inside
from nlbus.listener.events import EVENT_KEYS, Event, Match, message_events, ordering, table_events, text_tests
from nlbus.schema.topic import Topic
from nlbus.schema.types import NL_COLUMNS
from nlbus.sources import GroupsLike, Source, did_you_mean, find, resolve_groups
from nlbus.table.chunks import Mask
from nlbus.table.expressions import Expression
from nlbus.table.names.facts import facts_names
from nlbus.table.query import Query, tables_with

if TYPE_CHECKING:
    from nlbus.bus.batch import Batch
    from nlbus.table.table import Table

MAX_DEBOUNCE = 86_400.0  # seconds
MESSAGE_KEYS = ("type", "type_name", "flags", "seq", "portid", "payload", "groups", "uid")

NL_NAMES = frozenset(column.name for column in NL_COLUMNS)
_counting = threading.Lock()


class Handler(Protocol):
    """Handles the events of a rule."""

    def handle(self, rule: Rule, event: Event, ending: int) -> None:
        """Handle one event; return soon once `ending` is readable. HandlerError, or any exception."""

    def __str__(self) -> str: ...


class HandlerError(Exception):
    """A handler failed on an event: the message says why. `timeout`: it took too long."""

    def __init__(self, message: str, timeout: bool = False) -> None:
        super().__init__(message)
        self.timeout = timeout


@dataclass(kw_only=True, eq=False)
class Rule:
    """Passes the matching events of a source to a handler, in order per device or key.

    groups, netns and settings (options, trust, buffer_events): as for a Subscriber. tables: only events of
    these tables; None: of the tables that have every column that `match` and `where` use. match: globs by
    key. where: an expression over columns, or over the headers of messages where the source has no tables.
    debounce: seconds of quiet before the last event of a key is handled; at most ten times as long after the
    first. initial: current objects are delivered first. repair: also what the kernel changes without a
    message, and after a loss the differences; None: as `initial`, if all tables have keys; False: with
    `initial`, all objects come again after a loss. SchemaError, UnknownColumn, UnknownSource, KernelError.
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
    repair: bool | None = None
    netns: Netns = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = dict.fromkeys(("matched", "handled", "failed", "timeouts", "merged", "dropped"), 0)
        self.lost = 0  # events and datagrams since the last event of this rule
        self._heads: Query | None = None  # `where` on the headers of messages, of a source without tables
        seconds(self.debounce, "debounce", MAX_DEBOUNCE)
        self.resolved_source: Source = inside(self.netns, lambda: find(self.source))
        self._check_settings()
        tables = [self.tables] if isinstance(self.tables, str | Topic) else list(self.tables or ())
        self.topics = [table for table in tables if isinstance(table, Topic)]
        names = [table for table in tables if isinstance(table, str)]
        self.keys = self._keys()  # the keys that events of this rule can have
        self._check_texts()
        self.matches = Match(self.match)
        self.key_of = ordering(self.resolved_source)
        self.table_names = self._tables(names)
        if self._asks_facts():
            options = {**(self.settings.get("options") or {}), "facts": 1}
            self.settings = {**self.settings, "options": options}
        self.joined_groups = self._groups_to_join(
            bool(names) or (self.where is not None and bool(self.table_names))
        )
        self.snapshot = self._dumpable(bool(names)) if self.initial or self.repair else []
        self._origins = {"live"} | ({"snapshot"} if self.initial else set())
        if self.snapshot:
            self._origins |= {"resync", "repair"}
        # Per table what the rows must meet: a necessary condition, not a sufficient one; None: nothing.
        self.prefilters = self._prefilter_by_table()

    def _check_texts(self) -> None:
        if not isinstance(self.match, Mapping):
            raise SchemaError(f"match={self.match!r}: globs by key, as in {{'ACTION': 'add'}}")
        for text in (self.name, *self.match, *self.match.values()):
            if not isinstance(text, str):
                raise SchemaError(f"name and match of a rule are text, not {text!r}")
            if not is_bytes(text) or "\0" in text:
                raise SchemaError(f"{text!r}: no text, it has a lone surrogate or a NUL")
        if "" in self.match:
            raise SchemaError(f"match: an empty key, for the glob {self.match['']!r}")

    def _check_settings(self) -> None:
        """Report a bad setting here, not when the rule starts."""
        option_values(self.resolved_source, self.settings.get("options"))
        trusted(self.resolved_source, self.settings.get("trust"))
        buffer_sizes(self.settings.get("buffer_events"), 0)

    def _tables(self, names: list[str]) -> list[str]:
        """The names of the tables to decode."""
        source = self.resolved_source
        if self.topics or not source.schemas:
            if names or (self.topics and self.where is not None):
                Query(source, names or None).schema(names[0] if names else "")  # always raises
            if self.where is not None:
                self._heads = Query(source, where=self.where)  # raises for columns that headers lack
            known = {name for topic in self.topics for name in topic.dtype.names or ()} | {
                *MESSAGE_KEYS,
                *EVENT_KEYS,
            }
            for key in self.match:
                if key not in known:
                    raise UnknownColumn(f"no key {key!r} of {source.name}{did_you_mean(key, sorted(known))}")
            return []
        columns: list[str] = []
        if source.name == "uevent":
            self._check_variables()
        else:
            columns += [key for key in self.match if key not in EVENT_KEYS]
        chosen = tables_with(source, names, columns, self.where)
        self._query = Query(source, chosen, interfaces=LiveInterfaces(self.netns))
        if self.where is not None:
            Query(source, self._query.tables, self.where)  # raises for columns that it cannot compare
        return self._query.order

    def _asks_facts(self) -> bool:
        """Whether the rule names columns of facts, which are read only then."""
        for name in self.table_names:
            columns = Query(self.resolved_source).empty(name).columns
            where = None if self.where is None else self.where.resolved(columns)
            named = {*self.match, *(() if where is None else where.columns)}
            if not named.isdisjoint(facts_names(self._query.schema(name))):
                return True
        return False

    def _keys(self) -> frozenset[str]:
        source = self.resolved_source
        if self.topics:
            return frozenset(name for topic in self.topics for name in topic.dtype.names or ())
        if not source.schemas:
            return frozenset(MESSAGE_KEYS)
        names = (column.name for name in source.tables for column in Query(source).empty(name).columns)
        columns = frozenset(name for name in names if name not in NL_NAMES)
        return frozenset(map(str.upper, columns - {"env"})) if source.name == "uevent" else columns

    def _check_variables(self) -> None:
        """A device may have any upper-case variable, so only a lower-case key is surely wrong."""
        for key in self.match:
            if key != key.upper() and key not in EVENT_KEYS:
                raise UnknownColumn(f"no variable {key!r} of uevent (did you mean {key.upper()!r}?)")

    def _groups_to_join(self, chosen: bool) -> Groups:
        source, groups = self.resolved_source, self.groups
        if groups is None and self.topics:
            return Groups(*(group for topic in self.topics for group in topic.groups))
        if groups is None and chosen:
            groups = Query(source, self.table_names).groups
        return resolve_groups(source, groups)

    def _dumpable(self, chosen: bool) -> list[str]:
        """The tables to dump for `initial`. Tables that the rule names must all be dumpable."""
        schemas = {schema.name: schema for schema in self.resolved_source.schemas}
        joined = {
            name for name, number in self.resolved_source.groups.items() if number in self.joined_groups
        }
        dumpable = [
            name
            for name in self.table_names
            if schemas[name].dump and joined.intersection(schemas[name].groups)
        ]
        if self.repair and dumpable:
            keyed = [name for name in dumpable if schemas[name].key]
            if not keyed or (chosen and len(keyed) < len(dumpable)):
                raise SchemaError(
                    f"repair: rows of {self.source} {', '.join(dumpable)} have no key to compare them by"
                )
            dumpable = keyed
        lacking = [name for name in self.table_names if schemas[name].dump is None] if chosen else []
        if lacking or not dumpable:
            what = f"{self.source} {', '.join(lacking)}".strip()
            word = "initial" if self.initial else "repair"
            raise SchemaError(f"{word}: no snapshot of {what}: it has events only")
        return dumpable

    def _prefilter_by_table(self) -> dict[str, Expression | None]:
        """`where`, and the part of `match` that whole columns of text decide: fewer rows become dicts."""
        found: dict[str, Expression | None] = {}
        for name in self.table_names:
            columns = Query(self.resolved_source).empty(name).columns
            tests = [] if self.where is None else [self.where]
            tests += text_tests(self.resolved_source, columns, self.matches.globs)
            found[name] = reduce(and_, tests).resolved(columns) if tests else None
        return found

    def count(self, what: str, by: int = 1) -> None:
        """Add to this counter. Thread-safe."""
        with _counting:
            self.counts[what] += by

    def preselect(self, table: Table, name: str) -> Mask:
        """The rows that may match: everything is checked but what `match` says of columns other than text."""
        # Group 0: from a dump, or unicast. On the bus nl_group is only one of the groups of the event.
        bus = self.resolved_source.framing == "bus"
        selected: Mask = np.isin(table["nl_group"], [0, *self.joined_groups]) | bus
        prefilter = self.prefilters[name]
        return selected if prefilter is None else selected & prefilter.rows(table)

    def events(self, batch: Batch) -> list[tuple[int, Event]]:
        """The matching events of a batch, each with its message's row, in message order."""
        if batch.origin not in self._origins:
            return []
        found = list[Event]()
        if self.table_names:
            events = table_events(self._query, batch, self.preselect)
            if not self.topics:  # they are in order
                matches = self.matches if self.match else None
                return [(event.pop("nl_row"), event) for event in events if matches is None or matches(event)]
            found += events
        for topic in self.topics:
            rows = batch.table(topic).iter_rows(absent=False)
            found += ({"nl_table": topic.name} | row | {"nl_group": str(row["nl_group"])} for row in rows)
        if not self.table_names and not self.topics:
            found += self._messages(batch)
        matching = {event.pop("nl_row"): event for event in found if self.matches(event)}
        return sorted(matching.items())

    def _messages(self, batch: Batch) -> Iterator[Event]:
        """The messages of a source without tables, or events of the bus, whose headers `where` selects."""
        events = message_events(self.resolved_source, batch, self.joined_groups)
        if self._heads is None:
            return events
        marks = self._heads.heads(batch)
        if batch.on_bus:  # a header for several events
            marks = np.repeat(marks, batch.index["count"])
        return (event for event in events if marks[event["nl_row"]])

    def __str__(self) -> str:
        return self.name or str(self.handler)


def wanted_rows(rules: Iterable[Rule]) -> Wanted | None:
    """The rows, or headers, that a rule may match, for Subscriber.narrow; None: any message."""
    rows: dict[str, list[Expression | None]] = {}
    rules = list(rules)
    heads = [rule.where for rule in rules if rule.where is not None and not rule.table_names]
    if heads and len(heads) == len(rules):
        return {HEADS: [reduce(or_, heads)]}
    for rule in rules:
        if not rule.table_names or rule.topics:
            return None
        for name, prefilter in rule.prefilters.items():
            rows.setdefault(name, []).append(prefilter)
    return rows


def named(rules: Sequence[Rule]) -> dict[str, Rule]:
    """The rules by name: their own or their handler's, numbered from 2 where names repeat."""
    found: dict[str, Rule] = {}
    for rule in rules:
        name, number = str(rule), 2
        while name in found:
            name, number = f"{rule} ({number})", number + 1
        found[name] = rule
    return found
