"""Columns of facts: what was read of the objects that messages name, beside the messages' own columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nlbus.schema.schema import AnySchema, Schema
from nlbus.schema.types import Column, Values
from nlbus.table.chunks import Chunk, Picked
from nlbus.table.names.beside import Beside
from nlbus.table.table import Table
from nlbus.table.values import raw_column

Known = Mapping[int, tuple[Any, ...]]


def facts_names(schema: AnySchema) -> frozenset[str]:
    """The names of the columns of facts."""
    facts = schema.facts if isinstance(schema, Schema) else None
    return frozenset() if facts is None else frozenset(column.name for column in facts.columns)


def with_facts(table: Table, schema: Schema, known: Known) -> Table:
    """The table, with columns of the facts that are known."""
    facts = schema.facts
    assert facts is not None
    columns = (*table.columns, *facts.columns)
    order = list(range(len(columns)))
    at = [column.name for column in table.columns].index(facts.of)
    chunks = [
        Picked(_beside(chunk, len(table.columns), at, facts.columns, known), order) for chunk in table.chunks
    ]
    return table.with_chunks(columns, chunks)


def _beside(chunk: Chunk, width: int, at: int, columns: Sequence[Column], known: Known) -> Chunk:
    if not known:
        return Beside(chunk, width, columns, [None] * len(columns))
    numbers = chunk.values(at).values
    assert numbers is not None
    nothing = (None,) * len(columns)
    found = [known.get(number, nothing) for number in numbers.tolist()]
    cells = zip(*found, strict=True) if found else ((),) * len(columns)
    return Beside(chunk, width, columns, [_values(*each) for each in zip(columns, cells, strict=True)])


def _values(column: Column, cells: Sequence[Any]) -> Values:
    valid = np.array([cell is not None for cell in cells], np.bool_)
    if column.list:
        items = [item for cell in cells for item in cell or ()]
        offsets = np.zeros(len(cells) + 1, np.int32)
        np.cumsum([len(cell or ()) for cell in cells], out=offsets[1:])
        return Values(None, valid, offsets, raw_column(items))
    if column.storage == "text":
        return raw_column([cell or b"" for cell in cells], valid)
    return Values(np.array([cell or 0 for cell in cells], column.dtype), valid)
