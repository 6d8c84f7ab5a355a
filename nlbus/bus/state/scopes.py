"""Scopes: which rows of a table are in question, and how narrow a dump has them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nlbus.schema.schema import Dump

if TYPE_CHECKING:
    from nlbus._typing import Array
    from nlbus.bus.state.objects import Objects
    from nlbus.schema.manners import Doubt
    from nlbus.schema.schema import AnySchema
    from nlbus.table.chunks import Chunk, Mask
    from nlbus.table.table import Table

Value = int | bytes
# For each item, any of these columns has the value. Empty: all rows.
Scope = frozenset[tuple[tuple[str, ...], Value]]
WHOLE: Scope = frozenset()


def of_doubt(doubt: Doubt, objects: Objects, chunk: Chunk, marks: Mask) -> set[Scope]:
    """The scopes that the marked events of a chunk put in doubt."""
    scopes: set[Scope] = {WHOLE}
    for ours, theirs in doubt.match.items():
        values = distinct(objects, chunk, theirs, marks)
        columns = (ours,) if isinstance(ours, str) else ours
        scopes = {scope | {(columns, value)} for scope in scopes for value in values}
    return scopes


def of_slots(schema: AnySchema, objects: Objects, chunk: Chunk, marks: Mask) -> set[Scope]:
    """The scopes with the slots of the marked rows, of which the kernel can dump each by itself."""
    if isinstance(schema.dump, Dump):
        for filter in schema.dump.filters:
            if filter.column in (schema.manners.slot or schema.key):
                return {
                    frozenset([((filter.column,), value)])
                    for value in distinct(objects, chunk, filter.column, marks)
                }
    return {WHOLE}


def distinct(objects: Objects, chunk: Chunk, column: str, marks: Mask) -> list[Value]:
    """The values of a column in the marked rows, each once."""
    i = objects.place(column)
    if chunk.absent(i):
        return []
    values = chunk.values(i)
    assert values.values is not None
    there = marks if values.valid is None else marks & values.valid
    some = values.values[there]
    if some.dtype.kind == "V":
        return sorted({each.tobytes() for each in some})
    return [int(each) for each in np.unique(some)]


def kernel_filter(schema: AnySchema, scope: Scope) -> dict[str, int]:
    """The part of a scope that the kernel can check: a column and its value."""
    filters = schema.dump.filters if isinstance(schema.dump, Dump) else ()
    known = {filter.column for filter in filters}
    return {columns[0]: value for columns, value in scope if columns[0] in known and isinstance(value, int)}


def marked(table: Table, scope: Scope) -> Mask:
    """The rows of a table that are in a scope."""
    marks = np.ones(len(table), np.bool_)
    for columns, value in scope:
        marks &= np.logical_or.reduce([_equal(table, column, value) for column in columns])
    return marks


def _equal(table: Table, name: str, value: Value) -> Mask:
    column = table.column(name)
    if column.list:
        found = np.zeros(len(table), np.bool_)
        start = 0
        for chunk in table.chunks:
            i = [each.name for each in table.columns].index(name)
            if not chunk.absent(i):
                values = chunk.values(i)
                assert values.items is not None
                assert values.items.values is not None
                assert values.offsets is not None
                hits = np.flatnonzero(_same(values.items.values, value))
                found[start + np.searchsorted(values.offsets, hits, side="right") - 1] = True
            start += len(chunk)
        return found
    return _same(table[name], value) & table.valid(name)


def _same(values: Array, value: Value) -> Mask:
    if isinstance(value, bytes):
        same: Mask = values == np.frombuffer(value, values.dtype)[0]
        return same
    equal: Mask = values == value
    return equal
