"""Expressions: comparisons, absent values, and errors."""

import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus import Expression, SchemaError, Table, UnknownColumn, field
from tests.support.tables import address, binary, column, one, table_of, text

V4 = b"\0" * 10 + b"\xff\xff\x0a\0\0\x01"
V6 = b"\xfe\x80" + b"\0" * 13 + b"\x01"
X = field("x")
SECOND = 10**9


def hits(table: Table, expression: Expression) -> list[int]:
    """The rows for which it is true; filter must keep the same."""
    mask = expression.mask(table)
    assert mask.dtype == np.bool_
    assert len(table.filter(expression)) == mask.sum()
    return np.flatnonzero(mask).tolist()


NUMBERS = one(column("x"), [1, 2], [None, 3])
ENUM = one(column("x", "u1", enum={2: "kernel", 4: "static"}), [2, 4, 9, None])
FLAGS = one(column("x", flags={1: "UP", 2: "BROADCAST", 4: "LOOPBACK"}), [3, 1, 0, None])
TEXTS = one(text("x"), ["eth0", "lo", "", None, b"\xff"])
ADDRESSES = one(address("x"), [V4, V6, b"\0" * 16, None])
MACS = one(binary("x", display="mac"), [b"\1\2", b"\1\2\0", b"", None])
TUNNELS = one(
    binary("x", display="lladdr"), [bytes([10, 0, 0, 1]), b"\xfe\x80" + bytes(13) + b"\1", b"\2\0\0\0\0\1"]
)
SHORT = one(column("x", "V3", display="hex"), [b"\1\2\0", b"\1\2\3", None])
TIMES = one(column("x", "i8", display="time"), [0, SECOND, 2 * SECOND + 1, None])
FLAG = one(column("x", "?"), [True, False, None])


@pytest.mark.parametrize(
    ("table", "expression", "expected"),
    [
        (NUMBERS, X == 2, [1]),
        (NUMBERS, X != 2, [0, 3]),
        (NUMBERS, X < 2, [0]),
        (NUMBERS, X <= 2, [0, 1]),
        (NUMBERS, X > 1, [1, 3]),
        (NUMBERS, X >= 2.5, [3]),
        (NUMBERS, X < 2**70, [0, 1, 3]),
        (NUMBERS, X > -1, [0, 1, 3]),
        (NUMBERS, np.uint8(3) == X, [3]),
        (NUMBERS, X.isin([1, 3, -1, 2**70]), [0, 3]),
        (NUMBERS, X.isin([]), []),
        (NUMBERS, X.is_null(), [2]),
        (NUMBERS, ~X.is_null(), [0, 1, 3]),
        (NUMBERS, ~(X == 2), [0, 3]),
        (NUMBERS, ~~(X == 2), [1]),
        (NUMBERS, (X > 1) & (X < 3), [1]),
        (NUMBERS, (X < 2) | (X > 2), [0, 3]),
        (NUMBERS, ~((X > 1) & (X < 3)), [0, 3]),
        (NUMBERS, ~((X < 2) | (X > 2)), [1]),
        (NUMBERS, (X == 1) | X.is_null(), [0, 2]),
        (ENUM, X == "static", [1]),
        (ENUM, X != "static", [0, 2]),
        (ENUM, X == 9, [2]),
        (ENUM, X.isin(["kernel", 9]), [0, 2]),
        (FLAGS, X.has("UP"), [0, 1]),
        (FLAGS, X.has("UP", "BROADCAST"), [0]),
        (FLAGS, ~X.has("BROADCAST"), [1, 2]),
        (FLAGS, X == 3, [0]),
        (TEXTS, X == "eth0", [0]),
        (TEXTS, X == "", [2]),
        (TEXTS, X != "eth0", [1, 2, 4]),
        (TEXTS, X > "eth0", [1, 4]),
        (TEXTS, X == "\udcff", [4]),
        (TEXTS, X.isin(["lo", "wlan0"]), [1]),
        (TEXTS, X.matches("*"), [0, 1, 2, 4]),
        (TEXTS, X.matches("eth?"), [0]),
        (TEXTS, ~X.matches("[el]*"), [2, 4]),
        (ADDRESSES, X == "10.0.0.1", [0]),
        (ADDRESSES, X == "::ffff:10.0.0.1", [0]),
        (ADDRESSES, ipaddress.ip_address("fe80::1") == X, [1]),
        (ADDRESSES, X == V6, [1]),
        (ADDRESSES, X != "10.0.0.1", [1, 2]),
        (ADDRESSES, X.isin(["10.0.0.1", "fe80::1"]), [0, 1]),
        (ADDRESSES, X.within("10.0.0.0/8"), [0]),
        (ADDRESSES, X.within("10.0.0.0/31"), [0]),
        (ADDRESSES, X.within("10.0.0.0/32"), []),
        (ADDRESSES, X.within("0.0.0.0/0"), [0]),
        (ADDRESSES, X.within("fe80::/10"), [1]),
        (ADDRESSES, ~X.within("fe80::/10"), [0, 2]),
        (MACS, X == "01:02", [0]),
        (MACS, X == b"\1\2\0", [1]),
        (MACS, X != "01:02", [1, 2]),
        (TUNNELS, X == "10.0.0.1", [0]),
        (TUNNELS, X == "fe80::1", [1]),
        (TUNNELS, ipaddress.ip_address("10.0.0.1") == X, [0]),
        (TUNNELS, X == "02:00:00:00:00:01", [2]),
        (SHORT, X == "010200", [0]),
        (SHORT, X != b"\1\2\0", [1]),
        (TIMES, X == SECOND, [1]),
        (TIMES, np.datetime64(1, "s") < X, [2]),
        (TIMES, datetime(1970, 1, 1, 1, 0, 1, tzinfo=timezone(timedelta(hours=1))) <= X, [1, 2]),
        (TIMES, datetime(1970, 1, 1, tzinfo=UTC) != X, [1, 2]),
        (FLAG, X == True, [0]),  # noqa: E712
        (FLAG, X == 0, [1]),
    ],
)  # fmt: skip
def test_an_expression_is_true_for_these_rows(
    table: Table, expression: Expression, expected: list[int]
) -> None:
    assert hits(table, expression) == expected
    assert hits(table.head(0), expression) == []
    assert expression.columns == {"x"}


@pytest.mark.parametrize(
    ("table", "expression", "message"),
    [
        (NUMBERS, X == "two", "x is u4: it cannot be compared with 'two'"),
        (NUMBERS, X == None, "is_null"),  # noqa: E711
        (NUMBERS, X.matches("2"), "not text"),
        (NUMBERS, X.has("UP"), "has no flags"),
        (NUMBERS, X.within("10.0.0.0/8"), "not an address"),
        (ENUM, X == "statik", "did you mean 'static'"),
        (ENUM, X == "zzz", "there are kernel, static"),
        (FLAGS, X.has("BROADCATS"), "did you mean 'BROADCAST'"),
        (TEXTS, X == 3, "cannot be compared with 3"),
        (ADDRESSES, X == "10.0.0", "cannot be compared with '10.0.0'"),
        (ADDRESSES, X == b"\x0a\0\0\1", "cannot be compared"),
        (ADDRESSES, X < "10.0.0.1", "only == and !="),
        (ADDRESSES, X.within("10.0.0.0/40"), "10.0.0.0/40"),
        (SHORT, X == "0102", "cannot be compared"),
        (MACS, X == "no hex", "cannot be compared"),
        (TIMES, datetime(2026, 1, 1) < X, "cannot be compared"),  # no time zone
        (TIMES, X > 2**70, "cannot be compared"),
        (one(column("x", list=True), [[1]]), X == 1, "a list of u4"),
        (one(text("x", list=True), [["a"]]), X.matches("a"), "not text"),
    ],
)  # fmt: skip
def test_unsuitable_values_are_refused_even_without_rows(
    table: Table, expression: Expression, message: str
) -> None:
    for each in (table, Table(table.columns)):
        with pytest.raises(SchemaError, match=message.replace("(", r"\(")):
            expression.mask(each)


def test_isin_requires_several_values() -> None:
    with pytest.raises(SchemaError, match="a list of values, not 'eth0'"):
        X.isin("eth0")


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(UnknownColumn, match="did you mean ifname"):
        (field("ifnam") == "lo").mask(one(text("ifname")))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: (X > 1) and (X < 3),
        lambda: not (X > 1),
        lambda: 1 < X < 3,
        lambda: X > 1 & X,
        lambda: X & (X > 1),
        lambda: X | 3,
        lambda: (X > 1) & X,
        lambda: bool(X),
    ],
)
def test_the_error_for_a_precedence_mistake_shows_the_right_form(wrong: Callable[[], object]) -> None:
    with pytest.raises(SchemaError, match=r"combine with &, \| and ~|compare it"):
        wrong()


def test_an_expression_lists_its_columns() -> None:
    expression = ~((field("a") > 1) & field("b").isin(["x"])) | field("c").is_null()
    assert expression.columns == {"a", "b", "c"}
    assert repr(expression) == "(~((field('a') > 1) & (field('b').isin(['x']))) | field('c').is_null())"


Sql = Callable[[dict[str, Any]], bool | None]  # evaluates one row: True, False, or None for unknown
TRUTHS = st.sampled_from([True, False, None])


@st.composite
def expressions(
    draw: st.DrawFn, depth: int = 3
) -> tuple[Expression, Callable[[dict[str, Any]], bool | None]]:
    """An expression, and its equivalent with SQL's logic."""
    kind = draw(st.sampled_from(["leaf", "not", "and", "or"])) if depth else "leaf"
    if kind == "leaf":
        name, wanted = draw(st.sampled_from("ab")), draw(st.booleans())
        return field(name) == wanted, lambda row: None if row[name] is None else row[name] == wanted
    left, of_left = draw(expressions(depth - 1))
    if kind == "not":
        return ~left, lambda row: None if of_left(row) is None else not of_left(row)
    right, of_right = draw(expressions(depth - 1))
    decisive = kind == "or"

    def both(row: dict[str, Any]) -> bool | None:
        values = {of_left(row), of_right(row)}
        return decisive if decisive in values else None if None in values else not decisive

    return left | right if kind == "or" else left & right, both


@given(expressions(), st.lists(st.tuples(TRUTHS, TRUTHS), max_size=9))
def test_logic_equals_that_of_sql(pair: tuple[Expression, Sql], rows: list[tuple[Any, Any]]) -> None:
    expression, expected = pair
    table = table_of([column("a", "?"), column("b", "?")], rows)
    assert hits(table, expression) == [i for i, (a, b) in enumerate(rows) if expected({"a": a, "b": b})]
