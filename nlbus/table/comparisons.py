"""Comparisons of a column's values with what a user wrote: numbers, names, text, addresses, times."""

from __future__ import annotations

import ipaddress
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from fnmatch import translate
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeGuard

import numpy as np

from nlbus._text import is_bytes, is_utf8
from nlbus.errors import SchemaError
from nlbus.table.chunks import Mask
from nlbus.table.values import MAPPED, is_ipv4, is_ipv6, no_cells, time_dtype

if TYPE_CHECKING:
    from nlbus._typing import Array
    from nlbus.kernel.interfaces import Interfaces
    from nlbus.schema.types import Column

Number = (int, float, np.number, np.bool_)
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Comparison = Callable[[Any, Any], Any]
_PAIRS = re.compile("([0-9a-fA-F]{2}:?)*")
# What text output, ip and conntrack call some values.
SYNONYMS = {
    "global": "universe", "ipv4": "inet", "ipv6": "inet6", "ip": "inet", "ip6": "inet6",
    "estab": "established", "listening": "listen",
}  # fmt: skip
MAX_DIGITS = 20  # of 64 bits, with the sign
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Columns(Protocol):
    """A table, as far as expressions need it."""

    @property
    def columns(self) -> Sequence[Column]:
        """All of them."""
        ...

    def column(self, name: str) -> Column:
        """The column of this name. UnknownColumn."""
        ...

    def valid(self, name: str) -> Mask:
        """Marks the rows that have a value."""
        ...

    @property
    def families(self) -> Array | None:
        """The address family of each row, AF_*; None where no column needs it."""
        ...

    @property
    def interfaces(self) -> Interfaces | None:
        """The names of interfaces, as far as they are known."""
        ...

    def __getitem__(self, name: str) -> Array: ...


class Cells(NamedTuple):
    """A column of a table: its type, its array, and the address family of each row where that matters."""

    column: Column
    array: Array
    families: Array | None


def compare(comparison: Comparison, value: object, cells: Cells) -> Mask:
    """The rows whose value compares so. SchemaError if the column cannot be tested so."""
    column, array, _ = cells
    wanted = fitting(column, value)
    if isinstance(wanted, str):
        return _compare_text(comparison, array, wanted)
    if not isinstance(wanted, bytes):
        if array.dtype.kind == "b":
            array = array.view(np.uint8)  # numpy compares bools with no number above 2^63
        return np.asarray(comparison(array, wanted), np.bool_)
    if comparison not in (operator.eq, operator.ne):
        raise SchemaError(f"{column.name} is {column.type}: it has no order, only == and !=")
    same = _same(array, wanted)
    if column.display == "address" and isinstance(value, str | Address):
        same &= _may_be(ipaddress.ip_address(value), cells)
    return same if comparison is operator.eq else ~same


def _compare_text(comparison: Comparison, array: Array, wanted: str) -> Mask:
    """Like numpy, also for texts with lone surrogates, which numpy cannot have; by their bytes."""
    if array.dtype != object and is_utf8(wanted):
        return np.asarray(comparison(array, wanted), np.bool_)
    raw = _in_bytes(wanted)
    return np.fromiter((comparison(_in_bytes(text), raw) for text in array.tolist()), np.bool_, len(array))


def _in_bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape") if is_bytes(text) else text.encode(errors="surrogatepass")


def is_in(values: list[object], cells: Cells) -> Mask:
    """The rows whose value is one of these. SchemaError if the column cannot be tested so."""
    none = np.zeros(len(cells.array), np.bool_)
    return reduce(operator.or_, (compare(operator.eq, value, cells) for value in values), none)


def has_all(values: Sequence[object], cells: Cells) -> Mask:
    """The rows that have all these flags, or in whose list all these values are.

    SchemaError if the column cannot be tested so.
    """
    if not cells.column.list:
        return _has_flags(values, cells)
    elements, rows = elements_of(cells)
    test = _has_flags if elements.column.flags is not None else is_in
    every = np.ones(len(cells.array), np.bool_)
    for value in values:
        every &= rows_of(test([_element(elements.column, value)], elements), rows, len(every))
    return every


def elements_of(cells: Cells) -> tuple[Cells, Array]:
    """The values of all lists of a column of lists, and the row of each."""
    column = replace(cells.column, list=False)
    lists = [(row, found) for row, found in enumerate(cells.array.tolist()) if found is not None]
    rows = np.repeat([row for row, _ in lists], [len(found) for _, found in lists]).astype(np.int64)
    values = np.concatenate([found for _, found in lists]) if len(rows) else no_cells(column)
    families = None if cells.families is None else cells.families[rows]
    return Cells(column, values, families), rows


def rows_of(elements: Mask, rows: Array, count: int) -> Mask:
    """The rows of `count` that have one of these elements."""
    found = np.zeros(count, np.bool_)
    found[rows[elements]] = True
    return found


def _element(column: Column, value: object) -> object:
    """The value to look for in lists: a number in words is meant where there are numbers."""
    number = column.storage == "fixed" and column.dtype.kind in "iu" and column.enum is None
    return int(value) if number and isinstance(value, str) and is_whole(value) else value


def is_whole(text: str) -> bool:
    """Whether this is a whole number."""
    return len(text) <= MAX_DIGITS and text.removeprefix("-").isdecimal() and text.isascii()


def _has_flags(names: Sequence[object], cells: Cells) -> Mask:
    array, bits = cells.array, flag_bits(cells.column, names)
    if bits >> 8 * array.itemsize:
        return np.zeros(len(array), np.bool_)  # flags that only the kernel's wider attributes have
    return np.asarray(array & array.dtype.type(bits) == bits, np.bool_)


def flag_bits(column: Column, names: Iterable[object]) -> int:
    """The bits of these flags. SchemaError if the column has none such."""
    if column.flags is None or column.list:
        raise SchemaError(
            f"{column.name} is {column.type}: it has no flags and is no list, compare it with =="
        )
    if odd := [name for name in names if not isinstance(name, str)]:
        raise SchemaError(
            f"{column.name} has no flag {odd[0]!r}: there are {', '.join(column.flags.values())}"
        )
    return sum(_number(column, column.flags, name) for name in set(map(str, names)))


def matches_glob(pattern: str, cells: Cells) -> Mask:
    """The rows whose text matches a glob. SchemaError if the column cannot be tested so."""
    column, array, _ = cells
    if column.storage != "text" or column.list:
        raise SchemaError(f"{column.name} is {column.type}{'[]' * column.list}, not text")
    fits = re.compile(translate(pattern)).match
    return np.fromiter((fits(text) is not None for text in array.tolist()), np.bool_, len(array))


def is_within(network: str, cells: Cells) -> Mask:
    """The rows whose address is in a network. SchemaError if the column cannot be tested so."""
    first, address, mask = network_of(cells.column, network)
    return _same(cells.array, address, mask) & _may_be(first, cells)


def network_of(column: Column, network: str) -> tuple[Address, bytes, bytes]:
    """A network's address, its 16 bytes (IPv4 mapped), and its mask. SchemaError if the column has none."""
    if column.display != "address" or column.list:
        raise SchemaError(f"{column.name} is {column.type}{'[]' * column.list}, not an address")
    try:
        parsed = ipaddress.ip_network(network, strict=False)
    except ValueError as error:
        raise SchemaError(f"{column.name}: {error}") from None
    host_bits = parsed.max_prefixlen - parsed.prefixlen
    mask = (1 << 128) - (1 << host_bits)
    return parsed.network_address, _mapped(parsed.network_address), mask.to_bytes(16, "big")


def _may_be(address: Address, cells: Cells) -> Mask:
    """Which values are not known to be of the other version of IP."""
    known = is_ipv6 if address.version == 4 else is_ipv4
    return ~known(cells.column, cells.families, len(cells.array))


def _same(array: Array, wanted: bytes, mask: bytes = b"") -> Mask:
    """Which values are these bytes, where the mask has bits; values of fixed size in words of eight bytes."""
    if array.dtype == object:
        return np.fromiter((cell == wanted for cell in array.tolist()), np.bool_, len(array))
    word = np.dtype("u8" if array.itemsize % 8 == 0 else "u1")
    words = array.view(word).reshape(len(array), array.itemsize // word.itemsize)
    masks = np.frombuffer(mask or b"\xff" * array.itemsize, word)
    same = np.ones(len(array), np.bool_)
    for i, (value, bits) in enumerate(zip(np.frombuffer(wanted, word), masks, strict=True)):
        same &= words[:, i] & bits == value
    return same


# -- what a column is compared with -----------------------------------------------------------------


def fitting(column: Column, value: object) -> Any:
    """The value as the column's array has it: bytes for addresses and all else that is bytes."""
    fitted = None if column.list else _fitted(column, value)
    if fitted is None:
        hint = " (is_null() tells whether there is a value)" if value is None else ""
        what = column.type
        if column.list:
            what, hint = f"a list of {column.type}", f": `{column.name} has {value}` looks for it there"
        raise SchemaError(f"{column.name} is {what}: it cannot be compared with {value!r}{hint}")
    return fitted


def _fitted(column: Column, value: object) -> Any:
    if column.storage == "text":
        return value if isinstance(value, str) else None
    if column.storage == "bytes" or column.dtype.kind == "V":
        raw = _raw(column, value)
        fits = column.storage == "bytes" or (raw is not None and len(raw) == column.dtype.itemsize)
        return raw if fits else None
    if column.display == "time":
        return _time(column, value)
    if column.enum is not None and isinstance(value, str):
        return _number(column, column.enum, value)
    if column.flags is not None and isinstance(value, str):
        return sum({_number(column, column.flags, name) for name in value.split(",") if name})
    return value if isinstance(value, Number) else None


def _raw(column: Column, value: object) -> bytes | None:
    if isinstance(value, bytes):
        return value
    try:
        if column.display == "address" and isinstance(value, str | Address):
            return _mapped(ipaddress.ip_address(value))
        if column.display == "lladdr" and _is_of_ip(value):
            return ipaddress.ip_address(value).packed
        if isinstance(value, str):
            return bytes.fromhex(value.replace(":", ""))
    except ValueError:
        pass
    return None


def _is_of_ip(value: object) -> TypeGuard[str | Address]:
    """Whether it is no hardware address in pairs of digits, which may be all that IPv6 has as well."""
    return isinstance(value, Address) or (isinstance(value, str) and not _PAIRS.fullmatch(value))


def _mapped(address: Address) -> bytes:
    return address.packed if address.version == 6 else MAPPED + address.packed


def _time(column: Column, value: object) -> np.datetime64 | None:
    dtype = time_dtype(column)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return np.datetime64((value - _EPOCH) // timedelta(microseconds=1), "us").astype(dtype)
    if isinstance(value, np.datetime64):
        return value.astype(dtype)
    if isinstance(value, int | np.integer) and abs(int(value)) < 1 << 63:
        return np.int64(value).view(dtype)
    return None


def _number(column: Column, names: Mapping[int, str], name: str) -> int:
    numbers = {known: number for number, known in names.items()}
    folded = {known.casefold(): number for known, number in numbers.items()}
    for word in (name, name.casefold(), SYNONYMS.get(name.casefold(), "")):
        if word in numbers or word in folded:
            return numbers.get(word, folded.get(word, 0))
    close = get_close_matches(name, names.values(), 1) or get_close_matches(name.casefold(), folded, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names.values())}"
    raise SchemaError(f"{column.name} has no value named {name!r}: {hint}")
