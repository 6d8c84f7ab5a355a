"""The columns of a table and the key of its rows."""

from __future__ import annotations

from dataclasses import dataclass

from nlbus.schema.types import Column
from nlbus.schema.words import unknown_column
from nlbus.sources import Source, find
from nlbus.table.query import Query


@dataclass(frozen=True, slots=True)
class TableSchema:
    """The columns of a table, and which of them identify a row (none: each row is an event of its own).

    A Column has name, dtype, type (on the wire), unit, enum or flags (numbers to the kernel's names),
    nullable, and attribute, the kernel's name. groups are those that carry its messages.
    """

    source: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    groups: tuple[str, ...]
    about: str

    def __getitem__(self, name: str) -> Column:
        """The column of this name. UnknownColumn, which is a KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise unknown_column(name, self.columns, self.name)


def schema(source: str | Source, table: str) -> TableSchema:
    """The columns of a table of a source. UnknownSource, SchemaError."""
    query = Query(find(source))
    found = query.schema(table)
    columns = query.empty(table).columns
    return TableSchema(query.source.name, table, columns, tuple(found.key), tuple(found.groups), found.about)
