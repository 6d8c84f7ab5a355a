"""A topic's fields as columns: in numpy, as rows, and through readers of Arrow."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nlbus import Batch, SchemaError, Table, Topic
from nlbus.schema.types import Column
from tests.support.readers import DUCK, Reader, all_readers, unnamed, utf8
from tests.support.reference import bus_batch

NAT = "NaT"


def table_of(fields: Any, records: list[Any]) -> Table:
    topic = Topic("t", fields, groups=1, type=7)
    return read_back(topic, np.array(records, topic.dtype))


def read_back(topic: Topic, records: np.ndarray[Any, Any]) -> Table:
    size = topic.dtype.itemsize
    data = bus_batch(records.tobytes(), record_size=size, type=topic.type, fingerprint=topic.fingerprint)
    return Batch.from_datagrams("bus", [data]).table(topic)


def own(table: Table) -> list[Column]:
    return [column for column in table.columns if not column.name.startswith("nl_")]


CASES: list[tuple[Any, list[Any], list[Any]]] = [  # fields, records of one field, as rows have them
    ([("x", "?")], [True, False], [True, False]),
    ([("x", ">u4")], [1, 2**32 - 1], [1, 2**32 - 1]),
    ([("x", ">f8")], [0.5, -1.0], [0.5, -1.0]),
    ([("x", "<f2")], [0.5, -1.0], [0.5, -1.0]),
    ([("x", "S8")], [b"ab", b"", b"12345678", b"a\0b"], ["ab", "", "12345678", "a\0b"]),
    ([("x", "S2")], [b"\xff"], ["\udcff"]),
    ([("x", "<U3")], ["ab", "", "ünz"], ["ab", "", "ünz"]),
    ([("x", ">U3")], ["ab", "", "ünz"], ["ab", "", "ünz"]),
    *[([("x", f"<M8[{unit}]")], [5, NAT], [5, None]) for unit in ("s", "ms", "us", "ns")],
    ([("x", ">M8[us]")], [5, NAT], [5, None]),
    ([("x", "<M8[D]")], ["1970-01-03", NAT], [2 * 86400, None]),
    ([("x", "<M8[Y]")], ["1971", NAT], [365 * 86400, None]),
    ([("x", "<M8[10ms]")], [5, NAT], [50, None]),
    ([("x", "<M8[ps]")], [5, NAT], [5, None]),
    ([("x", "<m8[s]")], [-5, NAT], [-5, None]),
    ([("x", ">m8[10ms]")], [5, NAT], [5, None]),
    ([("x", "u1", 3)], [[1, 2, 255]], ["0102ff"]),
    ([("x", "<u2", 3)], [[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [4, 5, 6]]),
    ([("x", ">i2", (2, 2))], [[[1, -2], [3, 4]]], [[1, -2, 3, 4]]),
    ([("x", "u1", (2, 2))], [[[1, 2], [3, 4]]], [[1, 2, 3, 4]]),
    ([("x", "S2", 2)], [[b"a", b"bc"]], [["a", "bc"]]),
    ([("x", "<M8[s]", 2)], [[5, NAT]], [[5, None]]),
]
PLAIN = [case for case in CASES if "<M8" not in str(case[0]) and ">M8" not in str(case[0])]
UNITS = {"<M8[D]": "s", "<M8[Y]": "s", "<M8[10ms]": "ms", "<M8[ps]": "ps", ">m8[10ms]": "10ms"}


@pytest.mark.parametrize(("fields", "cells", "rows"), CASES, ids=[str(case[0][0][1:]) for case in CASES])
def test_a_field_is_a_column_of_its_type(fields: Any, cells: list[Any], rows: list[Any]) -> None:
    table = table_of(fields, [(cell,) for cell in cells])
    assert [row["x"] for row in table.iter_rows()] == rows
    assert len(table["x"]) == len(table.valid("x")) == len(rows)
    if unit := UNITS.get(fields[0][1]):
        assert table.column("x").unit == unit
    assert len(table_of(fields, [])["x"]) == 0


@all_readers
@pytest.mark.parametrize(("fields", "cells", "rows"), PLAIN, ids=[str(case[0][0][1:]) for case in PLAIN])
def test_readers_of_arrow_read_the_same(read: Reader, fields: Any, cells: list[Any], rows: list[Any]) -> None:
    table = table_of(fields, [(cell,) for cell in cells]).select(["x"])
    assert read(table)["x"] == (utf8(rows) if table.column("x").storage == "text" else rows)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_are_datetime64_and_timestamps_of_utc(unit: str) -> None:
    time = np.datetime64("2001-09-09T01:46:40", unit)
    table = table_of(
        [("x", f"<M8[{unit}]"), ("y", f"<M8[{unit}]", 2)], [(time, [time, NAT]), (NAT, [NAT, NAT])]
    )
    assert table["x"].dtype == f"M8[{unit}]"
    assert table.valid("x").tolist() == [True, False]
    there = datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    assert pl.DataFrame(table)["x"].to_list() == [there, None]
    assert pl.DataFrame(table)["y"].to_list() == [[there, None], [None, None]]
    assert pa.table(table)["x"].type == pa.timestamp(unit, "UTC")
    assert pa.table(table)["x"].to_pylist() == [there, None]
    assert pd.DataFrame.from_arrow(table)["x"].tolist() == [there, pd.NaT]
    assert DUCK.sql('select epoch(x) from "table"').fetchall() == [(10**9,), (None,)]


def test_fields_of_a_struct_are_prefixed_with_its_name() -> None:
    fields = [("id", "<u4"), ("leg", [("px", "<f8"), ("by", [("name", "S4")])]), ("in", [("a", "<u2")], 2)]
    table = table_of(fields, [(1, (0.5, (b"me",)), [(1,), (2,)])])
    assert [column.name for column in own(table)] == ["id", "leg_px", "leg_by_name", "in_a"]
    [row] = table.select(["id", "leg_px", "leg_by_name", "in_a"]).iter_rows()
    assert row == {"id": 1, "leg_px": 0.5, "leg_by_name": "me", "in_a": [1, 2]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([("nl_time", "<i8")], "'nl_time': columns nl_... are nlbus's own"),
        ([("nl", [("time", "<i8")])], "'nl.time': columns nl_"),
        ([("a_b", "u1"), ("a", [("b", "u1")])], "'a_b' and 'a.b' are one column"),
    ],
)
def test_a_name_that_is_no_column_name_is_refused(fields: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Topic("t", fields, groups=1)


EVERY = np.dtype(
    [
        ("s", "S3"), ("u", ">U2"), ("t", "<M8[D]"), ("y", "<M8[Y]"), ("d", "<m8[ns]"), ("h", ">f2"),
        ("b", "u1", 3), ("l", "<i4", 2), ("n", [("t", "<M8[s]", 2), ("u", "<U1")], 2), ("o", "?"),
    ]
)  # fmt: skip


@given(data=st.data())
def test_any_bytes_can_be_read(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 3))
    raw = data.draw(arrays(np.uint8, count * EVERY.itemsize, elements=st.integers(0, 255)))
    topic = Topic("t", EVERY, groups=1, type=7)
    table = read_back(topic, raw.view(EVERY))
    assert len(list(table.iter_rows())) == count
    for column in own(table):
        assert len(table[column.name]) == count
    for whole in (pa.table(table), unnamed(table)):
        whole.validate(full=True)
        assert whole.num_rows == count
    assert pl.DataFrame(table).height == count
