"""Predicates of polars as expressions of `field`, as far as both mean the same.

polars writes a predicate as JSON. What is not understood stays with polars, and all rows are checked by it
once more: so an expression must be true of each row of which the predicate is, and may be true of others.
Where it stands below `not`, it must be true of exactly the same rows.
"""

from __future__ import annotations

import io
import json
import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from nlbus.errors import NlbusError, extra
from nlbus.schema.types import Column
from nlbus.table.expressions import Expression, Operand, field
from nlbus.table.table import Table

Node = Any  # of JSON
COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "Eq": operator.eq, "NotEq": operator.ne, "Lt": operator.lt, "LtEq": operator.le, "Gt": operator.gt,
    "GtEq": operator.ge,
}  # fmt: skip
MIRRORED = {"Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq"}
GLOB_SIGNS = "*?["


class _Unknown(Exception):  # noqa: N818 - never leaves this module
    """This part of the predicate stays with polars."""


class Pushed(NamedTuple):
    """An expression that a predicate implies, or None, and whether it is the whole predicate."""

    where: Expression | None
    whole: bool


def pushed(predicate: Any, table: Table, *, text: bool = True) -> Pushed:
    """What of a polars predicate can be checked as an expression about this table; text: as in its frame."""
    try:
        node = json.loads(predicate.meta.serialize(format="json"))
    except Exception:  # polars cannot write functions of Python, and promises no format
        return Pushed(None, False)
    parts, whole = [], True
    for part in _conjuncts(node):
        try:
            found = _Translator(table, text).translate(part, exact=False)
            found.mask(table[:0])  # finds what the column's type does not allow
        except (_Unknown, NlbusError, OverflowError, LookupError, TypeError, ValueError):
            whole = False
        else:
            parts.append(found)
    return Pushed(reduce(operator.and_, parts) if parts else None, whole)


def _conjuncts(node: Node) -> list[Node]:
    if isinstance(node, dict) and "BinaryExpr" in node:
        binary = node["BinaryExpr"]
        if binary["op"] in ("And", "LogicalAnd"):
            return [*_conjuncts(binary["left"]), *_conjuncts(binary["right"])]
    return [node]


class _Translator:
    def __init__(self, table: Table, text: bool) -> None:
        self._columns = {column.name: column for column in table.columns}
        self._text = text

    def translate(self, node: Node, *, exact: bool) -> Expression:
        """The expression that this node is. _Unknown."""
        if not isinstance(node, dict) or len(node) != 1:
            raise _Unknown
        if "Column" in node:
            column = self._column(node)
            if column.dtype.kind != "b" or column.list:
                raise _Unknown
            return field(column.name) == True  # noqa: E712
        if "BinaryExpr" in node:
            return self._binary(node["BinaryExpr"], exact)
        if "Function" in node:
            return self._function(node["Function"], exact)
        raise _Unknown

    def _binary(self, node: Node, exact: bool) -> Expression:
        left, sign, right = node["left"], node["op"], node["right"]
        if sign in ("And", "LogicalAnd"):
            return self.translate(left, exact=exact) & self.translate(right, exact=exact)
        if sign in ("Or", "LogicalOr"):
            return self.translate(left, exact=exact) | self.translate(right, exact=exact)
        if sign not in COMPARISONS:
            raise _Unknown
        if "Literal" in left:
            left, sign, right = right, MIRRORED.get(sign, sign), left
        return self._compared(self._column(left), sign, _literal(right), exact)

    def _function(self, node: Node, exact: bool) -> Expression:
        inputs, function = node["input"], node["function"]
        if function == {"Boolean": "Not"}:
            return ~self.translate(inputs[0], exact=True)
        column = self._column(inputs[0])
        operand = field(column.name)
        if function == {"Boolean": "IsNull"}:
            return operand.is_null()
        if function == {"Boolean": "IsNotNull"}:
            return ~operand.is_null()
        if function == {"StringExpr": "StartsWith"} and not column.list and column.storage == "text":
            start = _text(_literal(inputs[1]))
            return operand.matches("".join(f"[{c}]" if c in GLOB_SIGNS else c for c in start) + "*")
        if "ListExpr" in function and "Contains" in function["ListExpr"]:
            return self._has(column, operand, _literal(inputs[1]), exact)
        what = function["Boolean"]
        if "IsIn" in what and not what["IsIn"]["nulls_equal"]:
            values = [value for value in _literals(inputs[1]) if value is not None]
            none: Expression = operand.isin([])
            return reduce(
                operator.or_, (self._compared(column, "Eq", value, exact) for value in values), none
            )
        if "IsBetween" in what:
            low, high = {"Both": ("GtEq", "LtEq"), "Left": ("GtEq", "Lt"), "Right": ("Gt", "LtEq"),
                         "None": ("Gt", "Lt")}[what["IsBetween"]["closed"]]  # fmt: skip
            return self._compared(column, low, _literal(inputs[1]), exact) & self._compared(
                column, high, _literal(inputs[2]), exact
            )
        raise _Unknown

    def _has(self, column: Column, operand: Operand, name: object, exact: bool) -> Expression:
        flags = column.flags
        if not self._text or exact or column.list or flags is None or name not in flags.values():
            raise _Unknown
        return operand.has(_text(name))

    def _column(self, node: Node) -> Column:
        return self._columns[node["Column"]]

    def _compared(self, column: Column, sign: str, value: object, exact: bool) -> Expression:
        compared: Expression = COMPARISONS[sign](field(column.name), self._value(column, sign, value, exact))
        return compared

    def _value(self, column: Column, sign: str, value: object, exact: bool) -> object:
        """The value as an expression compares it with the column. _Unknown where this is another question."""
        if column.list:
            raise _Unknown
        if not self._text and column.storage != "text":
            return _stored(column, sign, value)
        if column.flags is not None or column.display == "dotted":
            raise _Unknown
        if column.storage == "text":
            # A data frame has backslashes for bytes that are not UTF-8.
            if sign not in ("Eq", "NotEq") or "\\" in _text(value):
                raise _Unknown
            return value
        if column.enum is not None:
            if sign not in ("Eq", "NotEq"):
                raise _Unknown  # polars orders the names
            return _number_named(column, _text(value))
        if column.display and (column.storage == "bytes" or column.dtype.kind == "V"):
            if exact or sign != "Eq":
                raise _Unknown  # one text may mean several values
            return _text(value)
        return _stored(column, sign, value)


def _stored(column: Column, sign: str, value: object) -> object:
    """The value of a column whose frame has what is stored. _Unknown where this is another question."""
    kind = "V" if column.storage == "bytes" else column.dtype.kind
    if kind == "V":
        if sign not in ("Eq", "NotEq") or not isinstance(value, bytes):
            raise _Unknown
        return value
    fits = isinstance(value, bool) if kind == "b" else isinstance(value, int) and not isinstance(value, bool)
    if kind not in "biu" or not fits:
        raise _Unknown  # floats: NaN compares otherwise in polars
    if column.display == "time" and column.unit not in ("", "ns"):
        raise _Unknown  # polars has no seconds
    return value


def _number_named(column: Column, text: str) -> int:
    """The number that a data frame shows as this text. _Unknown for none, or several."""
    assert column.enum is not None
    numbers = [number for number, name in column.enum.items() if name == text]
    if text.removeprefix("-").isdecimal() and str(int(text)) == text and int(text) not in column.enum:
        numbers.append(int(text))
    info = np.iinfo(column.dtype)
    numbers = [number for number in numbers if info.min <= number <= info.max]
    if len(numbers) != 1:
        raise _Unknown
    return numbers[0]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _Unknown
    return value


def _literal(node: Node) -> object:
    """A literal as Python's value; a time as an integer of its unit, which must be ns."""
    if "Literal" not in node:
        raise _Unknown
    values = _series(node)
    if len(values) != 1:
        raise _Unknown
    return _physical(values)[0]


def _literals(node: Node) -> list[object]:
    """The values of a literal list."""
    values = _series(node)
    polars = extra("polars", "scan()")
    if values.dtype != polars.List or len(values) != 1:
        raise _Unknown
    return _physical(values.explode(empty_as_null=False))


def _series(node: Node) -> Any:
    if "Literal" not in node:
        raise _Unknown
    polars = extra("polars", "scan()")
    return polars.select(polars.Expr.deserialize(io.StringIO(json.dumps(node)), format="json")).to_series()


def _physical(values: Any) -> list[object]:
    polars = extra("polars", "scan()")
    if values.dtype == polars.Datetime:
        if values.dtype.time_unit != "ns":
            raise _Unknown
        values = values.to_physical()
    found: list[object] = values.to_list()
    return found
