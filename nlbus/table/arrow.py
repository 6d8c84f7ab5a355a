"""Tables as Arrow streams. Values stored in Arrow's layout are not copied if chunks are large.

Validity and booleans become bits. All columns without any value share the same zeros. With `text`, columns
hold what people read: addresses and the like as text, flags as lists of names, numbers with names as these.
Numbers of one byte become a dictionary of all 256, the same in every table, so that rows of different batches
can be joined and grouped. Wider numbers have no such dictionary, since any of them may come without a name:
they become text. Without `text`, columns hold numbers and bytes, as `Table[...]` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from socket import AF_INET, inet_ntop
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec, TypeVar

import numpy as np

from nlbus._core.columns import arrow, readable
from nlbus._typing import UNNAMED, Array
from nlbus.schema.types import Column, Values
from nlbus.table.chunks import BATCH_ROWS, Chunk, gathered
from nlbus.table.values import flag_names, is_ipv6, text_column, time_dtype, utf8

# Smaller chunks are joined, because readers are slow with many of them. An attribute has less than 64 KiB, so
# this many rows stay below the 2 GiB of Arrow's offsets.
SHARED_ROWS = 1 << 16  # in a larger chunk, each column has views of its own

_FORMATS = {
    "b1": "b", "i1": "c", "u1": "C", "i2": "s", "u2": "S", "i4": "i", "u4": "I", "i8": "l", "u8": "L",
    "f4": "f", "f8": "g",
}  # fmt: skip
_TIMES = {"s": "tss:UTC", "ms": "tsm:UTC", "us": "tsu:UTC", "ns": "tsn:UTC"}
_VIEWS = ("vu", "vz")
KEPT = 1024  # layouts, and dictionaries
ITEM = ""  # the name of the column of a list's items; no other column may have it
VIEW = np.dtype([("length", np.int32), ("rest", np.int32, 3)])
_SPELLED = {
    "mac": readable.MAC, "hex": readable.PLAIN_HEX, "dotted": readable.DOTTED, "lladdr": readable.LLADDR,
    "labels": readable.LABELS,
}  # fmt: skip

# What people read in place of a column's values: "names" are a dictionary, "flags" lists of names, "words"
# and "dotted" texts of numbers, "address" and "spelled" texts of bytes.
Readable = Literal["names", "words", "flags", "dotted", "address", "spelled"]


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


class Exported:
    """These columns and chunks for readers of Arrow's C stream. Record batches are made on demand.

    text: see the head of this module. gather: join small chunks, which must be a collection.
    """

    def __init__(
        self, columns: Sequence[Column], chunks: Iterable[Chunk], *, text: bool = True, gather: bool = True
    ) -> None:
        self._columns = tuple(columns)
        self._chunks = chunks
        self._text = text
        self._gather = gather

    def __arrow_c_schema__(self) -> object:
        return arrow.schema(_layout(self._columns, False, self._text))

    def __arrow_c_stream__(self, requested_schema: object = UNNAMED) -> object:
        # polars and DuckDB pass no schema and use views for texts and bytes themselves: they get views. If
        # the caller passes a schema, even None, it is pyarrow, which can neither filter nor sort views.
        layout = _layout(self._columns, requested_schema is UNNAMED, self._text)
        chunks = gathered(self._chunks, BATCH_ROWS) if self._gather else self._chunks
        return arrow.stream(layout, _batches(self._columns, layout, chunks, self._text))


First = TypeVar("First")
Rest = ParamSpec("Rest")
Made = TypeVar("Made")


def _kept(make: Callable[Concatenate[First, Rest], Made]) -> Callable[Concatenate[First, Rest], Made]:
    """Keep what was made of each first argument, by identity: hashing columns outlasts a small table."""
    known: dict[tuple[Any, ...], tuple[First, Made]] = {}

    def look(first: First, /, *rest: Rest.args, **more: Rest.kwargs) -> Made:
        key = (id(first), *rest, *more.values())
        found = known.get(key)
        if found is None:
            if len(known) >= KEPT:
                known.clear()
            found = known[key] = (first, make(first, *rest, **more))  # `first` must live as long as its id
        return found[1]

    return look


# -- layouts ----------------------------------------------------------------------------------------------


@_kept
def _layout(columns: tuple[Column, ...], views: bool, text: bool) -> Layout:
    return Layout("", "+s", False, tuple(_column_layout(column, views, text) for column in columns))


def _column_layout(column: Column, views: bool, text: bool) -> Layout:
    name, nullable = column.name or "item", column.nullable
    if column.list:
        return Layout(name, "+L", nullable, (_column_layout(_item(column), views, text),))
    texts = "vu" if views else "u"
    shown = _shown(column) if text else None
    if shown == "names":
        return Layout(name, "C" if views else "i", nullable, dictionary=Layout("", "u", False))
    if shown == "flags":
        return Layout(name, "+L", nullable, (Layout("item", texts),))
    if shown is not None or column.storage == "text":
        return Layout(name, texts, nullable)
    if column.storage == "bytes" or (_is_raw(column) and (views or column.name == ITEM)):
        return Layout(name, "vz" if views else "z", nullable)
    if _is_raw(column):
        return Layout(name, f"w:{column.dtype.itemsize}", nullable)
    if column.display == "time":
        return Layout(name, _TIMES[np.datetime_data(time_dtype(column))[0]], nullable)
    return Layout(name, _FORMATS[column.dtype.str[1:]], nullable)


def _item(column: Column) -> Column:
    """A list's items as a column."""
    return replace(column, name=ITEM, list=False, nullable=True)


def _shown(column: Column) -> Readable | None:
    """What people read in place of the values of a column that is no list; None for the values."""
    if column.storage == "text" or column.display == "time":
        return None
    if column.storage == "fixed" and column.dtype.kind in "iu":
        if column.enum is not None:
            # DuckDB reads no batch of empty lists of dictionaries.
            return "names" if column.dtype == np.uint8 and column.name != ITEM else "words"
        if column.flags is not None:
            return "flags"
        return "dotted" if column.display == "dotted" else None
    if column.display == "address":
        return "address"
    return "spelled" if column.display in _SPELLED else None


def _is_raw(column: Column) -> bool:
    return column.storage == "fixed" and column.dtype.kind == "V"


# -- values -----------------------------------------------------------------------------------------------


def _batches(
    columns: Sequence[Column], layout: Layout, chunks: Iterable[Chunk], text: bool
) -> Iterator[RecordBatch]:
    width = max([VIEW.itemsize, *(column.dtype.itemsize for column in columns)])
    zeros = np.empty(0, np.uint8)
    for chunk in chunks:
        rows = len(chunk)
        if len(zeros) < (rows + 1) * width:
            zeros = np.zeros((rows + 1) * width, np.uint8)
        families = chunk.families if text else None
        parts: list[Part | None] = []
        for i, (column, its) in enumerate(zip(columns, layout.children, strict=True)):
            if not chunk.absent(i):
                parts.append(_part(column, its, chunk.values(i), families, text))
            elif its.dictionary is None:
                parts.append(None)
            else:
                parts.append(Part(rows, rows, (zeros, zeros), (), _dictionary(_enum(column))))
        yield RecordBatch(rows, parts, zeros)


def _part(column: Column, layout: Layout, values: Values, families: Array | None, text: bool) -> Part:
    nulls, validity = 0, None
    if values.valid is not None:
        nulls = len(values) - int(np.count_nonzero(values.valid))
        validity = _bits(values.valid) if nulls else None
    if column.list:
        assert values.items is not None
        assert values.offsets is not None
        if families is not None and column.family:
            families = np.repeat(families, np.diff(values.offsets))
        items = _part(_item(column), layout.children[0], values.items, families, text)
        return Part(len(values), nulls, (validity, values.offsets.astype(np.int64)), (items,))
    shown = _shown(column) if text else None
    if shown == "names":
        assert values.values is not None
        places = values.values if layout.format == "C" else values.values.astype(np.int32)
        return Part(len(values), nulls, (validity, places), (), _dictionary(_enum(column)))
    if shown == "flags":
        offsets, names = _flags(column, values)
        return Part(
            len(values), nulls, (validity, offsets.astype(np.int64)), (_text(names, layout.children[0]),)
        )
    if shown is not None:
        return _text(_texts(shown, column, values, families), layout, nulls, validity)
    if column.storage == "text":
        return _text(utf8(values), layout, nulls, validity)
    if layout.format == "vz":
        return Part(len(values), nulls, (validity, *_views(values)))
    if layout.format == "z":
        return Part(len(values), nulls, (validity, _offsets(values), values.values))
    assert values.values is not None
    fixed = _bits(values.values) if column.dtype.kind == "b" else values.values
    return Part(len(values), nulls, (validity, fixed))


class Repeated(NamedTuple):
    """A column of texts that repeat: the distinct ones, and which of them each row has."""

    texts: Values
    codes: Array


def _text(texts: Values | Repeated, layout: Layout, nulls: int = 0, validity: Array | None = None) -> Part:
    """A column of texts, as views or with offsets."""
    if isinstance(texts, Repeated):
        values, codes = texts
        if layout.format in _VIEWS:
            views, *data = _views(values)
            return Part(len(codes), nulls, (validity, views[codes], *data))
        assert values.values is not None
        assert values.offsets is not None
        joined, offsets = readable.repeated(codes, values.values, values.offsets)
        texts = Values(joined, None, offsets)
    if layout.format in _VIEWS:
        return Part(len(texts), nulls, (validity, *_views(texts)))
    return Part(len(texts), nulls, (validity, texts.offsets, texts.values))


def _texts(shown: Readable, column: Column, values: Values, families: Array | None) -> Values | Repeated:
    assert values.values is not None
    if shown == "address":
        sixes = is_ipv6(column, families, len(values))
        valid = None if values.valid is None else values.valid.view(np.uint8)
        data, offsets = readable.addresses(
            values.values.view(np.uint8), valid, sixes.view(np.uint8) if sixes.any() else None
        )
        return Values(data, None, offsets)
    if shown == "spelled":
        data, offsets = readable.spelled(
            values.values.view(np.uint8), _offsets(values), _SPELLED[column.display]
        )
        return Values(data, None, offsets)
    codes = np.empty(len(values), np.int32)
    numbers = readable.distinct(values.values, codes).tolist()
    if shown == "dotted":
        return Repeated(
            text_column([inet_ntop(AF_INET, number.to_bytes(4, "big")) for number in numbers]), codes
        )
    assert column.enum is not None
    names = column.enum
    return Repeated(text_column([names.get(number, str(number)) for number in numbers]), codes)


def _flags(column: Column, values: Values) -> tuple[Array, Repeated]:
    """The names of the flags that are set: where those of each row begin, and all of them."""
    assert values.values is not None
    assert column.flags is not None
    codes = np.empty(len(values), np.int32)
    numbers = readable.distinct(values.values, codes)
    lists = [flag_names(column.flags, number) for number in numbers.tolist()]
    names = [name for each in lists for name in each]
    bounds = np.cumsum([0, *map(len, lists)]).astype(np.int32)
    valid = None if values.valid is None else values.valid.view(np.uint8)
    places, offsets = readable.gather(codes, valid, bounds)
    return offsets, Repeated(text_column(names), places)


def _offsets(values: Values) -> Array:
    """Where each value begins, also if all have the same size."""
    if values.offsets is not None:
        return values.offsets
    assert values.values is not None
    return np.arange(len(values) + 1, dtype=np.int32) * np.int32(values.values.itemsize)


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


def _enum(column: Column) -> Mapping[int, str]:
    assert column.enum is not None
    return column.enum


@_kept
def _dictionary(names: Mapping[int, str]) -> Part:
    """The names of all numbers of a byte; a number without a name is its digits."""
    values = text_column([names.get(number, str(number)) for number in range(256)])
    return Part(len(values), 0, (None, values.offsets, values.values))
