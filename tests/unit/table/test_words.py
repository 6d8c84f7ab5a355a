"""Conditions understand what people call columns and values: words of text output, ip, conntrack and ss."""

from collections.abc import Callable, Iterator
from functools import reduce
from operator import and_, or_
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus import Expression, SchemaError, Table, UnknownColumn, field
from nlbus.schema.schema import AnySchema
from nlbus.schema.types import Column
from nlbus.schema.words import meant, name_key
from nlbus.sources import SOURCES, find
from nlbus.table.conditions import parse
from nlbus.table.query import Query, tables_with
from tests.support.tables import column, table_of, text

Test = Callable[[str], Expression]


def every_table() -> Iterator[tuple[str, AnySchema, tuple[Column, ...]]]:
    for source in SOURCES.values():
        query = Query(source)
        for schema in source.schemas:
            yield source.name, schema, query.empty(schema.name).columns


@pytest.mark.parametrize(
    ("source", "schema", "columns"), [*every_table()], ids=lambda each: getattr(each, "name", "")
)
def test_each_word_of_a_table_is_understood(
    source: str, schema: AnySchema, columns: tuple[Column, ...]
) -> None:
    names = {each.name for each in columns}
    for word, stands_for in schema.words.items():
        wanted = {stands_for} if isinstance(stands_for, str) else set(stands_for)
        assert wanted & names, f"{word} of {source} {schema.name}"
        found = [each.name for each in meant(word, columns)]
        assert set(found) == (wanted & names) | ({word} & names)
        assert tables_with(
            find(source), [schema.name], [], field(word).is_null() & field(word.upper()).is_null()
        ) == [schema.name]
        Query(find(source), [schema.name], field(word).is_null())
    for each in columns:
        if each.display == "interface":
            assert meant(name_key(each.name), columns)


@pytest.mark.parametrize(
    ("source", "condition", "tables"),
    [
        ("route", "proto == STATIC and dev == 3", {"route", "mpls_route", "nexthop", "neigh", "fdb"}),
        ("route", "via == 10.0.0.1 or metric > 3", {"route"}),
        ("route", "state == up", {"link", "ipv6_ifinfo"}),
        ("conntrack", "dport == 8080 and proto == TCP", {"conntrack", "expect"}),
        ("conntrack", "src in 10.0.0.0/8 and l3proto == IPv4 and state == established", {"conntrack"}),
        ("uevent", "SUBSYSTEM == net and Action == add", {"uevent"}),
        ("proc", "pid == 1 and ppid == 0", {"fork", "coredump", "exit"}),
        ("sock_diag", "state == ESTAB and recv_q > 0", {"tcp", "udp", "udplite", "raw", "mptcp"}),
        ("packet", "in == 3 and proto == UDP", {"packet"}),
    ],
)
def test_words_choose_tables(source: str, condition: str, tables: set[str]) -> None:
    found = tables_with(find(source), [], [], parse(condition))
    assert set(found) >= tables


# -- a word of several columns is the first that has a value ------------------------------------------

WORD = [column("a", words=("w",)), column("b", words=("w",)), column("c")]
cells = st.none() | st.integers(0, 3)
rows = st.lists(st.tuples(cells, cells, cells), max_size=6)
tests = st.sampled_from(["w", "c", "W"]).flatmap(
    lambda name: st.one_of(
        st.integers(0, 3).map(lambda value: field(name) == value),
        st.integers(0, 3).map(lambda value: field(name) < value),
        st.lists(st.integers(0, 3), min_size=1, max_size=2).map(lambda values: field(name).isin(values)),
        st.just(field(name).is_null()),
    )
)
expressions = st.recursive(
    tests,
    lambda inner: st.one_of(
        inner.map(lambda one: ~one),
        st.lists(inner, min_size=2, max_size=3).map(lambda many: reduce(and_, many)),
        st.lists(inner, min_size=2, max_size=3).map(lambda many: reduce(or_, many)),
    ),
    max_leaves=6,
)


@given(rows, expressions)
def test_a_word_is_the_first_of_its_columns_with_a_value(
    found: list[tuple[Any, ...]], expression: Expression
) -> None:
    table = table_of(WORD, found)
    merged = [(a if a is not None else b, c) for a, b, c in found]
    same = table_of([column("w", words=("W",)), column("c")], merged)
    assert expression.mask(table).tolist() == expression.mask(same).tolist()
    plain = expression.resolved(table.columns)
    assert plain.columns <= {each.name for each in table.columns}
    assert plain.rows(table).tolist() == expression.mask(table).tolist()
    assert plain.resolved(table.columns) is plain


def test_only_columns_that_fit_count() -> None:
    of = [*WORD, text("t", words=("w",))]
    table = table_of(of, [(None, 2, None, "2"), (None, None, None, "2")])
    assert table.filter(field("w") == 2)["b"].tolist() == [2]
    assert np.count_nonzero((field("w") == "2").mask(table)) == 2
    with pytest.raises(SchemaError, match=r"a is .*cannot be compared with"):
        table.filter(field("w") == b"2")


def test_names_of_values_go_by_any_letters() -> None:
    of = column("x", "u1", enum={1: "up", 2: "UP", 3: "Down"}, words=("state",))
    table = table_of([of], [(1,), (2,), (3,)])
    for name, number in (("up", 1), ("UP", 2), ("DOWN", 3), ("down", 3)):
        assert table.filter(field("state") == name)["x"].tolist() == [number]
    flags = table_of([column("f", "u1", flags={1: "up", 2: "running"})], [(1,), (3,), (2,)])
    assert flags.filter(field("f") == "UP")["f"].tolist() == [1]
    assert flags.filter(field("f") == "up,Running")["f"].tolist() == [3]
    assert flags.filter(field("f").has("RUNNING"))["f"].tolist() == [3, 2]


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        (field("operstat") == 1, "did you mean operstate"),
        (field("MTUU") == 1, "did you mean mtu"),
        (field("stat") == 1, "state"),
        (field("operstate") == "upp", "did you mean 'up'"),
        (field("operstate") == "UPP", "did you mean 'up'"),
        (field("flags").has("RUNING"), "did you mean 'running'"),
    ],
)
def test_what_is_not_understood_has_a_suggestion(expression: Expression, hint: str) -> None:
    link: Table = Query(find("route")).empty("link")
    with pytest.raises((SchemaError, UnknownColumn), match=hint):
        link.filter(expression)
    with pytest.raises((SchemaError, UnknownColumn), match=hint):
        Query(find("route"), ["link"], expression)


def test_a_word_in_place_of_a_column_is_explained() -> None:
    link: Table = Query(find("route")).empty("link")
    with pytest.raises(UnknownColumn, match="no column 'alias': did you mean ifalias"):
        link["alias"]
    with pytest.raises(UnknownColumn, match="did you mean 'orig_dport'"):
        tables_with(find("conntrack"), ["conntrack"], ["dport"])
