"""Tables as Arrow streams. Values stored in Arrow's layout are not copied if chunks are large.

Validity and booleans become bits; numbers with names become dictionaries of these names. All columns without
any value share the same zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np

from nlbus._core.columns import arrow
from nlbus._typing import Array
from nlbus.schema.types import Column, Values
from nlbus.table.chunks import Chunk, gathered
from nlbus.table.values import text_column, time_dtype, utf8

# Smaller chunks are joined, because readers are slow with many of them. An attribute has less than 64 KiB, so
# this many rows stay below the 2 GiB of Arrow's offsets.
BATCH_ROWS = 1 << 13
SHARED_ROWS = 1 << 16  # in a larger chunk, each column has views of its own

_FORMATS = {
    "b1": "b", "i1": "c", "u1": "C", "i2": "s", "u2": "S", "i4": "i", "u4": "I", "i8": "l", "u8": "L",
    "f4": "f", "f8": "g",
}  # fmt: skip
_TIMES = {"s": "tss:UTC", "ms": "tsm:UTC", "us": "tsu:UTC", "ns": "tsn:UTC"}
_VIEWS = ("vu", "vz")
VIEW = np.dtype([("length", np.int32), ("rest", np.int32, 3)])
_TABLE_END = 1 << 16


class Layout(NamedTuple):
    """An ArrowSchema."""

    name: str
    format: str
    nullable: bool = True
    children: tuple[Layout, ...] = ()
    dictionary: Layout | None = None


class Part(NamedTuple):
    """An ArrowArray. None is a missing buffer."""

    length: int
    nulls: int
    buffers: tuple[Array | None, ...]
    children: tuple[Part, ...] = ()
    dictionary: Part | None = None


class RecordBatch(NamedTuple):
    """Rows of all columns. A part of None has no values; all such columns share the zeros."""

    rows: int
    parts: Sequence[Part | None]
    zeros: Array


def schema(columns: Sequence[Column]) -> object:
    """The capsule "arrow_schema" of a table with these columns."""
    return arrow.schema(_layout(columns, views=False))


def stream(columns: Sequence[Column], chunks: Sequence[Chunk], *, views: bool) -> object:
    """The capsule "arrow_array_stream" of these rows. Its batches are made on demand.

    views: texts and bytes, of a fixed size, too, as string_view and binary_view.
    """
    layout = _layout(columns, views)
    return arrow.stream(layout, _batches(columns, layout, chunks, views))


def _layout(columns: Sequence[Column], views: bool) -> Layout:
    return Layout("", "+s", False, tuple(_column_layout(column, views) for column in columns))


def _column_layout(column: Column, views: bool) -> Layout:
    name, nullable = column.name, column.nullable
    if column.list:
        return Layout(name, "+L", nullable, (_column_layout(_item(column), views),))
    if column.storage != "fixed" or (views and _is_raw(column)):
        letter = "u" if column.storage == "text" else "z"
        return Layout(name, f"v{letter}" if views else letter, nullable)
    if column.display == "time":
        return Layout(name, _TIMES[np.datetime_data(time_dtype(column))[0]], nullable)
    if column.enum is not None:
        key = "C" if views and column.dtype == np.uint8 else "i"
        return Layout(name, key, nullable, dictionary=Layout("", "u", False))
    if _is_raw(column):
        return Layout(name, f"w:{column.dtype.itemsize}", nullable)
    return Layout(name, _FORMATS[column.dtype.str[1:]], nullable)


def _item(column: Column) -> Column:
    """A list's items as a column, with names as text and bytes of fixed size as variable ones.

    DuckDB reads no batch of empty lists of dictionaries, and pandas no lists of fixed_size_binary.
    """
    storage = "text" if column.enum is not None else "bytes" if _is_raw(column) else column.storage
    return replace(column, name="item", list=False, nullable=True, storage=storage, enum=None)


def _items(column: Column, items: Values) -> Values:
    """The items in the layout of `_item`."""
    if column.enum is not None:
        assert items.values is not None
        names = column.enum
        return text_column([names.get(n, str(n)) for n in items.values.tolist()], items.valid)
    return _with_offsets(column, items) if _is_raw(column) else items


def _is_raw(column: Column) -> bool:
    return column.storage == "fixed" and column.dtype.kind == "V"


def _with_offsets(column: Column, values: Values) -> Values:
    """Bytes of a fixed size as bytes of variable size."""
    ends = np.arange(len(values) + 1, dtype=np.int32) * np.int32(column.dtype.itemsize)
    return Values(values.values, values.valid, ends)


def _batches(
    columns: Sequence[Column], layout: Layout, chunks: Sequence[Chunk], views: bool
) -> Iterator[RecordBatch]:
    whole = [*zip(columns, layout.children, map(_names, columns, layout.children), strict=True)]
    width = max([VIEW.itemsize, *(column.dtype.itemsize for column in columns)])
    zeros = np.empty(0, np.uint8)
    joined = [*gathered(chunks, BATCH_ROWS)]
    # pyarrow, unlike readers of views, cannot group rows if the dictionaries of batches differ.
    for i, (_, _, names) in enumerate(whole if len(joined) > 1 and not views else ()):
        if names is not None:
            _meet(i, names, chunks)
    for chunk in joined:
        rows = len(chunk)
        if len(zeros) < (rows + 1) * width:
            zeros = np.zeros((rows + 1) * width, np.uint8)
        parts: list[Part | None] = []
        for i, (column, its, names) in enumerate(whole):
            if not chunk.absent(i):
                parts.append(_part(column, its, names, chunk.values(i)))
            elif names is None:
                parts.append(None)
            else:
                parts.append(Part(rows, rows, (zeros, zeros), (), names.dictionary))
        yield RecordBatch(rows, parts, zeros)


def _meet(i: int, names: Names, chunks: Iterable[Chunk]) -> None:
    """Give places to all numbers of column i that have no name."""
    for chunk in chunks:
        if not chunk.absent(i):
            numbers = chunk.values(i)
            assert numbers.values is not None
            names.places(numbers.values, numbers.valid)


def _names(column: Column, layout: Layout) -> Names | None:
    if column.enum is None or layout.dictionary is None:
        return None
    return Names(column.enum, dense=layout.format == "C")


def _part(column: Column, layout: Layout, names: Names | None, values: Values) -> Part:
    nulls, validity = 0, None
    if values.valid is not None:
        nulls = len(values) - int(np.count_nonzero(values.valid))
        validity = _bits(values.valid) if nulls else None
    if values.items is not None:
        assert values.offsets is not None
        items = _part(_item(column), layout.children[0], None, _items(column, values.items))
        return Part(len(values), nulls, (validity, values.offsets.astype(np.int64)), (items,))
    if column.storage == "text":
        values = utf8(values)
    if layout.format in _VIEWS:
        return Part(len(values), nulls, (validity, *_views(values)))
    if values.offsets is not None:
        return Part(len(values), nulls, (validity, values.offsets, values.values))
    assert values.values is not None
    if names is not None:
        places = names.places(values.values, values.valid)
        return Part(len(values), nulls, (validity, places), (), names.dictionary)
    fixed = _bits(values.values) if column.dtype.kind == "b" else values.values
    return Part(len(values), nulls, (validity, fixed))


def _bits(flags: Array) -> Array:
    return np.packbits(flags, bitorder="little")


def _views(values: Values) -> tuple[Array, Array, Array]:
    """The buffers of a string_view or binary_view: the views, the bytes, and the length of the bytes."""
    assert values.values is not None
    rows = len(values)
    data = values.values.view(np.uint8)
    size = values.values.itemsize
    lengths = np.array([len(data)], np.int64)
    if values.offsets is None and rows <= SHARED_ROWS and arrow.begin_with_zeros(data, size, rows):
        return _views_of_zeros(size)[:rows], data, lengths
    views = np.empty(rows, VIEW)
    if values.offsets is None:
        arrow.equal_views(data, size, views)
    else:
        arrow.views(data, values.offsets, views)
    return views, data, lengths


@cache
def _views_of_zeros(size: int) -> Array:
    """Views that many columns share: a view begins with four bytes, which are zero in IPv4 addresses."""
    views = np.empty(SHARED_ROWS, VIEW)
    arrow.equal_views(np.zeros(SHARED_ROWS * size, np.uint8), size, views)
    views.flags.writeable = False
    return views


class Names:
    """The dictionary of a column whose numbers have names; a number without a name is its digits.

    Such numbers are added on first sight. So each dictionary extends the previous one, places unchanged.
    dense: each number, of one byte, is its own place, and all smaller numbers have places as well.
    """

    dictionary: Part  # the names in the order of their places

    def __init__(self, names: Mapping[int, str], *, dense: bool) -> None:
        self._names = names
        self._dense = dense
        numbers = range(max(names, default=-1) + 1) if dense else sorted(names)
        self._places = {number: place for place, number in enumerate(numbers)}
        self._tabulate()

    def _tabulate(self) -> None:
        values = text_column([self._names.get(number, str(number)) for number in self._places])
        self.dictionary = Part(len(values), 0, (None, values.offsets, values.values))
        # The places of small numbers, by number; -1 for unknown ones.
        small = {number: place for number, place in self._places.items() if 0 <= number < _TABLE_END}
        self._table = np.full(max([0xFF, *small]) + 1, -1, np.int32)
        self._table[list(small)] = list(small.values())

    def places(self, numbers: Array, valid: Array | None) -> Array:
        """The place of each number in the dictionary; arbitrary for a missing value."""
        if self._dense:
            end = int(numbers.max(initial=0)) + 1
            if end > len(self._places):
                self._places = {number: number for number in range(end)}
                self._tabulate()
            return numbers
        places = np.empty(len(numbers), np.int32)
        if not arrow.look_up(numbers, self._table, places):
            rest = places < 0 if valid is None else (places < 0) & valid
            if rest.any():
                places[rest] = self._added(numbers[rest])
            np.maximum(places, 0, out=places)
        return places

    def _added(self, numbers: Array) -> Array:
        distinct, inverse = np.unique(numbers, return_inverse=True)
        places = [self._places.setdefault(number, len(self._places)) for number in distinct.tolist()]
        self._tabulate()
        return np.array(places, np.int32)[inverse]
