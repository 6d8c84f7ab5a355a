"""Rows gathered by their numbers, from any chunks, in any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from nlbus._typing import Array
from nlbus.schema.types import Column, Values
from nlbus.table.chunks import Chunk, Joined, Stored, joined, stored

Numbers = npt.NDArray[np.int64]


def at(values: Values, rows: Numbers) -> Values:
    """The values of these rows, in this order."""
    valid = None if values.valid is None else values.valid[rows]
    if values.offsets is None:
        assert values.values is not None
        return Values(values.values[rows], valid)
    starts = values.offsets[rows].astype(np.int64)
    lengths = values.offsets[rows + 1] - starts
    offsets = np.zeros(len(rows) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    inner = np.arange(offsets[-1], dtype=np.int64) + np.repeat(starts - offsets[:-1], lengths)
    if values.items is not None:
        return Values(None, valid, offsets, at(values.items, inner))
    assert values.values is not None
    return Values(values.values[inner], valid, offsets)


def rows_of(chunk: Chunk, rows: Numbers, columns: Sequence[Column]) -> Stored:
    """These rows of a chunk, in this order, as a copy."""

    def pick(values: Values) -> Values:
        return at(values, rows)

    def marks(array: Array) -> Array:
        return array[rows]

    return stored(chunk, columns, len(rows), pick, marks)


def gathered_rows(
    chunks: Sequence[Chunk], starts: Numbers, rows: Numbers, columns: Sequence[Column]
) -> Stored:
    """These rows of all chunks, numbered from the first one's first; starts: of each chunk."""
    of = np.searchsorted(starts, rows, side="right") - 1
    used = np.unique(of).tolist()
    if len(used) == 1:
        return rows_of(chunks[used[0]], rows - starts[used[0]], columns)
    order = np.argsort(of, kind="stable")
    parts = [rows_of(chunks[i], rows[of == i] - starts[i], columns) for i in used]
    back = np.empty(len(rows), np.int64)
    back[order] = np.arange(len(rows))
    return rows_of(Joined(parts), back, columns)


def overlaid(
    below: Chunk, above: Chunk, columns: Sequence[Column], keeps: Callable[[Column], Array | None]
) -> Stored:
    """Row by row `above`; where it lacks a value that `keeps` marks, the value of `below`.

    keeps: the rows of a column that keep what was there before; None: no row.
    """
    rows = len(above)
    found: list[Values | Column] = []
    for i, column in enumerate(columns):
        kept = keeps(column)
        if kept is None or below.absent(i):
            found.append(column if above.absent(i) else above.values(i))
            continue
        values = above.values(i)
        lower = kept if values.valid is None else kept & ~values.valid
        if values.valid is None or not lower.any():
            found.append(values)
            continue
        pick = np.arange(rows, dtype=np.int64) + np.where(lower, 0, rows)
        found.append(at(joined([below.values(i), values]), pick))
    damaged = above.damaged
    return Stored(rows, found, damaged if damaged.any() else None, above.families)
