"""Expressions about columns, for Table.filter and `where=`: `field("mtu") > 1500`."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from nlbus.errors import SchemaError
from nlbus.schema.words import meant
from nlbus.table.chunks import Mask, empty
from nlbus.table.comparisons import (
    Cells,
    Columns,
    Comparison,
    compare,
    fitting,
    has_all,
    is_in,
    is_within,
    matches_glob,
)
from nlbus.table.names.conditions import asks_for_names, test_of_names
from nlbus.table.values import to_array

if TYPE_CHECKING:
    from nlbus.schema.types import Column


_SIGNS: dict[Comparison, str] = {
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
}
MAX_TERMS = 10_000  # comparisons in one expression
MAX_DEPTH = 200  # levels of operators: Python's stack must hold them


def field(name: str) -> Operand:
    """A column, to be compared: `(field("mtu") > 1500) & (field("operstate") == "up")`."""
    return Operand(name)


# ("and" | "or", tree, tree, ...), ("not", tree), ("null", column), or a test: (sign, column, argument).
# A sign is one of == != < <= > >= before a value, "in" before a list of values, "has" before names of
# flags, "matches" before a glob, "within" before a network.
Tree = tuple[Any, ...]


class Expression(ABC):
    """What is true or false of a row, or neither: where it has no value, no comparison is, as in SQL.

    `&`, `|` and `~` combine expressions. SchemaError for more than MAX_TERMS comparisons, or for nesting
    deeper than MAX_DEPTH; chains of one operator do not nest. `columns` are the names of those it looks at.
    """

    columns: frozenset[str]
    _terms = 1  # comparisons
    _depth = 1

    def mask(self, table: Columns) -> Mask:
        """The rows for which it is true. UnknownColumn; SchemaError where a value does not fit its column.

        A table without rows finds these errors, too.
        """
        return self.resolved(table.columns).rows(table)

    def rows(self, table: Columns) -> Mask:
        """`mask` of an expression that is `resolved` already."""
        return self._rows(table, True)

    def resolved(self, columns: Sequence[Column]) -> Expression:
        """The same with the names of columns where this has words such as dev and proto.

        Names that no column has stay.
        """
        plain = {column.name for column in columns} - {word for column in columns for word in column.words}
        if self.columns <= plain:
            return self
        return self._resolved(columns, True)

    @abstractmethod
    def _resolved(self, columns: Sequence[Column], truth: bool) -> Expression:
        """This, or if not `truth` its contrary, of the names of columns alone."""

    def equalities(self, table: Columns) -> dict[str, int]:
        """Columns of numbers that must have a certain value wherever it is true; maybe not all of them."""
        return {}

    @abstractmethod
    def tree(self) -> Tree:
        """The expression as plain data, for compilers: see Tree."""

    @abstractmethod
    def _rows(self, table: Columns, truth: bool) -> Mask:
        """The rows for which it is true, or those for which it is false."""

    def __and__(self, other: Expression) -> Expression:
        return _Combination(self, other, "&") if isinstance(other, Expression) else NotImplemented

    def __or__(self, other: Expression) -> Expression:
        return _Combination(self, other, "|") if isinstance(other, Expression) else NotImplemented

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


class _Combination(Expression):
    """Expressions joined by one operator. A chain is one combination of all its parts, however long."""

    def __init__(self, left: Expression, right: Expression, sign: str) -> None:
        self.columns = left.columns | right.columns
        self._sign = sign
        self._parts = [*_parts(left, sign), *_parts(right, sign)]
        self._terms = left._terms + right._terms
        self._depth = 1 + max(part._depth for part in self._parts)
        _check_size(self._terms, self._depth)

    def _rows(self, table: Columns, truth: bool) -> Mask:
        combine = operator.or_ if (self._sign == "|") is truth else operator.and_
        rows = self._parts[0]._rows(table, truth)
        for part in self._parts[1:]:
            rows = combine(rows, part._rows(table, truth))
        return rows

    def equalities(self, table: Columns) -> dict[str, int]:
        found: dict[str, int] = {}
        if self._sign == "&":
            for part in self._parts:
                found |= part.equalities(table)
        return found

    def _resolved(self, columns: Sequence[Column], truth: bool) -> Expression:
        combine = operator.and_ if (self._sign == "&") is truth else operator.or_
        return reduce(combine, [part._resolved(columns, truth) for part in self._parts])

    def tree(self) -> Tree:
        return ("and" if self._sign == "&" else "or", *(part.tree() for part in self._parts))

    def __repr__(self) -> str:
        first, *others = self._parts
        return "(" * len(others) + f"{first}" + "".join(f" {self._sign} {part})" for part in others)


def _parts(operand: Expression, sign: str) -> list[Expression]:
    return operand._parts if isinstance(operand, _Combination) and operand._sign == sign else [operand]


def _check_size(terms: int, depth: int) -> None:
    if terms > MAX_TERMS:
        raise SchemaError(f"an expression of {terms} comparisons: at most {MAX_TERMS}; see isin()")
    if depth > MAX_DEPTH:
        raise SchemaError(f"an expression nested more than {MAX_DEPTH} deep")


class _Not(Expression):
    def __init__(self, inner: Expression) -> None:
        self.columns = inner.columns
        self._inner = inner
        self._terms = inner._terms
        self._depth = 1 + inner._depth
        _check_size(self._terms, self._depth)

    def _rows(self, table: Columns, truth: bool) -> Mask:
        return self._inner._rows(table, not truth)

    def __invert__(self) -> Expression:
        return self._inner

    def _resolved(self, columns: Sequence[Column], truth: bool) -> Expression:
        return self._inner._resolved(columns, not truth)

    def tree(self) -> Tree:
        return ("not", self._inner.tree())

    def __repr__(self) -> str:
        return f"~{self._inner}"


class _Test(Expression):
    """A test of the values of one column, with an argument."""

    def __init__(
        self, name: str, text: str, sign: str, test: Callable[[Any, Cells], Mask], argument: object
    ) -> None:
        self.columns = frozenset([name])
        self._name, self._text, self._test = name, text, partial(test, argument)
        self._sign, self._argument = sign, argument

    def _rows(self, table: Columns, truth: bool) -> Mask:
        column = table.column(self._name)
        families = table.families if column.family == "family" else None
        cells = Cells(column, table[self._name], families)
        if asks_for_names(column, self._sign, self._argument):
            hits = test_of_names(self._test, self._argument, cells, table)
        else:
            hits = self._test(cells)
        return (hits if truth else ~hits) & table.valid(self._name)

    def _resolved(self, columns: Sequence[Column], truth: bool) -> Expression:
        found = meant(self._name, columns)
        if len(found) > 1:
            found = [column for column in found if self._fits(column)] or found[:1]
        tests = [self._of(column.name) for column in found] or [self]
        return _first_present([test if truth else ~test for test in tests], [column.name for column in found])

    def _fits(self, column: Column) -> bool:
        """Whether this is a test for such a column."""
        if asks_for_names(column, self._sign, self._argument):
            return True
        try:
            self._test(Cells(column, to_array(column, empty(column)), None))
        except SchemaError:
            return False
        return True

    def _of(self, name: str) -> _Test:
        """The same test of another column."""
        if name == self._name:
            return self
        test = copy(self)
        test.columns, test._name = frozenset([name]), name
        test._text = self._text.replace(f"{Operand(self._name)}", f"{Operand(name)}", 1)
        return test

    def tree(self) -> Tree:
        return (self._sign, self._name, self._argument)

    def __repr__(self) -> str:
        return f"({self._text})"


class _Equal(_Test):
    def __init__(self, name: str, text: str, value: object) -> None:
        super().__init__(name, text, "==", partial(compare, operator.eq), value)
        self._value = value

    def equalities(self, table: Columns) -> dict[str, int]:
        column = table.column(self._name)
        if asks_for_names(column, self._sign, self._value):
            return {}
        value = fitting(column, self._value)
        return {self._name: int(value)} if isinstance(value, int | np.integer) else {}


class _Absent(Expression):
    def __init__(self, name: str) -> None:
        self.columns = frozenset([name])
        self._name = name

    def _rows(self, table: Columns, truth: bool) -> Mask:
        valid = table.valid(self._name)
        return ~valid if truth else valid

    def _resolved(self, columns: Sequence[Column], truth: bool) -> Expression:
        names = [column.name for column in meant(self._name, columns)] or [self._name]
        absent: Expression = reduce(operator.and_, [_Absent(name) for name in names])
        return absent if truth else ~absent

    def tree(self) -> Tree:
        return ("null", self._name)

    def __repr__(self) -> str:
        return f"field({self._name!r}).is_null()"


def _first_present(tests: list[Expression], names: list[str]) -> Expression:
    """The test of the first of these columns that a row has a value of."""
    found = tests[-1]
    for test, name in zip(reversed(tests[:-1]), reversed(names[: len(tests) - 1]), strict=True):
        found = test | (_Absent(name) & found)
    return found


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
        return _Test(self.name, text, _SIGNS[comparison], partial(compare, comparison), value)

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
        return _Test(self.name, f"{self}.isin({values!r})", "in", is_in, values)

    def is_null(self) -> Expression:
        """Without a value: true or false of every row."""
        return _Absent(self.name)

    def has(self, *values: object) -> Expression:
        """All of these flags are set; or, of a column of lists, all of these values are in the list."""
        return _Test(self.name, f"{self}.has({', '.join(map(repr, values))})", "has", has_all, values)

    def matches(self, pattern: str) -> Expression:
        """Text that fits a glob, as of a shell: `field("ifname").matches("eth*")`."""
        _check_text(f"{self}.matches", pattern)
        return _Test(self.name, f"{self}.matches({pattern!r})", "matches", matches_glob, pattern)

    def within(self, network: str) -> Expression:
        """An address in this network: `field("dst").within("10.0.0.0/8")`."""
        _check_text(f"{self}.within", network)
        return _Test(self.name, f"{self}.within({network!r})", "within", is_within, network)

    def _precedence(self, _: object) -> NoReturn:
        raise SchemaError(f"{self} stands beside & or | and is not compared: {_HOW}")

    __and__ = __rand__ = __or__ = __ror__ = _precedence

    def __bool__(self) -> bool:
        raise SchemaError(f"{self} is a column: compare it, or ask is_null()")

    def __repr__(self) -> str:
        return f"field({self.name!r})"


def _check_text(method: str, *values: object) -> None:
    for value in values:
        if not isinstance(value, str):
            raise SchemaError(f"{method}: text, not {value!r}")
