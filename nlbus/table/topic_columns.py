"""The fields of a topic as columns, and their values in an array of records."""

from __future__ import annotations

from functools import cache, reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nlbus.schema.topic import Leaf, leaves
from nlbus.schema.types import Column, Display, Storage, Values
from nlbus.table.values import text_column

if TYPE_CHECKING:
    from nlbus._typing import Array, Structured

NAT = np.iinfo(np.int64).min
_COARSE = frozenset(["Y", "M", "W", "D", "h", "m"])  # units of datetime64 that become seconds in a column
_TIMES = frozenset(["s", "ms", "us", "ns"])
_REPLACEMENT = 0xFFFD


class Field(NamedTuple):
    """A column, and the place of its values in a record."""

    column: Column
    leaf: Leaf


@cache
def fields(dtype: np.dtype[Any]) -> tuple[Field, ...]:
    """The columns of a topic whose records are of this type."""
    return tuple(Field(_column(leaf), leaf) for leaf in leaves(dtype))


def _column(leaf: Leaf) -> Column:
    dtype, kind = leaf.dtype, leaf.dtype.kind
    storage: Storage = "fixed"
    display: Display = ""
    unit = ""
    if kind == "V":
        display = "hex"
    elif kind in "SU":
        dtype, storage = np.dtype("V1"), "text"
    elif kind in "mM":
        base, count = np.datetime_data(dtype)
        unit = f"{count}{base}" if count > 1 else base.replace("generic", "")
        if kind == "M" and base in _COARSE | _TIMES:
            unit, display = "s" if base in _COARSE else base, "time"
        dtype = np.dtype("i8")
    elif kind == "f":
        dtype = np.dtype(f"f{max(4, dtype.itemsize)}")  # DuckDB reads no halves
    return Column(
        name=leaf.name,
        dtype=dtype.newbyteorder("="),
        type=str(leaf.dtype),
        storage=storage,
        list=bool(leaf.dims),
        unit=unit,
        nullable=kind in "mM",
        display=display,
    )


def field_values(field: Field, records: Structured) -> Values:
    """The values of a field, in memory of their own."""
    leaf = field.leaf
    # The values are scattered, at any alignment and in any byte order.
    array: Array = np.ascontiguousarray(reduce(lambda whole, name: whole[name], leaf.path, records))
    if leaf.dtype.kind == "V":
        array = array.view("u1").reshape(-1).view(leaf.dtype)
    found = _values(field.column, array.reshape(-1))
    if not leaf.dims:
        return found
    ends = np.arange(len(records) + 1, dtype=np.int32) * np.int32(np.prod(leaf.dims))
    return Values(None, None, ends, found)


def _values(column: Column, array: Array) -> Values:
    kind = array.dtype.kind
    if kind == "S":
        return _texts_of_bytes(array)
    if kind == "U":
        return text_column(_codes(array).tolist())
    if kind in "mM":
        if column.display:
            array = array.astype(f"M8[{column.unit}]")
        numbers = array.astype(array.dtype.newbyteorder("="), copy=False).view(np.int64)
        there = numbers != NAT
        return Values(numbers, None if there.all() else there)
    return Values(array.astype(column.dtype, copy=False))


def _texts_of_bytes(array: Array) -> Values:
    """The texts without trailing NULs."""
    size = array.dtype.itemsize
    lengths = np.strings.str_len(array)
    offsets = np.zeros(len(array) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return Values(array.view("u1").reshape(-1, size)[np.arange(size) < lengths[:, None]], None, offsets)


def _codes(array: Array) -> Array:
    """The same texts, with code points that are not characters replaced: senders may send any bytes."""
    codes = array.view(np.dtype("u4").newbyteorder(array.dtype.byteorder)).astype("u4")
    codes[(codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))] = _REPLACEMENT
    return codes.view(array.dtype.newbyteorder("="))
