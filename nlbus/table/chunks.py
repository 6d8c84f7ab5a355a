"""Chunks: the pieces of a table, each with all columns. A chunk is a decoded batch, or rows kept of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
    """Rows whose columns are already in memory."""

    def __init__(
        self,
        length: int,
        columns: Sequence[Values],
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
        valid = self._columns[i].valid
        return valid is not None and not valid.any()

    def values(self, i: int) -> Values:
        """Column i."""
        return self._columns[i]


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
        """Marks the damaged rows of all columns of the chunk."""
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


def kept(chunk: Chunk, rows: Mask, width: int) -> Chunk:
    """The marked rows of a chunk with `width` columns.

    They are copied unless all are marked, so that a few rows do not keep the memory of many.
    """
    count = int(np.count_nonzero(rows))
    if count == len(rows):
        return chunk
    damaged, families = chunk.damaged, chunk.families
    return Stored(
        count,
        [taken(chunk.values(i), rows) for i in range(width if count else 0)],
        damaged[rows] if damaged.any() else None,
        None if families is None else families[rows],
    )


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


def _offsets(lengths: Sequence[Array]) -> npt.NDArray[np.int32]:
    ends = np.cumsum(np.concatenate(lengths), dtype=np.int64)
    if len(ends) and ends[-1] > _OFFSET_MAX:
        raise SchemaError(f"a column of {ends[-1]} bytes or items: Arrow's offsets have 31 bits")
    return np.concatenate([[0], ends]).astype(np.int32)
