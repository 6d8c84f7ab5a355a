"""Tables read by pyarrow, polars, pandas and DuckDB."""

import struct
import threading
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nlbus
from nlbus import Batch, Loss, Table
from nlbus._core.columns import arrow
from nlbus.kernel.requests import attribute, message
from nlbus.schema.types import Column, Values
from nlbus.table.arrow import BATCH_ROWS, SHARED_ROWS, VIEW
from nlbus.table.chunks import Stored
from tests.support.readers import (
    READERS,
    Reader,
    all_readers,
    expected,
    unnamed,
)
from tests.support.tables import address, binary, column, one, table_of, text, values_of

V4 = b"\0" * 10 + b"\xff\xff\x0a\0\0\x01"
ENUM = {2: "kernel", 4: "static", 1 << 20: "far"}


@all_readers
@pytest.mark.parametrize(
    ("of", "cells"),
    [
        *[(column("x", f"u{n}"), [1, None, 2 ** (8 * n) - 1, 0]) for n in (1, 2, 4)],
        (column("x", "u8"), [1, 2**53, None, 0]),
        *[(column("x", f"i{n}"), [-1, None, -(2 ** (8 * n - 1)), 0]) for n in (1, 2, 4, 8)],
        (column("x", "f8"), [0.5, None, -1.0]),
        (column("x", "u8", nullable=False), [1, 2**64 - 1]),
        (column("x", "?"), [True, None, False] * 7),
        (column("x", "?", nullable=False), [True, False] * 4),
        (column("x", "u1", enum={2: "kernel", 4: "static"}), [4, None, 2, 200, 4]),
        (column("x", "u4", enum=ENUM), [1 << 20, None, 2, 1 << 30, 7, 1 << 30]),
        (column("x", "i4", enum={-1: "none", 3: "three"}), [-1, 3, -7, None, 7]),
        (column("x", "u8", enum={2**64 - 1: "all"}), [2**64 - 1, None, 0, 2**64 - 2]),
        (column("x", "i8", display="time"), [10**18 + 1, None, 0]),
        (column("x", "u8", display="time"), [10**18 + 1, None, 0]),
        (text("x"), ["eth0", None, "", "ü", b"\xff", "tail"]),
        (text("x"), [b"\xc3", b"\xbc"]),
        (binary("x", display="mac"), [b"\0\1\2", None, b"", b"\xff\0"]),
        (address("x"), [V4, None, b"\0" * 16]),
        (column("x", "V3", display="hex"), [b"\0\1\2", None]),
        (column("x", list=True), [[1, 2], None, [], [3]]),
        (text("x", list=True), [["a", ""], None, [], ["b", "\xff"], ["c", None]]),
        (text("x", list=True), [[b"\xff"], ["a"]]),
        (address("x", list=True), [[V4], None, [], [None, V4]]),
        (column("x", "u2", enum={1: "one"}, list=True), [[1, 2], None, [None]]),
        (column("x", "u2", enum={1: "one"}, list=True), [[], None]),
        (column("x", "u4"), [None] * 9),
        (text("x"), [None] * 9),
        (column("x", "u1", enum={2: "kernel"}), [None] * 9),
    ],
)
def test_every_type_is_read_correctly(read: Reader, of: Column, cells: list[Any]) -> None:
    for table in (one(of, cells), one(of, cells[:1], cells[1:]), one(of)):
        assert read(table) == expected(table)


@pytest.fixture
def rechunked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the chunks as they are."""
    monkeypatch.setattr("nlbus.table.arrow.BATCH_ROWS", 1)


@all_readers
@pytest.mark.usefixtures("rechunked")
def test_numbers_without_a_name_may_appear_late(read: Reader) -> None:
    of = [column("x", "u1", enum={2: "kernel", 4: "static"}), column("y", "u4", enum=ENUM, list=True)]
    table = table_of(of, [[2, [2]]], [[9, [1, 1 << 30]]], [[None, None], [8, [3]]], [[4, []], [9, [1]]])
    assert len(list(pa.RecordBatchReader.from_stream(table))) == 4
    assert read(table) == expected(table)


def test_a_column_of_names_has_one_dictionary_in_all_tables_and_pyarrow_groups_by_it() -> None:
    of = [
        column("x", "u1", enum={2: "kernel"}),
        column("y", "u4", enum=ENUM),
        column("z", "i4", enum={1: "one"}),
    ]
    chunks = [[[2, 2, None]], [[9, 1 << 30, None]], [[None, None, None]], [[2, 7, -7]]]
    read = pa.concat_tables([pa.table(table_of(of, chunk)) for chunk in chunks])
    first, *others = [chunk.dictionary for chunk in read["x"].chunks]
    assert len(others) == 3
    assert all(other.equals(first) for other in others)
    for name, expected_counts in (
        ("x", {"kernel": 2, "9": 1, None: 1}),
        ("y", {"kernel": 1, str(1 << 30): 1, None: 1, "7": 1}),
        ("z", {None: 3, "-7": 1}),
    ):
        counted = read.group_by(name).aggregate([([], "count_all")]).to_pylist()
        assert {row[name]: row["count_all"] for row in counted} == expected_counts


def cells_of(column: Column) -> st.SearchStrategy[Any]:
    if column.storage != "fixed":
        raw = st.binary(max_size=20).filter(lambda raw: b"\0" not in raw or column.storage == "bytes")
        scalar: st.SearchStrategy[Any] = raw | st.text("aß", max_size=5) if column.storage == "text" else raw
    elif column.dtype.kind == "V":
        scalar = st.binary(min_size=column.dtype.itemsize, max_size=column.dtype.itemsize)
    elif column.dtype.kind == "b":
        scalar = st.booleans()
    else:
        info = np.iinfo(column.dtype)
        known = [st.sampled_from(sorted(column.enum))] if column.enum else []
        scalar = st.one_of(st.integers(int(info.min), int(info.max)), *known)
    return st.none() | (st.lists(scalar, max_size=3) if column.list else scalar)


MIXED = [
    column("number", "u4"),
    column("flag", "?"),
    column("small", "u1", enum={1: "one", 2: "two"}),
    column("large", "i8", enum={-1: "minus", 1 << 40: "plus"}),
    text("text"),
    binary("bytes"),
    address("address"),
    column("unsigned", "u8"),
    column("flags", "u4", flags={1: "up", 4: "far"}),
    column("dotted", "u4", display="dotted"),
    binary("mac", display="lladdr"),
    binary("labels", display="labels"),
    column("hex", "V3", display="hex"),
    column("numbers", "i2", list=True),
    address("addresses", list=True),
    column("flag_lists", "u1", flags={1: "up", 4: "far"}, list=True),
    text("texts", list=True),
    column("names", "u2", enum={1: "one"}, list=True),
]


@pytest.mark.usefixtures("rechunked")
def test_all_readers_read_any_rows_alike() -> None:
    rows = st.lists(st.tuples(*map(cells_of, MIXED)), max_size=12)

    @settings(deadline=None, max_examples=60)
    @given(st.lists(rows, max_size=4))
    def check(chunks: list[list[tuple[Any, ...]]]) -> None:
        table = table_of(MIXED, *chunks)
        for read in READERS:
            assert read(table) == expected(table)

    check()


def test_readers_see_the_types_that_users_expect() -> None:
    table = table_of(
        [
            column("number", "u4", nullable=False), column("name", "u1", enum={1: "one"}), text("text"),
            column("time", "i8", display="time"), address("address"), binary("mac", display="mac"),
            column("list", list=True), column("flags", flags={1: "up"}),
        ],
        [[1, 1, "x", 10**18, V4, b"\1", [1], 1]],
    )  # fmt: skip
    schema = pa.schema(table)
    assert schema.equals(pa.table(table).schema)
    assert not schema.field("number").nullable
    assert schema.field("text").nullable
    assert [str(each) for each in schema.types] == [
        "uint32", "dictionary<values=string, indices=int32, ordered=0>", "string", "timestamp[ns, tz=UTC]",
        "string", "string", "large_list<item: uint32>", "large_list<item: string>",
    ]  # fmt: skip
    assert [str(each) for each in table.to_arrow(text=False).schema.types] == [
        "uint32", "uint8", "string", "timestamp[ns, tz=UTC]", "fixed_size_binary[16]", "binary",
        "large_list<item: uint32>", "uint32",
    ]  # fmt: skip
    assert [str(each) for each in unnamed(table).schema.types] == [
        "uint32", "dictionary<values=string, indices=uint8, ordered=0>", "string_view",
        "timestamp[ns, tz=UTC]", "string_view", "string_view", "large_list<item: uint32>",
        "large_list<item: string_view>",
    ]  # fmt: skip
    assert pl.DataFrame(table).dtypes == [
        pl.UInt32, pl.Categorical, pl.String, pl.Datetime("ns", "UTC"), pl.String, pl.String,
        pl.List(pl.UInt32), pl.List(pl.String),
    ]  # fmt: skip
    frame = pd.DataFrame.from_arrow(table)
    assert isinstance(frame["name"].dtype, pd.CategoricalDtype)
    assert frame["time"].dtype == pd.DatetimeTZDtype("ns", "UTC")


@all_readers
def test_decoded_messages_include_columns_that_no_message_had(read: Reader) -> None:
    header = struct.pack("=8BI", 2, 24, 0, 0, 254, 3, 0, 1, 0)
    attributes = attribute(1, bytes((10, 0, 0, 0))) + attribute(4, struct.pack("=I", 3))
    route = message(24, header + attributes, 2, 1)
    table = Table.concat([Batch.from_datagrams("route", [route] * n).table("route") for n in (1, 3)])
    assert read(table) == expected(table)


def test_pyarrow_receives_types_that_it_can_filter_and_sort() -> None:
    table = table_of([text("dev"), address("dst")], [["lo", V4], ["eth0", None], [None, V4]])
    read = pa.table(table).sort_by([("dst", "ascending"), ("dev", "ascending")])
    assert read["dev"].to_pylist() == ["lo", None, "eth0"]
    assert read.filter(pc.field("dev") == "eth0").num_rows == 1
    assert read.filter(pc.field("dst") == "10.0.0.1").num_rows == 2


@pytest.mark.parametrize("rows", [3, SHARED_ROWS, SHARED_ROWS + 1])
@pytest.mark.parametrize("first", [b"\0", b"\1"], ids=["zeros", "others"])
def test_addresses_that_begin_with_zeros_share_their_views(rows: int, first: bytes) -> None:
    cells = np.frombuffer(b"".join(first + bytes(11) + n.to_bytes(4) for n in range(rows)), "V16")
    found = unnamed(
        Table([address("x"), address("y")], [Stored(rows, [Values(cells), Values(cells[::-1].copy())])]),
        text=False,
    )
    x, y = (found[name].chunk(0) for name in "xy")
    assert x.to_pylist() == [bytes(cell) for cell in cells]
    assert y.to_pylist() == x.to_pylist()[::-1]
    shared = x.buffers()[1].address == y.buffers()[1].address
    assert shared == (first == b"\0" and rows <= SHARED_ROWS)


def test_polars_and_duckdb_receive_bytes_without_a_copy() -> None:
    stored = np.zeros(BATCH_ROWS, "V16")
    table = Table([address("x")], [Stored(len(stored), [Values(stored)])])
    _, views, data = unnamed(table, text=False).column("x").chunk(0).buffers()
    assert data.address == stored.ctypes.data
    assert views.size == 16 * BATCH_ROWS


def test_columns_without_a_value_share_their_memory() -> None:
    absent = np.zeros(BATCH_ROWS, np.bool_)
    columns = [column("x"), address("y"), column("z", "u8")]
    stored = [Values(np.zeros(BATCH_ROWS, each.dtype), absent) for each in columns]
    found = pa.table(Table(columns, [Stored(BATCH_ROWS, stored)]))
    buffers = [buffer for each in found.columns for buffer in each.chunk(0).buffers()]
    assert len({buffer.address for buffer in buffers}) == 1
    assert [each.null_count for each in found.columns] == [BATCH_ROWS] * 3


@pytest.mark.parametrize(
    ("offsets", "pieces"), [([0, 9], 1), ([0, 3, 2], 2), ([-1, 2], 1), ([0, 1, 2], 1), ([0, 9, 2], 2)]
)
def test_out_of_bounds_pieces_are_refused(offsets: list[int], pieces: int) -> None:
    with pytest.raises(ValueError, match=r"pieces|outside"):
        arrow.views(np.zeros(8, np.uint8), np.array(offsets, np.int32), np.zeros(pieces, VIEW))


def test_equal_out_of_bounds_pieces_are_refused() -> None:
    with pytest.raises(ValueError, match="lie outside of 31"):
        arrow.equal_views(np.zeros(31, np.uint8), 16, np.zeros(2, VIEW))


@all_readers
def test_a_table_without_rows_has_its_columns(read: Reader) -> None:
    assert read(Table(MIXED)) == {each.name: [] for each in MIXED}
    assert pl.DataFrame(Table(MIXED)).schema == pl.DataFrame(table_of(MIXED, [[None] * len(MIXED)])).schema


def test_small_chunks_are_joined_and_large_ones_not_copied() -> None:
    stored = np.arange(BATCH_ROWS, dtype=np.uint32)
    small = [Stored(3, [Values(np.arange(3, dtype=np.uint32))])] * 5
    table = Table([column("x")], [*small, Stored(len(stored), [Values(stored)]), *small])
    batches = list(pa.RecordBatchReader.from_stream(table))
    assert [len(batch) for batch in batches] == [15, BATCH_ROWS, 15]
    assert batches[1].column(0).buffers()[1].address == stored.ctypes.data


def test_threads_may_read_the_same_table() -> None:
    table = table_of(
        MIXED,
        *[[[7, True, 1, 9, "x", b"y", V4, 1, 5, 7, b"m", b"l", b"hex", [1], [V4], [1], ["z"], [1]]] * 50]
        * 20,
    )
    expected_rows = pa.table(table).to_pylist()
    wrong: list[object] = []

    def read() -> None:
        for _ in range(20):
            rows = pa.RecordBatchReader.from_stream(table).read_all().to_pylist()
            if rows != expected_rows:
                wrong.append(rows)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_duckdb_computes_with_names_and_times() -> None:
    columns = [
        column("proto", "u1", enum={2: "kernel"}),
        column("nl_time", "i8", display="time"),
        text("dev"),
    ]
    routes = table_of(columns, [[2, 10**18, "lo"], [2, 2 * 10**18, "eth0"]], [[9, 0, None]], loss=Loss())
    with duckdb.connect() as connection:
        connection.register("routes", routes)
        rows = connection.sql("select proto, count(*), count(dev) from routes group by proto order by proto")
        assert rows.fetchall() == [("9", 1, 0), ("kernel", 2, 2)]
        late = connection.sql(
            "select dev from routes where nl_time::timestamptz > timestamptz '2020-01-01 00:00:00+00'"
        )
        assert late.fetchall() == [("eth0",)]


def test_values_built_by_hand_are_correct() -> None:
    values = values_of(column("x", list=True), [[1], None])
    assert len(values) == 2
    assert values.offsets is not None
    assert values.offsets.tolist() == [0, 1, 1]


TABLES = [(source.name, name) for source in nlbus.sources() for name in source.tables]


@pytest.mark.parametrize(("source", "name"), TABLES)
def test_every_table_of_every_source_can_be_read(source: str, name: str) -> None:
    columns = nlbus.schema(source, name).columns
    absent = [values_of(each, [None, None]) for each in columns]
    items = [values_of(each, [[None], []] if each.list else [None, None]) for each in columns]
    for chunks in ([], [Stored(2, absent), Stored(2, items)]):
        table = Table(columns, chunks)
        for read in READERS:
            found = read(table)
            assert {name: len(cells) for name, cells in found.items()} == dict.fromkeys(found, len(table))
        assert len(list(table.iter_rows())) == len(table.to_numpy()) == len(table)
        assert repr(table)
