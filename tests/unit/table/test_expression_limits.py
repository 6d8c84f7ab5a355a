"""Expressions that are too large or too deep, and values of every kind: a SchemaError, at once."""

import contextlib
import operator
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus import Batch, Expression, SchemaError, field, schema
from nlbus.table.conditions import parse


@pytest.mark.parametrize("word", ["or", "and"])
def test_a_thousand_terms_are_a_condition(word: str) -> None:
    links = Batch.from_datagrams("route", []).table("link")
    found = parse(f" {word} ".join(f"mtu == {i}" for i in range(1000)))
    assert len(links.filter(found)) == 0
    assert repr(found).startswith("(((")
    with pytest.raises(SchemaError, match="at most 10000"):
        parse(f" {word} ".join(["mtu == 1"] * 10_001))


def test_chains_of_the_api_are_not_limited_by_the_stack() -> None:
    tests = [field("mtu") == i for i in range(2000)]
    for chain in (reduce(operator.or_, tests), reduce(lambda right, left: left & right, tests)):
        assert chain.columns == {"mtu"}
        assert len(Batch.from_datagrams("route", []).table("link").filter(chain)) == 0
    doubled: Expression = tests[0]
    for _ in range(4001):
        doubled = ~doubled
    assert repr(doubled) == "~(field('mtu') == 0)"


def test_what_nests_too_deep_or_grows_too_large_is_a_schema_error() -> None:
    term: Expression = field("mtu") == 1
    with pytest.raises(SchemaError, match="200 deep"):
        reduce(lambda found, i: (found | term) & term, range(1000), term)
    with pytest.raises(SchemaError, match="200 deep"):
        reduce(lambda found, i: ~(found | term), range(1000), term)
    with pytest.raises(SchemaError, match="at most 10000"):
        reduce(lambda found, i: found | found, range(40), term)


COLUMNS = [column.name for column in schema("route", "link").columns]
VALUES = (
    st.text(st.characters())
    | st.integers(-(2**100), 2**100)
    | st.floats()
    | st.binary()
    | st.none()
    | st.booleans()
    | st.complex_numbers()
    | st.datetimes()
)


@given(st.sampled_from(COLUMNS), st.sampled_from(["__eq__", "__lt__", "isin", "has", "matches"]), VALUES)
def test_any_value_is_compared_or_refused(column: str, method: str, value: object) -> None:
    links = Batch.from_datagrams("route", []).table("link")
    with contextlib.suppress(SchemaError):
        made = getattr(field(column), method)([value] if method == "isin" else value)
        links.filter(made)
