"""Expressions about columns, for Table.filter and `where=`: `field("mtu") > 1500`."""

from __future__ import annotations

import ipaddress
import operator
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from fnmatch import translate
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol, TypeGuard

import numpy as np

from nlbus.errors import SchemaError
from nlbus.table.chunks import Mask
from nlbus.table.values import MAPPED, is_ipv4, is_ipv6, time_dtype

if TYPE_CHECKING:
    from nlbus._typing import Array
    from nlbus.schema.types import Column

Number = (int, float, np.number, np.bool_)
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Comparison = Callable[[Any, Any], Any]

_SIGNS: dict[Comparison, str] = {
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
}
_PAIRS = re.compile("([0-9a-fA-F]{2}:?)*")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def field(name: str) -> Operand:
    """A column, to be compared: `(field("mtu") > 1500) & (field("operstate") == "up")`."""
    return Operand(name)


class Columns(Protocol):
    """A table, as far as expressions need it."""

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

    def __getitem__(self, name: str) -> Array: ...


class Expression(ABC):
    """What is true or false of a row, or neither: where it has no value, no comparison is, as in SQL.

    `&`, `|` and `~` combine expressions. `columns` are the names of those it looks at.
    """

    columns: frozenset[str]

    def mask(self, table: Columns) -> Mask:
        """The rows for which it is true. UnknownColumn; SchemaError where a value does not fit its column.

        A table without rows finds these errors, too.
        """
        return self._rows(table, True)

    def equalities(self, table: Columns) -> dict[str, int]:
        """Columns of numbers that must have a certain value wherever it is true; maybe not all of them."""
        return {}

    @abstractmethod
    def _rows(self, table: Columns, truth: bool) -> Mask:
        """The rows for which it is true, or those for which it is false."""

    def __and__(self, other: Expression) -> Expression:
        return _Pair(self, other, "&") if isinstance(other, Expression) else NotImplemented

    def __or__(self, other: Expression) -> Expression:
        return _Pair(self, other, "|") if isinstance(other, Expression) else NotImplemented

    def __invert__(self) -> Expression:
        return _Not(self)

    def __bool__(self) -> bool:
        raise SchemaError(f"{self} is true or false of a row, not by itself: {_HOW}")


def expression(value: object, of: str) -> Expression:
    """The value, if it is an expression. SchemaError, which begins with `of`."""
    if isinstance(value, Expression):
        return value
    compared = f'as in field("mtu") > 1500, not {value!r}'
    raise SchemaError(f"{of}: an expression of columns, {compared}")


_HOW = "combine with &, | and ~ instead of `and`, `or` and `not`, each comparison in parentheses"


class _Pair(Expression):
    def __init__(self, left: Expression, right: Expression, sign: str) -> None:
        self.columns = left.columns | right.columns
        self._left, self._right, self._sign = left, right, sign

    def _rows(self, table: Columns, truth: bool) -> Mask:
        left, right = self._left._rows(table, truth), self._right._rows(table, truth)
        return left | right if (self._sign == "|") is truth else left & right

    def equalities(self, table: Columns) -> dict[str, int]:
        if self._sign == "|":
            return {}
        return self._left.equalities(table) | self._right.equalities(table)

    def __repr__(self) -> str:
        return f"({self._left} {self._sign} {self._right})"


class _Not(Expression):
    def __init__(self, inner: Expression) -> None:
        self.columns = inner.columns
        self._inner = inner

    def _rows(self, table: Columns, truth: bool) -> Mask:
        return self._inner._rows(table, not truth)

    def __repr__(self) -> str:
        return f"~{self._inner}"


class _Cells(NamedTuple):
    """A column of a table: its type, its array, and the address family of each row where that matters."""

    column: Column
    array: Array
    families: Array | None


class _Test(Expression):
    """A test of the values of one column."""

    def __init__(self, name: str, text: str, test: Callable[[_Cells], Mask]) -> None:
        self.columns = frozenset([name])
        self._name, self._text, self._test = name, text, test

    def _rows(self, table: Columns, truth: bool) -> Mask:
        column = table.column(self._name)
        families = table.families if column.family == "family" else None
        hits = self._test(_Cells(column, table[self._name], families))
        return (hits if truth else ~hits) & table.valid(self._name)

    def __repr__(self) -> str:
        return f"({self._text})"


class _Equal(_Test):
    def __init__(self, name: str, text: str, value: object) -> None:
        super().__init__(name, text, partial(_compare, operator.eq, value))
        self._value = value

    def equalities(self, table: Columns) -> dict[str, int]:
        value = _fitting(table.column(self._name), self._value)
        return {self._name: int(value)} if isinstance(value, int | np.integer) else {}


class _Absent(Expression):
    def __init__(self, name: str) -> None:
        self.columns = frozenset([name])
        self._name = name

    def _rows(self, table: Columns, truth: bool) -> Mask:
        valid = table.valid(self._name)
        return ~valid if truth else valid

    def __repr__(self) -> str:
        return f"field({self._name!r}).is_null()"


class Operand:
    """A column that waits to be compared: with a number, text, bytes, or what reads as its values do.

    Numbers that have names compare with these, too; addresses with "10.0.0.1" or objects of ipaddress,
    hardware addresses with "52:54:00:12:34:56" (those of tunnels are addresses), times with datetime
    (aware), datetime64 or an integer in the column's unit.
    """

    __array_ufunc__ = None  # scalars of numpy on the left leave the comparison to us

    def __init__(self, name: str) -> None:
        self.name = name

    def _compared(self, comparison: Comparison, value: object) -> Expression:
        text = f"{self} {_SIGNS[comparison]} {value!r}"
        return _Test(self.name, text, partial(_compare, comparison, value))

    def __eq__(self, value: object) -> Expression:  # type: ignore[override]
        return _Equal(self.name, f"{self} == {value!r}", value)

    def __ne__(self, value: object) -> Expression:  # type: ignore[override]
        return self._compared(operator.ne, value)

    def __lt__(self, value: object) -> Expression:
        return self._compared(operator.lt, value)

    def __le__(self, value: object) -> Expression:
        return self._compared(operator.le, value)

    def __gt__(self, value: object) -> Expression:
        return self._compared(operator.gt, value)

    def __ge__(self, value: object) -> Expression:
        return self._compared(operator.ge, value)

    __hash__ = None  # type: ignore[assignment]

    def isin(self, values: Iterable[object]) -> Expression:
        """Equal to one of them."""
        if isinstance(values, str | bytes):
            raise SchemaError(f"{self}.isin: a list of values, not {values!r}")
        values = list(values)
        return _Test(self.name, f"{self}.isin({values!r})", partial(_is_in, values))

    def is_null(self) -> Expression:
        """Without a value: true or false of every row."""
        return _Absent(self.name)

    def has(self, *names: str) -> Expression:
        """All of these flags are set."""
        return _Test(self.name, f"{self}.has({', '.join(map(repr, names))})", partial(_has, names))

    def matches(self, pattern: str) -> Expression:
        """Text that fits a glob, as of a shell: `field("ifname").matches("eth*")`."""
        return _Test(self.name, f"{self}.matches({pattern!r})", partial(_matches, pattern))

    def within(self, network: str) -> Expression:
        """An address in this network: `field("dst").within("10.0.0.0/8")`."""
        return _Test(self.name, f"{self}.within({network!r})", partial(_within, network))

    def _precedence(self, _: object) -> NoReturn:
        raise SchemaError(f"{self} stands beside & or | and is not compared: {_HOW}")

    __and__ = __rand__ = __or__ = __ror__ = _precedence

    def __bool__(self) -> bool:
        raise SchemaError(f"{self} is a column: compare it, or ask is_null()")

    def __repr__(self) -> str:
        return f"field({self.name!r})"


# -- tests ------------------------------------------------------------------------------------------


def _compare(comparison: Comparison, value: object, cells: _Cells) -> Mask:
    column, array, _ = cells
    wanted = _fitting(column, value)
    if not isinstance(wanted, bytes):
        return np.asarray(comparison(array, wanted), np.bool_)
    if comparison not in (operator.eq, operator.ne):
        raise SchemaError(f"{column.name} is {column.type}: it has no order, only == and !=")
    same = _same(array, wanted)
    if column.display == "address" and isinstance(value, str | Address):
        same &= _may_be(ipaddress.ip_address(value), cells)
    return same if comparison is operator.eq else ~same


def _is_in(values: list[object], cells: _Cells) -> Mask:
    none = np.zeros(len(cells.array), np.bool_)
    return reduce(operator.or_, (_compare(operator.eq, value, cells) for value in values), none)


def _has(names: tuple[str, ...], cells: _Cells) -> Mask:
    column, array, _ = cells
    if column.flags is None or column.list:
        raise SchemaError(f"{column.name} is {column.type}{'[]' * column.list}: it has no flags")
    bits = sum(_number(column, column.flags, name) for name in set(names))
    return np.asarray(array & array.dtype.type(bits) == bits, np.bool_)


def _matches(pattern: str, cells: _Cells) -> Mask:
    column, array, _ = cells
    if column.storage != "text" or column.list:
        raise SchemaError(f"{column.name} is {column.type}{'[]' * column.list}, not text")
    fits = re.compile(translate(pattern)).match
    return np.fromiter((fits(text) is not None for text in array.tolist()), np.bool_, len(array))


def _within(network: str, cells: _Cells) -> Mask:
    column, array, _ = cells
    if column.display != "address" or column.list:
        raise SchemaError(f"{column.name} is {column.type}{'[]' * column.list}, not an address")
    try:
        parsed = ipaddress.ip_network(network, strict=False)
    except ValueError as error:
        raise SchemaError(f"{column.name}: {error}") from None
    host_bits = parsed.max_prefixlen - parsed.prefixlen
    mask = (1 << 128) - (1 << host_bits)
    same = _same(array, _mapped(parsed.network_address), mask.to_bytes(16, "big"))
    return same & _may_be(parsed.network_address, cells)


def _may_be(address: Address, cells: _Cells) -> Mask:
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


def _fitting(column: Column, value: object) -> Any:
    """The value as the column's array has it: bytes for addresses and all else that is bytes."""
    fitted = None if column.list else _fitted(column, value)
    if fitted is None:
        hint = " (is_null() tells whether there is a value)" if value is None else ""
        what = f"a list of {column.type}" if column.list else column.type
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
    for number, known in names.items():
        if known == name:
            return number
    close = get_close_matches(name, names.values(), 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names.values())}"
    raise SchemaError(f"{column.name} has no value named {name!r}: {hint}")
