"""Chunks: the pieces of a table, each with all columns. A chunk is a decoded batch, or rows kept of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt

from nlbus._typing import Array
from nlbus.errors import SchemaError
from nlbus.schema.types import Column, Values

Mask = npt.NDArray[np.bool_]

_NO_OFFSETS = np.zeros(1, np.int32)
_OFFSET_MAX = np.iinfo(np.int32).max

BATCH_ROWS = 1 << 13


class Chunk(Protocol):
    """Rows of a table."""

    def __len__(self) -> int: ...

    @property
    def damaged(self) -> Mask:
        """Marks the rows that lack a value because it did not fit its type."""
        ...

    @property
    def families(self) -> Array | None:
        """The address family of each row, AF_*; None where no column needs it."""
        ...

    def absent(self, i: int, /) -> bool:
        """Whether it is known that column i has no values."""
        ...

    def values(self, i: int, /) -> Values:
        """Column i: arrays made on demand, of memory that never changes."""
        ...


class Stored:
    """Rows whose columns are already in memory; a Column in place of its values has none in any row."""

    def __init__(
        self,
        length: int,
        columns: Sequence[Values | Column],
        damaged: Mask | None = None,
        families: Array | None = None,
    ) -> None:
        self._length = length
        self._columns = columns
        self._damaged = damaged
        self._families = families

    def __len__(self) -> int:
        return self._length

    @property
    def damaged(self) -> Mask:
        """Marks the given rows, else none."""
        return np.zeros(self._length, np.bool_) if self._damaged is None else self._damaged

    @property
    def families(self) -> Array | None:
        """As they were given."""
        return self._families

    def absent(self, i: int) -> bool:
        """Whether no row has a value in column i."""
        values = self._columns[i]
        return isinstance(values, Column) or (values.valid is not None and not values.valid.any())

    def with_column(self, i: int, values: Values) -> Stored:
        """The same rows with other values in column i."""
        columns = [values if i == number else each for number, each in enumerate(self._columns)]
        return Stored(self._length, columns, self._damaged, self._families)

    def values(self, i: int) -> Values:
        """Column i."""
        values = self._columns[i]
        return without_values(values, self._length) if isinstance(values, Column) else values


class Picked:
    """Some columns of a chunk."""

    def __init__(self, chunk: Chunk, columns: Sequence[int]) -> None:
        self._chunk = chunk
        self._columns = columns

    def __len__(self) -> int:
        return len(self._chunk)

    @property
    def damaged(self) -> Mask:
        """Marks the damaged rows of all columns of the chunk."""
        return self._chunk.damaged

    @property
    def families(self) -> Array | None:
        """As of the chunk."""
        return self._chunk.families

    def absent(self, i: int) -> bool:
        """Whether no row has a value in the i-th of these columns."""
        return self._chunk.absent(self._columns[i])

    def values(self, i: int) -> Values:
        """The i-th of these columns."""
        return self._chunk.values(self._columns[i])


class Joined:
    """Several chunks as one: its columns are copies."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._chunks = chunks

    def __len__(self) -> int:
        return sum(map(len, self._chunks))

    @property
    def damaged(self) -> Mask:
        """Marks the damaged rows of all chunks."""
        return np.concatenate([chunk.damaged for chunk in self._chunks])

    @property
    def families(self) -> Array | None:
        """Of all rows."""
        return joined_families(self._chunks)

    def absent(self, i: int) -> bool:
        """Whether no row of any chunk has a value in column i."""
        return all(chunk.absent(i) for chunk in self._chunks)

    def values(self, i: int) -> Values:
        """Column i of all chunks."""
        return joined([chunk.values(i) for chunk in self._chunks])


def kept(chunk: Chunk, rows: Mask, columns: Sequence[Column]) -> Chunk:
    """The marked rows of a chunk with these columns.

    They are copied unless all are marked, so that a few rows do not keep the memory of many.
    """
    count = int(np.count_nonzero(rows))
    if count == len(rows):
        return chunk
    return stored(chunk, columns, count, lambda values: taken(values, rows), lambda marks: marks[rows])


def sliced(chunk: Chunk, start: int, stop: int, columns: Sequence[Column]) -> Chunk:
    """The rows of a chunk from start on and before stop, copied unless these are all."""
    if start == 0 and stop == len(chunk):
        return chunk

    def cut(values: Values) -> Values:
        return _cut(values, start, stop)

    return stored(chunk, columns, stop - start, cut, lambda marks: marks[start:stop].copy())


def stored(
    chunk: Chunk,
    columns: Sequence[Column],
    length: int,
    take: Callable[[Values], Values] = lambda values: values,
    mark: Callable[[Array], Array] = lambda marks: marks,
) -> Stored:
    """So many rows of a chunk in memory: `take` and `mark` choose them. A column without a value has none."""
    damaged, families = chunk.damaged, chunk.families
    return Stored(
        length,
        [column if chunk.absent(i) else take(chunk.values(i)) for i, column in enumerate(columns)],
        mark(damaged) if damaged.any() else None,
        None if families is None else mark(families),
    )


def _cut(values: Values, start: int, stop: int) -> Values:
    valid = None if values.valid is None else values.valid[start:stop].copy()
    if values.offsets is None:
        assert values.values is not None
        return Values(values.values[start:stop].copy(), valid)
    offsets = values.offsets[start : stop + 1] - values.offsets[start]
    begin, end = values.offsets[[start, stop]].tolist()
    if values.items is not None:
        return Values(None, valid, offsets, _cut(values.items, begin, end))
    assert values.values is not None
    return Values(values.values[begin:end].copy(), valid, offsets)


def joined_families(chunks: Iterable[Chunk]) -> Array | None:
    """The address families of all these rows; None where no column needs them."""
    parts = [chunk.families for chunk in chunks]
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known and len(known) == len(parts) else None


def gathered(chunks: Iterable[Chunk], rows: int) -> Iterator[Chunk]:
    """The same rows in fewer chunks: small neighbours joined up to `rows` rows, larger ones unchanged."""
    small: list[Chunk] = []
    total = 0
    for chunk in chain(chunks, [None]):
        if small and (chunk is None or total + len(chunk) > rows):
            yield small[0] if len(small) == 1 else Joined(small)
            small, total = [], 0
        if chunk is not None:
            small.append(chunk)
            total += len(chunk)


def taken(values: Values, rows: Mask) -> Values:
    """The marked values of a column."""
    valid = None if values.valid is None else values.valid[rows]
    if values.offsets is None:
        assert values.values is not None
        return Values(values.values[rows], valid)
    lengths = np.diff(values.offsets)
    inner = np.repeat(rows, lengths)
    offsets = _offsets([lengths[rows]])
    if values.items is not None:
        return Values(None, valid, offsets, taken(values.items, inner))
    assert values.values is not None
    return Values(values.values[inner], valid, offsets)


def joined(parts: Sequence[Values]) -> Values:
    """Several columns, at least one, as one. SchemaError if it is too large for Arrow's offsets."""
    if len(parts) == 1:
        return parts[0]
    valid = joined_valid(parts)
    offsets = None
    if parts[0].offsets is not None:
        offsets = _offsets([np.diff(part.offsets) for part in parts if part.offsets is not None])
    if parts[0].items is not None:
        return Values(None, valid, offsets, joined([part.items for part in parts if part.items is not None]))
    return Values(np.concatenate([part.values for part in parts if part.values is not None]), valid, offsets)


def joined_valid(parts: Sequence[Values]) -> Mask | None:
    """Marks the rows of all parts that have a value; None for all."""
    if all(part.valid is None for part in parts):
        return None
    return np.concatenate(
        [np.ones(len(part), np.bool_) if part.valid is None else part.valid for part in parts]
    )


def empty(column: Column) -> Values:
    """The values of a column without rows."""
    offsets = _NO_OFFSETS if column.storage != "fixed" else None
    values = Values(np.empty(0, column.dtype if offsets is None else np.uint8), None, offsets)
    return Values(None, None, _NO_OFFSETS, values) if column.list else values


def without_values(column: Column, rows: int) -> Values:
    """The column without a value in any of these rows."""
    absent = np.zeros(rows, np.bool_)
    if column.list:
        return Values(None, absent, np.zeros(rows + 1, np.int32), empty(replace(column, list=False)))
    if column.storage != "fixed":
        return Values(np.empty(0, np.uint8), absent, np.zeros(rows + 1, np.int32))
    return Values(np.zeros(rows, column.dtype), absent)


def _offsets(lengths: Sequence[Array]) -> npt.NDArray[np.int32]:
    ends = np.cumsum(np.concatenate(lengths), dtype=np.int64)
    if len(ends) and ends[-1] > _OFFSET_MAX:
        raise SchemaError(f"a column of {ends[-1]} bytes or items: Arrow's offsets have 31 bits")
    return np.concatenate([[0], ends]).astype(np.int32)
