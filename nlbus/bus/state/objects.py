"""The objects of one table in columns: decoded chunks as they came, and an index of the rows that count."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nlbus._core.render.rows import Rows
from nlbus._core.state.index import Index
from nlbus.bus.state.gather import Numbers, gathered_rows, overlaid, rows_of
from nlbus.bus.state.keys import Keys, matches
from nlbus.schema.types import OPS, Column
from nlbus.table.chunks import Chunk, Joined, Mask, Stored, kept, stored
from nlbus.table.table import Table
from nlbus.table.values import chunk_cells

if TYPE_CHECKING:
    import numpy.typing as npt

    from nlbus.schema.manners import Partial
    from nlbus.schema.schema import AnySchema

NEW, CHANGE, DEL = OPS
NAMES = {name: number for number, name in OPS.items()}
TIER = 16  # chunks of about one size that are joined
JOINED_ROWS = 4096  # larger chunks stay as they are
ROWS_KEPT = 64  # chunks of which rows were made last
SPARE = 1024  # rows that may be dead before anybody cares, and ...
DEAR = 4  # ... a quarter of the live ones


class Applied(NamedTuple):
    """Events as they were applied, and marks of those after which their slot may be another than we have."""

    chunk: Chunk
    uncertain: Mask


class Objects:
    """Rows by key. Rows have numbers, in the order in which they came; `compact` numbers them anew."""

    def __init__(self, schema: AnySchema, columns: tuple[Column, ...]) -> None:
        self.schema = schema
        self.columns = columns
        self.keys = Keys(schema, columns)
        self._names = {column.name: i for i, column in enumerate(columns)}
        self._partial = schema.manners.partial
        self.clear()

    def place(self, column: str) -> int:
        """The number of a column."""
        return self._names[column]

    def has(self, chunk: Chunk, column: str) -> Mask:
        """The rows with a value in a column."""
        i = self._names[column]
        if chunk.absent(i):
            return np.zeros(len(chunk), np.bool_)
        valid = chunk.values(i).valid
        return np.ones(len(chunk), np.bool_) if valid is None else valid

    def ops(self, chunk: Chunk) -> npt.NDArray[np.uint8]:
        """The nl_op of each row."""
        found = chunk.values(self._names["nl_op"]).values
        assert found is not None
        return found

    def clear(self) -> None:
        """Forget all rows."""
        self.index = Index()
        self._chunks: list[Chunk] = []
        self._firsts: list[int] = []  # number of each chunk's first row
        self._rows: dict[int, Rows] = {}  # of chunks, by their place
        self._table: Table | None = None

    def __len__(self) -> int:
        return self.index.live

    # -- events ---------------------------------------------------------------------------------------

    def apply(self, chunk: Chunk, *, snapshot: bool = False) -> list[Applied]:
        """Apply events, a row each, in order. snapshot: they are objects, whatever their op says."""
        if not len(chunk):
            return []
        ops = np.zeros(len(chunk), np.uint8) if snapshot else self.ops(chunk)
        if not snapshot and self.schema.manners.moves:
            self._move(chunk)
        partly = {} if snapshot else self._partial_rows(chunk, ops)
        if not partly:
            return [self._apply(chunk, ops)]
        return [
            self._overlay(part, ops[rows], {each: marks[rows] for each, marks in partly.items()})
            for part, rows in self._rounds(chunk)
        ]

    def _apply(self, chunk: Chunk, ops: npt.NDArray[np.uint8]) -> Applied:
        slots, keys, contents = self.keys.hashes(chunk)
        uncertain = self.index.apply(
            ops, slots, keys, contents, self._merging(chunk), bool(self.schema.manners.slot)
        )
        self._append(chunk)
        self._tidy()
        return Applied(chunk, uncertain)

    def _merging(self, chunk: Chunk) -> npt.NDArray[np.uint8] | None:
        merging = self.schema.manners.merging
        if not merging:
            return None
        return self._are(chunk, merging).view(np.uint8)

    def _are(self, chunk: Chunk, kind: Mapping[str, int]) -> Mask:
        """The rows of which these columns have these numbers."""
        marks = np.ones(len(chunk), np.bool_)
        for name, number in kind.items():
            values = chunk.values(self._names[name])
            marks &= values.values == number
            if values.valid is not None:
                marks &= values.valid
        return marks

    # -- messages with a part of a row -----------------------------------------------------------------

    def _partial_rows(self, chunk: Chunk, ops: npt.NDArray[np.uint8]) -> dict[Partial, Mask]:
        """The rows to which each kind of partial message applies, if any."""
        found = {}
        for each in self._partial:
            marks = np.isin(ops, [NAMES[op] for op in each.ops])
            if each.lacks:
                marks &= ~self.has(chunk, each.lacks)
            if marks.any():
                found[each] = marks
        return found

    def _rounds(self, chunk: Chunk) -> Iterator[tuple[Chunk, Numbers]]:
        """The chunk in parts in which a key occurs once, in order."""
        _, keys = self.keys.places(chunk)
        order = np.argsort(keys, kind="stable")
        again = np.zeros(len(keys), np.int64)
        same = keys[order][1:] == keys[order][:-1]
        runs = np.arange(len(keys)) - np.maximum.accumulate(
            np.where(np.concatenate([[False], same]), 0, np.arange(len(keys)))
        )
        again[order] = runs
        for number in range(int(again.max()) + 1):
            rows = np.flatnonzero(again == number)
            yield (chunk if len(rows) == len(chunk) else rows_of(chunk, rows, self.columns)), rows

    def _overlay(self, chunk: Chunk, ops: npt.NDArray[np.uint8], partly: Mapping[Partial, Mask]) -> Applied:
        """Apply events with unique keys: what a partial one does not carry stays."""
        slots, keys = self.keys.places(chunk)
        old = self.index.find(slots, keys)
        known = np.flatnonzero(old >= 0)
        if len(known):
            below = gathered_rows(self._chunks, np.array(self._firsts), old[known], self.columns)
            above = chunk if len(known) == len(chunk) else rows_of(chunk, known, self.columns)

            def keeps(column: Column) -> Mask | None:
                marks = [rows[known] for each, rows in partly.items() if matches(column.name, each.keeps)]
                return np.logical_or.reduce(marks) if marks and not column.name.startswith("nl_") else None

            merged: Chunk = overlaid(below, above, self.columns, keeps)
            if len(known) != len(chunk):
                rest = np.flatnonzero(old < 0)
                order = np.argsort(np.concatenate([known, rest]), kind="stable")
                merged = rows_of(Joined([merged, rows_of(chunk, rest, self.columns)]), order, self.columns)
            chunk = merged
        return self._apply(chunk, ops)

    def _move(self, chunk: Chunk) -> None:
        """Remove objects under their former key."""
        i = self._names[self.schema.manners.moves]
        if chunk.absent(i):
            return
        valid = chunk.values(i).valid
        assert valid is not None
        slots, keys = self.keys.former(chunk, i)
        rows = self.index.find(slots[valid], keys[valid])
        self.index.remove(rows[rows >= 0])
        self._table = None

    # -- rows -------------------------------------------------------------------------------------------

    def _append(self, chunk: Chunk) -> None:
        self._firsts.append(self.index.rows - len(chunk))
        self._chunks.append(chunk)
        self._table = None

    def remove(self, rows: Numbers) -> None:
        """Remove rows by number."""
        self.index.remove(rows)
        self._table = None

    def gather(self, rows: Numbers) -> Chunk:
        """A copy of rows by number, dead ones too."""
        return gathered_rows(self._chunks, np.array(self._firsts), rows, self.columns)

    def _tidy(self) -> None:
        """Join small chunks."""
        while len(self._chunks) >= TIER and self._alike(self._chunks[-TIER:]):
            tail = self._chunks[-TIER:]
            del self._chunks[-TIER:]
            del self._firsts[1 - TIER :]
            self._chunks.append(stored(Joined(tail), self.columns, sum(map(len, tail))))
            self._rows.clear()

    @staticmethod
    def _alike(chunks: list[Chunk]) -> bool:
        """Whether they are worth joining: small, and not one large one with crumbs behind it."""
        sizes = [*map(len, chunks)]
        return sum(sizes) <= JOINED_ROWS and max(sizes) <= TIER * min(sizes)

    def compact(self) -> None:
        """Drop dead rows if they are many; numbers change. An error, or Ctrl-C, amid it leaves no row."""
        if DEAR * (self.index.rows - self.index.live) <= self.index.live + SPARE:
            return
        marks = self.index.marks()
        stays = np.ones(len(marks), np.bool_)
        self._table = None
        self._rows.clear()
        try:
            # One after the other, so that the old and the new rows are not all in memory at a time.
            for i, start in enumerate(self._firsts):
                live = marks[start : start + len(self._chunks[i])]
                if not live.all():
                    some = live.any()
                    self._chunks[i] = (
                        kept(self._chunks[i], live, self.columns) if some else Stored(0, self.columns)
                    )
                    stays[start : start + len(live)] = live
            self.index.renumber(stays.view(np.uint8))
            self._join([chunk for chunk in self._chunks if len(chunk)])
        except BaseException:
            self.clear()
            raise

    def _join(self, chunks: list[Chunk]) -> None:
        """Hold these chunks, neighbours joined that are small."""
        held: list[Chunk] = []
        for _, group in groupby(zip(chunks, _parts([*map(len, chunks)]), strict=True), lambda pair: pair[1]):
            together = [chunk for chunk, _ in group]
            rows = sum(map(len, together))
            held.append(together[0] if len(together) == 1 else stored(Joined(together), self.columns, rows))
        self._chunks = held
        self._firsts = [0, *accumulate(map(len, held))][:-1]

    def table(self) -> Table:
        """The rows as a Table, in the order in which they last changed."""
        if self._table is None:
            marks = self.index.marks()
            chunks = [
                kept(chunk, marks[start : start + len(chunk)], self.columns)
                for start, chunk in zip(self._firsts, self._chunks, strict=True)
            ]
            self._table = Table(self.columns, chunks)
        return self._table

    def row(self, number: int) -> dict[str, Any]:
        """A row as a dict, without missing values."""
        at = bisect_right(self._firsts, number) - 1
        rows = self._rows.get(at)
        if rows is None:
            if len(self._rows) >= ROWS_KEPT:
                self._rows.clear()
            chunk = self._chunks[at]
            rows = Rows([*self._names], chunk_cells(self.columns, chunk), len(chunk), False, {})
            self._rows[at] = rows
        return rows.row(number - self._firsts[at])

    def numbers(self) -> Numbers:
        """The numbers of all rows, in order."""
        return np.flatnonzero(self.index.marks())

    def find(self, key: object) -> int | None:
        """The number of the row with this key."""
        found = self.keys.of(key)
        if found is None:
            return None
        slot, whole = found
        number = self.index.one(slot, whole)
        if number >= 0:
            return number
        # Where more columns than the key tell rows apart, the key alone does not make the whole hash.
        for number in () if self.keys.exact else self.index.chain(slot):
            if self.keys.key(self.row(number)) == key:
                return number
        return None


def _parts(sizes: list[int]) -> Iterator[int]:
    """The number of each size's part: parts have at most JOINED_ROWS, or are one larger size."""
    part = total = 0
    for size in sizes:
        total += size
        if total > JOINED_ROWS:
            part, total = part + 1, size
        yield part
