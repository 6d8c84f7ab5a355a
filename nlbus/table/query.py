"""Queries: which tables, columns and rows of a source's messages are decoded, and decoding them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nlbus.errors import SchemaError, UnknownColumn
from nlbus.kernel.interfaces import OURS, Interfaces
from nlbus.schema.schema import AnySchema, RecordSchema, Schema
from nlbus.schema.topic import Topic
from nlbus.schema.types import Column
from nlbus.schema.words import meant, suggestions, unknown_column
from nlbus.sources import Source, did_you_mean
from nlbus.table.decoded import decoder
from nlbus.table.event_table import record_columns, record_table, topic_columns, topic_table
from nlbus.table.expressions import Expression, expression
from nlbus.table.heads import Heads
from nlbus.table.names.conditions import tree_asks
from nlbus.table.names.facts import facts_names, with_facts
from nlbus.table.table import Table

if TYPE_CHECKING:
    from nlbus.table.chunks import Mask
    from nlbus.table.received import Received, Wanted

Tables = Iterable[str] | Mapping[str, Iterable[str] | None] | None
FEW = 16  # types of messages that a set tells apart sooner than a sort
LINK_NAMES = frozenset(("ifindex", "ifname"))
Misfit = Callable[["Received", "Wanted"], None]
Pick = Callable[[Table, str], "Mask"]


class Query:
    """The tables, columns and rows that messages of a source are decoded to.

    tables: names, or names and the columns wanted (None: all); None: every table of the source with every
    column. where: only the rows for which it is true. interfaces: their names; None: those that batches tell.
    SchemaError for an unknown table or column.
    """

    def __init__(
        self,
        source: Source,
        tables: Tables = None,
        where: Expression | None = None,
        interfaces: Interfaces | None = None,
    ) -> None:
        self.source = source
        self.interfaces = Interfaces() if interfaces is None else interfaces
        self.misfit: Misfit | None = None  # is called for events that `records` of a batch leaves out
        self.learns = not self.interfaces.live  # names of interfaces, from the messages of links
        self.where = None if where is None else expression(where, "where=")
        self._schemas = {schema.name: schema for schema in source.schemas}
        self._wanted: dict[str, frozenset[str] | None] = dict.fromkeys(self._schemas)
        if tables is not None:
            chosen = tables if isinstance(tables, Mapping) else dict.fromkeys(_names(tables))
            self._wanted = {
                self.schema(name).name: None if columns is None else frozenset(_names(columns))
                for name, columns in chosen.items()
            }
            if not self._wanted:
                raise SchemaError(f"tables=[] of {source.name}: no table; None means every table")
        self._types = {
            schema.name: frozenset(op.type for op in schema.ops)
            for schema in map(self.schema, self._wanted)
            if isinstance(schema, Schema)
        }
        # If two tables match a message, the later one of these gets it.
        self.order = sorted(self._wanted, key=lambda name: _is_narrower(self.schema(name)))
        self._where: dict[str, Expression] = {}  # per table, of its columns' names alone
        for name in self._wanted if where is not None or tables is not None else ():
            self.empty(name)
            if self.where is not None:
                self._where[name] = self.where.resolved(_columns(self.schema(name), None))
                self._where[name].rows(self._all(name))
        # Without tables, `where` is about the headers of messages.
        self.by_head = self.where is not None and not self._schemas
        if self.where is not None and self.by_head:
            self.where.mask(Heads(source))

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables."""
        return tuple(self._wanted)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that carry messages of these tables: per table those of the source's default, if any.

        The other groups repeat the messages (udev after the kernel), or carry what few machines have.
        """
        found: list[str] = []
        for name in self._wanted:
            groups = self._schemas[name].groups
            usual = [group for group in groups if self.source.groups[group] in self.source.default]
            found += usual or groups
        return tuple(dict.fromkeys(found))

    def schema(self, name: str) -> AnySchema:
        """The schema of this name. SchemaError."""
        if name in self._schemas:
            return self._schemas[name]
        if not self._schemas:
            raise SchemaError(f"{self.source.name} has no tables: its messages are not decoded")
        hint = did_you_mean(str(name), self._schemas)
        raise SchemaError(
            f"no table {name!r} of {self.source.name}{hint}: there are {', '.join(self._schemas)}"
        )

    def _decoded(self, name: str) -> frozenset[str] | None:
        """The columns that the decoder fills."""
        wanted = self._wanted.get(name)
        if wanted is None or self.where is None:
            return wanted
        return wanted | self._where[name].columns

    def reads(self, name: str, prefix: str) -> bool:
        """Whether the decoder fills a column of this table whose name begins so."""
        decoded = self._decoded(name)
        return decoded is None or any(column.startswith(prefix) for column in decoded)

    def empty(self, name: str | Topic) -> Table:
        """The table without rows. SchemaError."""
        if isinstance(name, Topic):
            return Table(topic_columns(name))
        table = Table(_columns(self.schema(name), self._wanted.get(name)))
        table.interfaces = self.interfaces
        return table

    def _all(self, name: str) -> Table:
        """The table without rows, with the columns that `where` reads."""
        table = Table(_columns(self.schema(name), self._decoded(name)))
        table.interfaces = self.interfaces
        return table

    def equalities(self, name: str) -> dict[str, int]:
        """The numbers that `where` requires of columns of this table."""
        condition = self.condition(name)
        return {} if condition is None else condition.equalities(self._all(name))

    @property
    def asks(self) -> bool:
        """Whether `where` compares names of interfaces that messages have to tell."""
        known = {name: _columns(self.schema(name), None) for name in self._where}
        asking = (tree_asks(where.tree(), known[name]) for name, where in self._where.items())
        return not self.interfaces.live and any(asking)

    def condition(self, name: str) -> Expression | None:
        """`where` of this table: of the names of its columns alone."""
        return self._where.get(name)

    def table(self, received: Received, name: str | Topic) -> Table:
        """The rows of one table. SchemaError."""
        if isinstance(name, Topic):
            return topic_table(received, name)
        self.learn(received)
        table = self._every_row(received, self.schema(name), self._decoded(name))
        if self.where is None:
            return table
        # Columns first: filtering copies every remaining column.
        return table.select(self._shown(name)).filter(self._where[name].rows(table))

    def heads(self, received: Received) -> Mask:
        """The messages, or on the bus the batches, whose header `where` selects."""
        assert self.where is not None
        return self.where.mask(Heads(self.source, received))

    def learn(self, received: Received) -> None:
        """Learn the names that the messages of links tell, unless the kernel is asked."""
        if self.source.name != "route" or not self.learns or received.told is self.interfaces:
            return
        received.told = self.interfaces
        link = self._schemas["link"]
        if not np.isin(received.index["type"], [op.type for op in getattr(link, "ops", ())]).any():
            return
        for row in self._every_row(received, link, LINK_NAMES).iter_rows():
            index, name, nsid = row["ifindex"], row["ifname"], row["nl_nsid"]
            nsid = OURS if nsid is None else nsid
            if row["nl_op"] == "del":
                self.interfaces.lose(index, nsid)
            elif name:
                self.interfaces.learn(index, name, nsid)

    @property
    def asks_facts(self) -> bool:
        """Whether a table has columns of facts that somebody named."""
        for name, wanted in self._wanted.items():
            named = (wanted or frozenset()) | (
                self._where[name].columns if name in self._where else frozenset()
            )
            if not named.isdisjoint(facts_names(self.schema(name))):
                return True
        return False

    def read_facts(self, received: Received) -> None:
        """Read the facts about the objects of these messages, now. Messages that have them keep them."""
        if received.facts is not None:
            return
        received.facts = {}
        for name in self.present(received):
            schema = self.schema(name)
            if isinstance(schema, Schema) and schema.facts is not None:
                rows = self._every_row(received, schema, frozenset([schema.facts.of]))
                for number in dict.fromkeys(rows[schema.facts.of].tolist()):
                    received.facts[number] = schema.facts.read(number)

    def _every_row(self, received: Received, schema: AnySchema, wanted: frozenset[str] | None) -> Table:
        if received.made is not None:
            columns = _columns(schema, wanted)
            made = received.made.get(schema.name)
            return Table(columns) if made is None else made.select([column.name for column in columns])
        if isinstance(schema, RecordSchema):
            table = record_table(received, self.source, schema, wanted)
            table.interfaces = self.interfaces
            return table
        names = facts_names(schema)
        asked = bool(names) and (wanted is None or not wanted.isdisjoint(names))
        wire = None if wanted is None else wanted - names
        if asked and wire is not None:
            assert isinstance(schema, Schema)
            assert schema.facts is not None
            wire |= {schema.facts.of}
        found = decoder(schema, wire)
        rows = found.rows(received.block, received.selected, received.origin_code)
        table = Table(found.columns, [rows], received.loss, rows.unknown, rows.malformed)
        table.interfaces = self.interfaces
        if asked:
            assert isinstance(schema, Schema)
            table = with_facts(table, schema, received.facts or {})
            return table.select([column.name for column in _columns(schema, wanted)])
        return table

    def _shown(self, name: str) -> list[str]:
        """The columns of a table, without those that only `where` reads."""
        return [column.name for column in _columns(self.schema(name), self._wanted.get(name))]

    def rows(
        self, received: Received, *, absent: bool = False, pick: Pick | None = None
    ) -> Iterator[dict[str, Any]]:
        """Each decoded message as a row, or several, in message order: nl_table, then the table's columns.

        A message belongs to one table. If the types of two tables overlap, the table whose schema checks more
        than the type gets it. absent: rows include columns without a value (see Table.iter_rows). `pick`
        marks the rows to keep.
        """
        names = self.present(received)
        tables = [(name, self._picked(received, name, pick)) for name in names]
        each = [table.rows_with({"nl_table": name}, absent=absent) for name, table in tables if len(table)]
        if len(each) == 1:
            return each[0]
        found: dict[int, list[dict[str, Any]]] = {}
        for rows in each:
            mine: dict[int, list[dict[str, Any]]] = {}
            for row in rows:
                mine.setdefault(row["nl_row"], []).append(row)
            found |= mine
        return (row for number in sorted(found) for row in found[number])

    def _picked(self, received: Received, name: str, pick: Pick | None) -> Table:
        table = self.table(received, name)
        return table.filter(pick(table, name)) if pick is not None and len(table) else table

    def present(self, received: Received) -> list[str]:
        """The names of the tables that can match the types of these messages; often few of many."""
        if received.made is not None:
            return [name for name in self.order if name in received.made]
        if self.source.framing != "nlmsg" or len(self.order) == 1:
            return self.order
        each = received.index["type"]
        types = frozenset((each if len(each) <= FEW else np.unique(each)).tolist())
        return [name for name in self.order if not types.isdisjoint(self._types[name])]


def _columns(schema: AnySchema, wanted: frozenset[str] | None) -> tuple[Column, ...]:
    if isinstance(schema, RecordSchema):
        return record_columns(schema, wanted)
    names = facts_names(schema)
    if not names:
        return decoder(schema, wanted).columns
    assert isinstance(schema, Schema)
    assert schema.facts is not None
    if wanted is not None:
        every = (*decoder(schema, None).columns, *schema.facts.columns)
        for name in sorted(wanted.difference(column.name for column in every)):
            raise unknown_column(name, every, schema.name)
    found = decoder(schema, None if wanted is None else wanted - names).columns
    return (*found, *(each for each in schema.facts.columns if wanted is None or each.name in wanted))


def tables_with(
    source: Source, tables: Iterable[str], columns: Iterable[str], where: Expression | None = None
) -> list[str]:
    """These tables, or if none is named those that have all these columns, and those that `where` reads.

    SchemaError, UnknownColumn.
    """
    named, needed = list(tables), dict.fromkeys(columns)
    asked = dict.fromkeys(sorted(where.columns) if where is not None else ())
    query = Query(source, named or None)
    if not query.tables:
        raise SchemaError(f"{source.name} has no tables: its messages are not decoded")
    have = {name: query.empty(name).columns for name in query.tables}

    def has(table: str, column: str) -> bool:
        exact = any(each.name == column for each in have[table])
        return exact or (column in asked and bool(meant(column, have[table])))

    for column in (*needed, *asked):
        if not any(has(table, column) for table in have):
            known = {each.name: each for columns in have.values() for each in columns}
            place = f"table {query.tables[0]}" if len(have) == 1 else "any of these tables"
            close = " or ".join(map(repr, suggestions(column, known.values())))
            raise UnknownColumn(
                f"no column {column!r} in {place if named else 'any table'} of {source.name}"
                f"{f' (did you mean {close}?)' if close else ''}"
            )
    found = [table for table in have if named or all(has(table, column) for column in (*needed, *asked))]
    if not found:
        raise SchemaError(f"no table of {source.name} has all of {', '.join({**needed, **asked})}")
    return found if named or where is None else _comparable(source, found, where)


def _comparable(source: Source, tables: Sequence[str], where: Expression) -> list[str]:
    """The tables whose columns can be compared so: dev is an index in one, a name in another. SchemaError."""
    found, refused = [], list[SchemaError]()
    for name in tables:
        try:
            Query(source, [name], where)
            found.append(name)
        except SchemaError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    return found


def _is_narrower(schema: AnySchema) -> bool:
    """Whether the schema checks more than a message's type."""
    return isinstance(schema, Schema) and schema.selector is not None


def _names(names: Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
