"""How the batches of a source are read as tables: which tables and columns, which rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from typing import TYPE_CHECKING, Any

import numpy as np

from nlbus.errors import SchemaError, UnknownColumn
from nlbus.schema.schema import AnySchema, RecordSchema, Schema
from nlbus.schema.topic import Topic
from nlbus.schema.types import Column
from nlbus.sources import Source, did_you_mean
from nlbus.table.decoded import decoder
from nlbus.table.event_table import record_columns, record_table, topic_columns, topic_table
from nlbus.table.expressions import Expression, expression
from nlbus.table.table import Table

if TYPE_CHECKING:
    from nlbus.bus.batch import Batch

Tables = Iterable[str] | Mapping[str, Iterable[str] | None] | None


class Reading:
    """What a subscriber's batches are read as.

    tables: names, or names and the columns wanted (None: all); None: every table of the source with every
    column. where: only these rows. SchemaError for a table or column that there is not.
    """

    def __init__(self, source: Source, tables: Tables = None, where: Expression | None = None) -> None:
        self.source = source
        self.where = None if where is None else expression(where, "where=")
        self._schemas = {schema.name: schema for schema in source.schemas}
        self._types = {
            schema.name: frozenset(op.type for op in schema.ops)
            for schema in source.schemas
            if isinstance(schema, Schema)
        }
        self._wanted: dict[str, frozenset[str] | None] = dict.fromkeys(self._schemas)
        if tables is not None:
            chosen = tables if isinstance(tables, Mapping) else dict.fromkeys(_names(tables))
            self._wanted = {
                self.schema(name).name: None if columns is None else frozenset(_names(columns))
                for name, columns in chosen.items()
            }
            if not self._wanted:
                raise SchemaError(f"tables=[] of {source.name}: none at all; None means every table")
        for name in self._wanted if where is not None or tables is not None else ():
            self.empty(name)
            if self.where is not None:
                self.where.mask(self._all(name))

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of those that were asked for."""
        return tuple(self._wanted)

    @property
    def groups(self) -> tuple[str, ...]:
        """The source's groups that bring messages of these tables: of each those of the default, if any is.

        The others tell the same again (udev after the kernel), or of what few have.
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
        """The columns that the decoder is asked for."""
        wanted = self._wanted.get(name)
        if wanted is None or self.where is None:
            return wanted
        return wanted | self.where.columns

    def empty(self, name: str | Topic) -> Table:
        """The same table without rows. SchemaError."""
        if isinstance(name, Topic):
            return Table(topic_columns(name))
        return Table(_columns(self.schema(name), self._wanted.get(name)))

    def _all(self, name: str) -> Table:
        """With the columns that `where` looks at."""
        return Table(_columns(self.schema(name), self._decoded(name)))

    def equalities(self, name: str) -> dict[str, int]:
        """Numbers that columns of this table must have, as far as `where` says so."""
        return {} if self.where is None else self.where.equalities(self._all(name))

    def table(self, batch: Batch, name: str | Topic) -> Table:
        """The rows of one kind in a batch. SchemaError."""
        if isinstance(name, Topic):
            return topic_table(batch, name)
        table = self._every_row(batch, self.schema(name), self._decoded(name))
        if self.where is None:
            return table
        # First the columns: to pick rows copies what is left.
        return table.select(self._shown(name)).filter(self.where.mask(table))

    def _every_row(self, batch: Batch, schema: AnySchema, wanted: frozenset[str] | None) -> Table:
        if isinstance(schema, RecordSchema):
            return record_table(batch, self.source, schema, wanted)
        found = decoder(schema, wanted)
        rows = found.rows(batch._block, batch._selected, batch._origin)
        return Table(found.columns, [rows], batch.loss, rows.unknown, rows.malformed)

    def _shown(self, name: str) -> list[str]:
        """The columns of a table, without those that only `where` looks at."""
        return [column.name for column in _columns(self.schema(name), self._wanted.get(name))]

    def rows(self, batch: Batch) -> Iterator[dict[str, Any]]:
        """The rows of all tables that were asked for, in message order; nl_table says of which."""
        named = (self._named(batch, name) for name in self._told_of(batch))
        return merge(*named, key=lambda row: row["nl_row"])

    def _told_of(self, batch: Batch) -> list[str]:
        """The tables that the types of a batch's messages allow for: few, where a source has many."""
        if self.source.framing != "nlmsg":
            return list(self._wanted)
        types = frozenset(np.unique(batch.messages["type"]).tolist())
        return [name for name in self._wanted if not types.isdisjoint(self._types[name])]

    def _named(self, batch: Batch, name: str) -> Iterator[dict[str, Any]]:
        for row in self.table(batch, name).iter_rows():
            yield {"nl_table": name} | row


def _columns(schema: AnySchema, wanted: frozenset[str] | None) -> tuple[Column, ...]:
    if isinstance(schema, RecordSchema):
        return record_columns(schema, wanted)
    return decoder(schema, wanted).columns


def tables_with(source: Source, tables: Iterable[str], columns: Iterable[str]) -> list[str]:
    """These tables, or if none is named those that have all these columns. SchemaError, UnknownColumn."""
    named, asked = list(tables), dict.fromkeys(columns)
    reading = Reading(source, named or None)
    if not reading.tables:
        raise SchemaError(f"{source.name} has no tables: its messages are not decoded")
    have = {name: {column.name for column in reading.empty(name).columns} for name in reading.tables}
    for column in asked:
        if not any(column in names for names in have.values()):
            known = {name for names in have.values() for name in names}
            where = f"table {reading.tables[0]}" if len(have) == 1 else "any of these tables"
            raise UnknownColumn(
                f"no column {column!r} in {where if named else 'any table'} of {source.name}"
                f"{did_you_mean(column, sorted(known))}"
            )
    found = [name for name, names in have.items() if named or names.issuperset(asked)]
    if not found:
        raise SchemaError(f"no table of {source.name} has all of {', '.join(asked)}")
    return found


def looks_closer(schema: AnySchema) -> bool:
    """Whether it looks at more than a message's type: then what is of two tables is this one's."""
    return isinstance(schema, Schema) and schema.selector is not None


def _names(names: Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
