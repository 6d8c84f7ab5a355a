"""Rows, JSON and CSV of compiled code are, to the byte, those of plain Python (rows_reference)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nlbus import Batch, Table
from nlbus.cli.render.csv_rows import csv_rows, json_rows
from nlbus.cli.render.view import prepared
from nlbus.schema.types import Column, Values
from nlbus.sources import find, sources
from nlbus.table.chunks import Stored
from nlbus.table.values import to_python
from tests.support import rows_reference as reference
from tests.support.tables import address, binary, column, text, values_of

ROUTE = find("route")
FAMILIES = st.sampled_from([2, 10, 128, 129, 0, 7])
TEXTS = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(["eth0", "", "a b", "x,y", 'q"q', "c\r\nl", "\\x1b", "'", "\x1b[31m", "é"])
).map(str.encode) | st.binary(max_size=6)
MAPPED = st.binary(min_size=4, max_size=4).map(lambda raw: bytes(10) + b"\xff\xff" + raw)
ADDRESSES = MAPPED | st.binary(min_size=16, max_size=16) | st.sampled_from([bytes(16), bytes(15) + b"\1"])
LABELS = st.lists(st.binary(min_size=4, max_size=4), max_size=3).map(b"".join)
DOTTED = st.binary(min_size=4, max_size=4)


def integers(dtype: str) -> st.SearchStrategy[int]:
    limits = np.iinfo(dtype)
    few = st.sampled_from([0, 1, 2, 3, 255]).filter(lambda n: limits.min <= n <= limits.max)
    return few | st.integers(int(limits.min), int(limits.max))


ENUM = {0: "none", 1: "up", 2: 'it\'s, "so"'}
FLAGS = {1: "a", 2: "b", 8: "c,d"}
NUMBERS = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"]
FLOATS = st.floats(width=32) | st.sampled_from([0.1, 1e22, -0.0])
KINDS: list[tuple[Column, st.SearchStrategy[Any]]] = [
    *((column("", dtype), integers(dtype)) for dtype in NUMBERS),
    *((column("", dtype, enum=ENUM), integers(dtype)) for dtype in NUMBERS),
    *((column("", dtype, flags=FLAGS), integers(dtype)) for dtype in ("u1", "u4", "u8")),
    (column("", "i8", display="time", unit="ns"), integers("i8")),
    (column("", "u8", display="time", unit="ns"), integers("u8")),
    (column("", "i8", display="time", unit="s"), st.integers(-(10**11), 10**11)),
    (column("", "u4", display="dotted"), integers("u4")),
    (column("", "u4", display="hex"), integers("u4")),
    (column("", "?"), st.booleans()),
    (column("", "f4"), FLOATS),
    (column("", "f8"), st.floats() | FLOATS),
    (column("", "f2"), st.floats(width=16)),
    (column("", "f16"), st.just(np.longdouble(0.5)) | st.none()),
    (address(""), ADDRESSES),
    (address("", family="inet6"), ADDRESSES),
    (address("", family="family"), ADDRESSES),
    (text(""), TEXTS),
    (binary(""), st.binary(max_size=30)),
    (binary("", display="lladdr"), st.binary(max_size=20)),
    (binary("", display="labels"), LABELS),
    (column("", "V6", display="mac"), st.binary(min_size=6, max_size=6).map(np.void)),
    (column("", "V3", display="hex"), st.binary(min_size=3, max_size=3).map(np.void)),
    (column("", "V4", display="dotted"), DOTTED.map(np.void)),
    (column("", "V4", display=""), DOTTED.map(np.void)),
]  # fmt: skip


@st.composite
def tables(draw: st.DrawFn, json: bool = False) -> Table:
    count = draw(st.integers(0, 5))
    columns, values = [], []
    for i, (kind, cells) in enumerate(draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6))):
        if json and kind.dtype == np.longdouble:
            continue  # neither json nor csv knows it
        listed = draw(st.booleans()) and kind.dtype.kind != "O"
        column = Column(
            name=f"c{i}", dtype=kind.dtype, type=kind.type, storage=kind.storage, list=listed,
            unit=kind.unit, enum=kind.enum, flags=kind.flags, display=kind.display, family=kind.family,
        )  # fmt: skip
        cell = st.lists(cells | st.none(), max_size=3) if listed else cells
        nulls = st.none() if draw(st.booleans()) else cell
        same = draw(st.booleans())
        found = [draw(cell | nulls)] * count if same and count else [draw(cell | nulls) for _ in range(count)]
        columns.append(column)
        values.append(filled(column, found))
    if not columns:
        return Table([])
    families = np.array([draw(FAMILIES) for _ in range(count)], np.uint8)
    return Table(columns, [Stored(count, values, families=draw(st.sampled_from([None, families])))])


def filled(column: Column, cells: Sequence[Any]) -> Any:
    if column.dtype == np.dtype("V16"):
        cells = [raw(cell) for cell in cells]
    return values_of(column, cells)


def raw(cell: Any) -> Any:
    return [raw(each) for each in cell] if isinstance(cell, list) else cell if cell is None else np.void(cell)


def same(found: object, wanted: object) -> bool:
    """Equal, also in type; NaN is itself."""
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    if isinstance(found, float) and isinstance(wanted, float) and math.isnan(wanted):
        return math.isnan(found)
    return type(found) is type(wanted) and found == wanted


@given(tables(), st.booleans())
def test_rows_are_those_of_plain_python(table: Table, absent: bool) -> None:
    found = list(table.iter_rows(absent=absent))
    wanted = list(reference.rows(table, absent=absent))
    assert [[*row] for row in found] == [[*row] for row in wanted]
    assert all(same([*a.values()], [*b.values()]) for a, b in zip(found, wanted, strict=True))


@given(tables())
def test_columns_as_lists_are_those_of_plain_python(table: Table) -> None:
    for chunk in table.chunks:
        for i, each in enumerate(table.columns):
            families = chunk.families if each.family else None
            found = to_python(each, chunk.values(i), families)
            assert same(found, reference.to_python(each, chunk.values(i), families))


@given(tables(json=True))
def test_json_is_that_of_plain_python(table: Table) -> None:
    names = [each.name for each in table.columns]
    found = b"".join(lines for lines, _ in json_rows(ROUTE, table, names))
    assert found == "".join(f"{line}\n" for line in reference.json_rows(table)).encode()


@given(tables(json=True), st.booleans())
def test_csv_is_that_of_plain_python(table: Table, terminal: bool) -> None:
    found = b"".join(lines for lines, _ in csv_rows(ROUTE, table, terminal=terminal))
    wanted = "".join(f"{line}\n" for line in reference.csv_rows(table, terminal=terminal))
    assert found == wanted.encode(errors="surrogateescape")


PAIRS = st.lists(
    st.sampled_from(
        [b"ACTION=add", b"DEVPATH=/x", b"A=1", b"A=2", b"AB=1", b"A", b"B=", b"=x", b"C=\xff", b'D="']
    )
)


@given(PAIRS)
@example([b"A=1", b"A"])
def test_variables_of_a_uevent_are_one_object(pairs: list[bytes]) -> None:
    source = find("uevent")
    batch = Batch.from_datagrams(
        "uevent", [b"\0".join([b"add@/x", b"ACTION=add", b"DEVPATH=/x", *pairs, b""])]
    )
    table = batch.table("uevent")
    names = [each.name for each in table.columns]
    found = b"".join(lines for lines, _ in json_rows(source, table, names))
    wanted = reference.json_rows(table, lambda row: prepared(source, row))
    assert found == "".join(f"{line}\n" for line in wanted).encode()
    rows = b"".join(lines for lines, _ in csv_rows(source, table))
    lines = reference.csv_rows(table, lambda row: prepared(source, row))
    assert rows == "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")


def test_no_column_has_the_name_of_a_key_that_records_have() -> None:
    heads = {"time", "source", "groups", "group_names", "nl_table"}
    for source in sources():
        for name in (schema.name for schema in source.schemas if schema.groups):  # others have no events
            names = {each.name for each in Batch.from_datagrams(source.name, []).table(name).columns}
            assert not names & heads


def test_offsets_outside_of_the_values_are_refused() -> None:
    for offsets in ([0, 5], [0, -1], [2, 1]):
        bad = Values(np.zeros(4, np.uint8), None, np.array(offsets, np.int32))
        with pytest.raises(ValueError, match="offsets"):
            to_python(text("x"), bad)
    with pytest.raises(ValueError, match="marks"):
        to_python(column("x"), Values(np.zeros(4, np.uint32), np.ones(3, np.bool_)))
