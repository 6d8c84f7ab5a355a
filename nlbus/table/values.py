"""The values of a column as arrays of numpy, and as objects of Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from socket import AF_INET, AF_INET6, inet_ntop
from typing import TYPE_CHECKING, Any

import numpy as np

from nlbus._core.render.cells import Cells, Kind, store_cells
from nlbus._core.render.rows import Rows
from nlbus._text import as_utf8, is_utf8
from nlbus._typing import Array
from nlbus.schema.types import Column, Values
from nlbus.table.decoded import DecodedRows

if TYPE_CHECKING:
    from nlbus.table.chunks import Chunk

KindOf = tuple[Kind, str, bool]  # see store_cells

TUNNELS = {4: AF_INET, 16: AF_INET6}  # by the length of a hardware address
MAPPED = b"\0" * 10 + b"\xff\xff"  # the prefix of a mapped IPv4 address


def _families(*numbers: int) -> Array:
    """A table of bools, by address family."""
    return np.isin(np.arange(256), numbers)


IPV4_FAMILIES = _families(2, 128)  # AF_INET, RTNL_FAMILY_IPMR
IPV6_FAMILIES = _families(10, 129)  # AF_INET6, RTNL_FAMILY_IP6MR

# -- text -----------------------------------------------------------------------------------------


def texts(values: Values) -> list[str]:
    """The texts of a column, "" for a missing one; bytes that are not UTF-8 become lone surrogates."""
    raw, bounds = _bytes_of(values)
    if raw.isascii():
        whole = raw.decode("ascii")
        return [whole[start:end] for start, end in pairwise(bounds)]
    return [raw[start:end].decode(errors="surrogateescape") for start, end in pairwise(bounds)]


def utf8(values: Values) -> Values:
    """The same column as valid UTF-8, which readers of Arrow do not check."""
    assert values.values is not None
    raw = values.values
    if not len(raw) or (raw.max() < 0x80 and not (raw == ord("\\")).any()):
        return values
    return text_column([*map(as_utf8, texts(values))], values.valid)


def text_column(strings: list[str], valid: Array | None = None) -> Values:
    """Texts as a column."""
    return raw_column([string.encode() for string in strings], valid)


def raw_column(encoded: list[bytes], valid: Array | None = None) -> Values:
    """Bytes as a column."""
    offsets = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(each) for each in encoded], out=offsets[1:])
    return Values(np.frombuffer(b"".join(encoded), np.uint8), valid, offsets)


def _bytes_of(values: Values) -> tuple[bytes, list[int]]:
    assert values.values is not None
    assert values.offsets is not None
    return values.values.tobytes(), values.offsets.tolist()


# -- numpy ------------------------------------------------------------------------------------------


def to_array(column: Column, values: Values) -> Array:
    """The column as `Table[...]` returns it; values of fixed size are not copied."""
    if values.items is not None:
        assert values.offsets is not None
        items = to_array(column, values.items)
        return _objects([items[start:end] for start, end in pairwise(values.offsets.tolist())], values.valid)
    if column.storage == "text":
        strings = texts(values)
        # numpy's texts are UTF-8, so a name that is not makes its column one of objects.
        kept = np.dtypes.StringDType() if all(map(is_utf8, strings)) else np.dtype(object)
        return np.array(strings, kept)
    if column.storage == "bytes":
        raw, bounds = _bytes_of(values)
        return _objects([raw[start:end] for start, end in pairwise(bounds)], values.valid)
    assert values.values is not None
    if column.display != "time":
        return values.values
    times = values.values.view(time_dtype(column))
    return times if values.valid is None else np.where(values.valid, times, np.datetime64("NaT"))


def no_cells(column: Column) -> Array:
    """An array of such a column without values."""
    if column.storage == "text":
        return np.empty(0, np.dtypes.StringDType())
    if column.storage == "bytes":
        return np.empty(0, object)
    return np.empty(0, time_dtype(column) if column.display == "time" else column.dtype)


def time_dtype(column: Column) -> np.dtype[np.datetime64]:
    """numpy's type for a column of times: 64-bit integers since 1970 in UTC."""
    return np.dtype(f"M8[{column.unit or 'ns'}]")


def _objects(cells: list[Any], valid: Array | None) -> Array:
    # Not np.array(), which makes a matrix of arrays of equal length.
    return np.fromiter(_or_none(cells, valid), np.dtype(object), len(cells))


def _or_none(cells: list[Any], valid: Array | None) -> list[Any]:
    if valid is None:
        return cells
    return [cell if there else None for cell, there in zip(cells, valid.tolist(), strict=True)]


# -- Python -----------------------------------------------------------------------------------------


def to_python(column: Column, values: Values, families: Array | None = None) -> list[Any]:
    """The column as `Table.iter_rows` returns it: None for a missing value. families: AF_* of each row."""
    return [row["x"] for row in Rows(["x"], [cells(column, values, families)], len(values), True, {})]


def cells(column: Column, values: Values, families: Array | None = None) -> Cells:
    """The column as compiled code reads it, in place. families: AF_* of each row."""
    items = values.items
    found = None if items is None else (items.values, items.valid, items.offsets)
    return Cells.of(
        kind_of(column), len(values), values.values, values.valid, values.offsets, found,
        families if column.family == "family" else None, column.family == "inet6",
    )  # fmt: skip


def chunk_cells(columns: Sequence[Column], chunk: Chunk) -> list[Cells | None]:
    """The columns of a chunk; None where no row has a value."""
    if isinstance(chunk, DecodedRows):
        found, rest = store_cells(chunk.store, _kinds_of(columns), chunk.cells, chunk.family, chunk.origin)
    else:
        found, rest = [None] * len(columns), [i for i in range(len(columns)) if not chunk.absent(i)]
    if rest:
        families = chunk.families
        for i in rest:
            found[i] = cells(columns[i], chunk.values(i), families)
    return found


_ready: dict[int, tuple[Sequence[Column], list[KindOf]]] = {}


def _kinds_of(columns: Sequence[Column]) -> list[KindOf]:
    """What store_cells has to know of these columns."""
    found = _ready.get(id(columns))
    if found is None or found[0] is not columns:
        if len(_ready) >= MOST_KINDS:
            _ready.clear()
        kinds: list[KindOf] = [(kind_of(each), each.family, each.dtype.kind == "i") for each in columns]
        found = _ready[id(columns)] = (columns, kinds)
    return found[1]


_kinds: dict[int, tuple[Column, Kind]] = {}
MOST_KINDS = 4096


def kind_of(column: Column) -> Kind:
    """What compiled code has to know of a column; one for as long as the column lives."""
    # By identity: to hash and compare a column takes longer than to read a few rows of it.
    found = _kinds.get(id(column))
    if found is None:
        if len(_kinds) >= MOST_KINDS:
            _kinds.clear()
        found = _kinds[id(column)] = column, _kind(column)
    return found[1]


def _kind(column: Column) -> Kind:
    dtype, names, flags = column.dtype, column.enum, column.flags
    if column.storage == "text":
        return Kind("text")
    if column.display == "address":
        return Kind("address")
    if column.storage == "bytes" or dtype.kind == "V":
        shape, make = _shown(column.display)
        return Kind(shape, make)
    if dtype.kind in "iu" and dtype.itemsize <= 8:
        if names is not None:
            return Kind("named", lambda number: names.get(number, number))
        if flags is not None:
            return Kind("named", lambda number: flag_names(flags, number))
        if column.display == "dotted":
            return Kind("named", lambda number: inet_ntop(AF_INET, number.to_bytes(4, "big")))
        return Kind("signed" if dtype.kind == "i" else "unsigned")
    if dtype.kind == "f" and dtype.itemsize in (4, 8):
        return Kind("float")
    return Kind("boolean" if dtype.kind == "b" else "other")


def _shown(display: str) -> tuple[str, Callable[[bytes], object] | None]:
    shown: dict[str, tuple[str, Callable[[bytes], object] | None]] = {
        "mac": ("mac", None),
        "lladdr": ("lladdr", lladdr_text),
        "hex": ("hex", None),
        "dotted": ("made", lambda raw: ".".join(map(str, raw))),
        "labels": ("made", labels_text),
    }
    return shown.get(display, ("raw", None))


def is_ipv6(column: Column, families: Array | None, rows: int) -> Array:
    """Which addresses are known to be of IPv6, though they may look like mapped ones of IPv4."""
    if column.family != "family" or families is None:
        return np.full(rows, column.family == "inet6")
    return IPV6_FAMILIES[families]


def is_ipv4(column: Column, families: Array | None, rows: int) -> Array:
    """Which addresses are known to be of IPv4."""
    if column.family != "family" or families is None:
        return np.zeros(rows, np.bool_)
    return IPV4_FAMILIES[families]


def flag_names(names: Mapping[int, str], number: int) -> list[str]:
    """The names of the set bits; bits without a name together in hex."""
    known = [bit for bit in names if bit & number]
    rest = number & ~sum(known)
    return [names[bit] for bit in known] + ([f"{rest:#x}"] if rest else [])


def address_text(raw: bytes) -> str:
    """16 bytes as an address: of IPv4 where they are a mapped one."""
    return inet_ntop(AF_INET, raw[12:]) if raw.startswith(MAPPED) else inet_ntop(AF_INET6, raw)


def lladdr_text(raw: bytes) -> str:
    """A hardware address; that of a tunnel is one of IP, and the only one of 4 or 16 bytes but FireWire's."""
    family = TUNNELS.get(len(raw))
    return raw.hex(":") if family is None else inet_ntop(family, raw)


def labels_text(raw: bytes) -> str:
    """A stack of MPLS labels as ip writes it: 200/300."""
    entries = (int.from_bytes(raw[at : at + 4], "big") for at in range(0, len(raw), 4))
    return "/".join(str(entry >> 12) for entry in entries)
