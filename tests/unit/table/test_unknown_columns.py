"""The name of a column that does not exist: every entrance answers shortly, and suggests."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nlbus
from nlbus import Subscriber, UnknownColumn
from nlbus.sources import SOURCES, find
from nlbus.table.query import Query

TABLES = [(source.name, table) for source in SOURCES.values() for table in source.tables]
LONGEST = 700  # characters

ENTRANCES: dict[str, Callable[[str, str, str], object]] = {
    "schema": lambda source, table, name: nlbus.schema(source, table)[name],
    "table": lambda source, table, name: Query(find(source)).empty(table)[name],
    "select": lambda source, table, name: Query(find(source)).empty(table).select([name]),
    "columns": lambda source, table, name: Query(find(source), {table: [name]}).empty(table),
}


def mistyped(name: str) -> str:
    return name[:-1] + "q"


@pytest.mark.parametrize("entrance", ENTRANCES)
@given(data=st.data())
def test_the_error_is_short_and_suggests_the_column(entrance: str, data: st.DataObject) -> None:
    source, table = data.draw(st.sampled_from(TABLES))
    columns = [column.name for column in nlbus.schema(source, table).columns]
    word = data.draw(st.sampled_from([name for name in columns if len(name) > 4]))
    wrong = mistyped(word)
    if wrong in columns:
        return
    with pytest.raises(UnknownColumn) as caught:
        ENTRANCES[entrance](source, table, wrong)
    assert len(str(caught.value)) < LONGEST
    assert repr(wrong) in str(caught.value)
    assert "did you mean" in str(caught.value)


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize(("source", "table"), TABLES)
def test_the_error_is_short_where_nothing_is_alike(entrance: str, source: str, table: str) -> None:
    with pytest.raises(UnknownColumn, match=r"no column 'qqqqqqqq'.*there are") as caught:
        ENTRANCES[entrance](source, table, "qqqqqqqq")
    assert len(str(caught.value)) < LONGEST


def test_snapshots_and_subscribers_suggest_as_where_does() -> None:
    with pytest.raises(UnknownColumn, match="did you mean ifname"):
        nlbus.snapshot("route", "link", columns=["ifnam"])
    with pytest.raises(UnknownColumn, match="did you mean ifname"):
        Subscriber("route", tables={"link": ["ifnam"]})
