"""Tables as Arrow streams. What is stored as Arrow has it is not copied: numbers, texts, lists.

Validity and flags become bits; numbers that have names become dictionaries of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from nlbus._core import arrow
from nlbus._typing import Array
from nlbus.chunks import Chunk, gathered
from nlbus.columns import Column, Values
from nlbus.convert import text_column, time_dtype, utf8

# Smaller chunks are joined, as readers are slow with many of them. An attribute has 64 KiB at most: so many
# stay far below the 2 GiB of Arrow's offsets.
BATCH_ROWS = 1 << 13

_FORMATS = {
    "b1": "b", "i1": "c", "u1": "C", "i2": "s", "u2": "S", "i4": "i", "u4": "I", "i8": "l", "u8": "L",
    "f2": "e", "f4": "f", "f8": "g",
}  # fmt: skip
_TIMES = {"s": "tss:UTC", "ms": "tsm:UTC", "us": "tsu:UTC", "ns": "tsn:UTC"}
_TABLE_END = 1 << 16


class Layout(NamedTuple):
    """An ArrowSchema."""

    name: str
    format: str
    nullable: bool = True
    children: tuple[Layout, ...] = ()
    dictionary: Layout | None = None


class Part(NamedTuple):
    """An ArrowArray. A buffer that is None is not there."""

    length: int
    nulls: int
    buffers: tuple[Array | None, ...]
    children: tuple[Part, ...] = ()
    dictionary: Part | None = None


def schema(columns: Sequence[Column]) -> object:
    """The capsule "arrow_schema" of a table with these columns."""
    return arrow.schema(_layout(columns))


def stream(columns: Sequence[Column], chunks: Iterable[Chunk]) -> object:
    """The capsule "arrow_array_stream" of these rows. Its batches are made when the reader asks for them."""
    return arrow.stream(_layout(columns), _batches(columns, chunks))


def _layout(columns: Sequence[Column]) -> Layout:
    return Layout("", "+s", False, tuple(map(_column_layout, columns)))


def _column_layout(column: Column) -> Layout:
    name, nullable = column.name, column.nullable
    if column.list:
        return Layout(name, "+l", nullable, (_column_layout(_item(column)),))
    if column.storage != "fixed":
        return Layout(name, "u" if column.storage == "text" else "z", nullable)
    if column.display == "time":
        return Layout(name, _TIMES[np.datetime_data(time_dtype(column))[0]], nullable)
    if column.enum is not None:
        return Layout(name, "i", nullable, dictionary=Layout("", "u", False))
    if _is_raw(column):
        return Layout(name, f"w:{column.dtype.itemsize}", nullable)
    return Layout(name, _FORMATS[column.dtype.str[1:]], nullable)


def _item(column: Column) -> Column:
    """A list's items as a column: names are text in it, and bytes of fixed size like any others.

    For DuckDB reads no batch of empty lists of dictionaries, and pandas no lists of fixed_size_binary.
    """
    storage = "text" if column.enum is not None else "bytes" if _is_raw(column) else column.storage
    return replace(column, name="item", list=False, nullable=True, storage=storage, enum=None)


def _items(column: Column, items: Values) -> Values:
    """The items as `_item` has them."""
    if column.enum is not None:
        assert items.values is not None
        names = column.enum
        return text_column([names.get(n, str(n)) for n in items.values.tolist()], items.valid)
    if _is_raw(column):
        ends = np.arange(len(items) + 1, dtype=np.int32) * np.int32(column.dtype.itemsize)
        return Values(items.values, items.valid, ends)
    return items


def _is_raw(column: Column) -> bool:
    return column.storage == "fixed" and column.dtype.kind == "V"


def _batches(columns: Sequence[Column], chunks: Iterable[Chunk]) -> Iterator[Part]:
    names = [None if column.enum is None or column.list else Names(column.enum) for column in columns]
    for chunk in gathered(chunks, BATCH_ROWS):
        parts = [_part(column, chunk.values(i), names[i]) for i, column in enumerate(columns)]
        yield Part(len(chunk), 0, (None,), tuple(parts))


def _part(column: Column, values: Values, names: Names | None) -> Part:
    nulls, validity = 0, None
    if values.valid is not None:
        nulls, validity = len(values) - int(np.count_nonzero(values.valid)), _bits(values.valid)
    if values.items is not None:
        items = _part(_item(column), _items(column, values.items), None)
        return Part(len(values), nulls, (validity, values.offsets), (items,))
    if column.storage == "text":
        values = utf8(values)
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


class Names:
    """The dictionary of a column whose numbers have names; a number without one is there by its digits.

    Such numbers are added when they are met. So each batch has all of the one before, in the same places.
    """

    dictionary: Part  # the names in the order of their places

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names
        self._places = {number: place for place, number in enumerate(sorted(names))}
        self._tabulate()

    def _tabulate(self) -> None:
        values = text_column([self._names.get(number, str(number)) for number in self._places])
        self.dictionary = Part(len(values), 0, (None, values.offsets, values.values))
        # The places of small numbers, by number; -1 for those that are not known.
        small = {number: place for number, place in self._places.items() if 0 <= number < _TABLE_END}
        self._table = np.full(max(small, default=-1) + 1, -1, np.int32)
        self._table[list(small)] = list(small.values())

    def places(self, numbers: Array, valid: Array | None) -> Array:
        """The place of each number in the dictionary, 0 where there is no value."""
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
