"""Tables as data frames: what people read, exact integers, slices, pickles, notebooks."""

import copy
import pickle
import struct
import sys
from itertools import pairwise
from random import Random
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import nlbus
from nlbus import Batch, MissingExtra, SchemaError, State, Table, Topic
from nlbus._core.columns import readable
from nlbus.bus.windows import Window
from nlbus.kernel.requests import attribute, message
from nlbus.schema.schema import Schema
from nlbus.sources import find
from nlbus.table.arrow import Exported
from nlbus.table.loss import Loss
from nlbus.table.values import MAPPED, labels_text, lladdr_text
from tests.support.readers import READERS, expected
from tests.support.schemas import fitting
from tests.support.tables import address, column, table_of, text

V4 = MAPPED + b"\x7f\0\0\1"
ADDRESSES = table_of(
    [text("ifname"), address("address"), column("flags", flags={1: "up", 2: "loopback"})],
    [["lo", V4, 3], ["eth0", MAPPED + b"\x0a\0\0\1", 1]],
    [["gone", None, None]],
)


# -- texts in compiled code --------------------------------------------------------------------------

words = st.lists(
    st.sampled_from([b"\0\0", b"\0\0", b"\0\1", b"\xab\xcd", b"\x01\x20"]), min_size=8, max_size=8
)
raw16 = (
    st.binary(min_size=16, max_size=16)
    | words.map(b"".join)
    | st.binary(min_size=4, max_size=4).map(MAPPED.__add__)
)


@given(st.lists(st.tuples(raw16, st.booleans(), st.booleans()), max_size=8))
@example(
    [(bytes(16), True, True), (bytes(12) + b"\0\0\0\1", True, False), (bytes(12) + b"\1\2\3\4", True, True)]
)
def test_addresses_are_written_as_inet_ntop_writes_them(rows: list[tuple[bytes, bool, bool]]) -> None:
    data = np.frombuffer(b"".join(raw for raw, _, _ in rows), np.uint8)
    valid, sixes = (np.array([row[i] for row in rows], np.uint8) for i in (1, 2))
    wanted = [
        inet_ntop(AF_INET6, raw) if six or not raw.startswith(MAPPED) else inet_ntop(AF_INET, raw[12:])
        for raw, _, six in rows
    ]
    assert pieces(*readable.addresses(data, None, sixes)) == wanted
    there = [cell if ok else "" for cell, ok in zip(wanted, valid.tolist(), strict=True)]
    assert pieces(*readable.addresses(data, valid, sixes)) == there


@pytest.mark.parametrize(
    ("how", "by_python"),
    [
        (readable.MAC, lambda raw: raw.hex(":")),
        (readable.PLAIN_HEX, bytes.hex),
        (readable.DOTTED, lambda raw: ".".join(map(str, raw))),
        (readable.LLADDR, lladdr_text),
        (readable.LABELS, labels_text),
    ],
)
def test_bytes_are_written_as_python_writes_them(how: int, by_python: Any) -> None:
    @given(st.lists(st.binary(max_size=20) | raw16 | st.binary(min_size=4, max_size=4), max_size=8))
    def check(rows: list[bytes]) -> None:
        data = np.frombuffer(b"".join(rows), np.uint8)
        offsets = np.cumsum([0, *map(len, rows)]).astype(np.int32)
        assert pieces(*readable.spelled(data, offsets, how)) == [*map(by_python, rows)]

    check()


def pieces(data: Any, offsets: Any) -> list[str]:
    bounds = offsets.tolist()
    return [data[a:b].tobytes().decode() for a, b in pairwise(bounds)]


@given(st.sampled_from(["u1", "u2", "u4", "u8", "i1", "i4", "i8"]), st.data())
def test_distinct_numbers_come_in_order_of_first_sight(dtype: str, data: st.DataObject) -> None:
    info = np.iinfo(dtype)
    few = data.draw(st.lists(st.integers(int(info.min), int(info.max)), min_size=1, max_size=5))
    numbers = data.draw(st.lists(st.sampled_from(few), max_size=20))
    codes = np.empty(len(numbers), np.int32)
    found = readable.distinct(np.array(numbers, dtype), codes)
    assert found.tolist() == [*dict.fromkeys(numbers)]
    assert found[codes].tolist() == numbers


def test_many_distinct_numbers_are_all_found() -> None:
    numbers = np.random.default_rng(1).permutation(50_000).astype(np.uint32) * 4096
    codes = np.empty(len(numbers), np.int32)
    assert (readable.distinct(numbers, codes) == numbers).all()
    assert (codes == np.arange(len(numbers))).all()


TWO = np.array([0, 2], np.int32)


@pytest.mark.parametrize(
    "call",
    [
        lambda: readable.addresses(np.zeros(16, np.uint8), np.zeros(2, np.uint8), None),
        lambda: readable.spelled(np.zeros(3, np.uint8), np.array([0, 4], np.int32), readable.MAC),
        lambda: readable.spelled(np.zeros(3, np.uint8), np.array([-1, 2], np.int32), readable.MAC),
        lambda: readable.spelled(np.zeros(3, np.uint8), np.array([0, 3, 2], np.int32), readable.MAC),
        lambda: readable.distinct(np.zeros(3, np.uint8), np.zeros(2, np.int32)),
        lambda: readable.gather(np.array([1], np.int32), None, TWO),
        lambda: readable.gather(np.array([-1], np.int32), None, TWO),
        lambda: readable.repeated(np.array([0], np.int32), np.zeros(1, np.uint8), TWO),
        lambda: readable.repeated(np.array([3], np.int32), np.zeros(2, np.uint8), TWO),
        lambda: readable.repeated(np.array([0], np.int32), np.zeros(2, np.uint8), TWO[::-1].copy()),
        lambda: readable.repeated(np.array([0], np.int32), np.zeros(2, np.uint8), TWO - 1),
        lambda: readable.gather(np.zeros(1, np.int32), np.zeros(2, np.uint8), TWO),
    ],
)  # fmt: skip
def test_what_lies_outside_is_refused(call: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has a text of its own
        call()


# -- what people read --------------------------------------------------------------------------------


def test_an_address_is_found_by_its_text() -> None:
    with duckdb.connect() as con:
        ADDRESSES.to_duckdb(con, "links")
        found = con.sql("select ifname from links where address = '127.0.0.1'").fetchall()
        assert found == [("lo",)]
        assert con.sql("select ifname from links where list_contains(flags, 'loopback')").fetchall() == [
            ("lo",)
        ]
        con.register("direct", ADDRESSES)
        assert con.sql("select count(*) from direct where address = '127.0.0.1'").fetchall() == [(1,)]
    for frame in (ADDRESSES.to_polars(), pl.DataFrame(ADDRESSES)):
        assert frame.filter(pl.col("address") == "127.0.0.1")["ifname"].to_list() == ["lo"]
        assert frame["flags"].to_list() == [["up", "loopback"], ["up"], None]
    frame = ADDRESSES.to_pandas()
    assert frame[frame.address == "127.0.0.1"].ifname.tolist() == ["lo"]
    assert ADDRESSES.to_arrow()["address"].to_pylist() == ["127.0.0.1", "10.0.0.1", None]


def test_without_text_there_are_numbers_and_bytes() -> None:
    assert ADDRESSES.to_arrow(text=False)["address"].to_pylist() == [V4, MAPPED + b"\x0a\0\0\1", None]
    assert ADDRESSES.to_polars(text=False)["flags"].to_list() == [3, 1, None]
    assert ADDRESSES.to_pandas(text=False)["flags"].tolist() == [3, 1, pd.NA]
    with duckdb.connect() as con:
        rows = ADDRESSES.to_duckdb(con, "raw", text=False)
        assert rows.project("address").fetchall() == [(V4,), (MAPPED + b"\x0a\0\0\1",), (None,)]


def test_large_integers_beside_nulls_stay_exact_in_pandas() -> None:
    of = [column("u", "u8"), column("i", "i8"), column("always", "u8", nullable=False), column("flag", "?")]
    frame = table_of(of, [[2**64 - 1, -(2**63) + 1, 2**53 + 1, True], [None, None, 7, None]]).to_pandas()
    assert [str(dtype) for dtype in frame.dtypes] == ["UInt64", "Int64", "uint64", "boolean"]
    assert frame.loc[0].tolist() == [2**64 - 1, -(2**63) + 1, 2**53 + 1, True]
    assert frame.loc[1].tolist() == [pd.NA, pd.NA, 7, pd.NA]


def test_categories_of_pandas_are_names_and_the_digits_that_occur() -> None:
    frame = table_of(
        [column("proto", "u1", enum={2: "kernel", 4: "static"})], [[2], [200], [None]]
    ).to_pandas()
    assert frame["proto"].cat.categories.tolist() == ["kernel", "static", "200"]
    assert frame["proto"].tolist() == ["kernel", "200", np.nan]


@pytest.mark.parametrize("library", ["polars", "pandas", "pyarrow", "duckdb"])
def test_a_missing_library_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    calls = {
        "polars": ADDRESSES.to_polars, "pandas": ADDRESSES.to_pandas, "pyarrow": ADDRESSES.to_arrow,
        "duckdb": lambda: ADDRESSES.to_duckdb(None, "x"),
    }  # fmt: skip
    with pytest.raises(MissingExtra, match=f"needs {library}: pip install"):
        calls[library]()


TABLES = [(source.name, name) for source in nlbus.sources() for name in source.tables]


def random_tables(source: str, name: str, seed: int, count: int) -> list[Table]:
    """Tables of random messages that fit the schema; none for a source that is not made of attributes."""
    schema = next(each for each in find(source).schemas if each.name == name)
    if not isinstance(schema, Schema):
        return []
    rng = Random(seed)
    batches = [[fitting(rng, schema) for _ in range(rng.randint(0, 4))] for _ in range(count)]
    return [
        Batch.from_datagrams(
            source, [message(kind, payload, flags, 1) for kind, flags, payload in batch]
        ).table(name)
        for batch in batches
    ]


@pytest.mark.parametrize(("source", "name"), TABLES)
def test_random_messages_of_every_table_survive_each_reader(source: str, name: str) -> None:
    for seed in range(3):
        for table in random_tables(source, name, seed, 2):
            wanted = expected(table)
            for read in READERS:
                assert read(table) == wanted, read


@pytest.mark.parametrize(("source", "name"), TABLES)
def test_batches_of_every_table_join_and_group_and_return_from_files(
    source: str, name: str, tmp_path: Any
) -> None:
    tables = [*random_tables(source, name, 7, 3), Table(nlbus.schema(source, name).columns)]
    if len(tables) == 1:
        pytest.skip("its messages are no attributes")
    joined = pa.concat_tables([table.to_arrow() for table in tables])
    names = [column.name for column in tables[0].columns if column.enum is not None and not column.list]
    for each in names:
        joined.group_by(each).aggregate([([], "count_all")])
    pq.write_table(joined, tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == joined.to_pylist()
    with pa.ipc.new_file(tmp_path / "t.arrow", joined.schema) as file:  # allows one dictionary per column
        file.write_table(joined)
    assert pl.read_ipc(tmp_path / "t.arrow").height == len(joined)
    with pa.ipc.new_stream(tmp_path / "t.arrows", joined.schema) as stream:
        stream.write_table(joined)
    assert pl.read_ipc_stream(tmp_path / "t.arrows").height == len(joined)


def test_names_of_all_enums_are_distinct_as_pandas_wants_them() -> None:
    for source, name in TABLES:
        for each in nlbus.schema(source, name).columns:
            if each.enum is not None and each.dtype == np.uint8:
                names = [each.enum.get(number, str(number)) for number in range(256)]
                assert len(set(names)) == 256, (source, name, each.name)


# -- slices, copies, pickles -------------------------------------------------------------------------

NUMBERS = table_of(
    [column("n"), text("t"), column("l", list=True), address("a"), column("absent")],
    *[
        [[n, f"{n}", [n] * (n % 3), MAPPED + struct.pack(">I", n), None] for n in range(a, b)]
        for a, b in ((0, 3), (3, 4), (4, 9))
    ],
    loss=Loss(open=2),
)
ROWS = list(NUMBERS.iter_rows())


@given(st.slices(12).filter(lambda rows: rows.step is None or rows.step > 0))
def test_slices_are_those_of_the_list_of_rows(rows: slice) -> None:
    assert list(NUMBERS[rows].iter_rows()) == ROWS[rows]
    assert NUMBERS[rows].loss == NUMBERS.loss


@pytest.mark.parametrize("n", [0, 1, 3, 8, 9, 20, -1])
def test_head_and_tail(n: int) -> None:
    assert list(NUMBERS.head(n).iter_rows()) == ROWS[: max(n, 0)]
    assert list(NUMBERS.tail(n).iter_rows()) == (ROWS[-n:] if n > 0 else [])
    assert NUMBERS.tail()["n"].tolist() == NUMBERS.head()["n"].tolist() == [*range(9)]


@pytest.mark.parametrize("rows", [slice(None, None, -1), slice(None, None, 0), slice("a", None)])
def test_other_slices_are_refused(rows: slice) -> None:
    with pytest.raises(SchemaError, match="rows slice"):
        NUMBERS[rows]


def test_a_slice_does_not_keep_the_memory_of_the_table() -> None:
    stored = NUMBERS[1:2]
    assert stored["n"].base is None or stored["n"].base.nbytes == 4


def test_copies_are_the_table_itself_which_never_changes() -> None:
    assert copy.copy(NUMBERS) is NUMBERS
    assert copy.deepcopy([NUMBERS])[0] is NUMBERS


@pytest.mark.parametrize(("source", "name"), TABLES)
def test_any_table_can_be_pickled(source: str, name: str) -> None:
    for table in [*random_tables(source, name, 3, 2), Table(nlbus.schema(source, name).columns)]:
        again = pickle.loads(pickle.dumps(table))
        assert list(again.iter_rows()) == list(table.iter_rows())
        assert again.columns == table.columns
        assert (again.damaged == table.damaged).all()
        assert (again.unknown, again.malformed) == (table.unknown, table.malformed)


def test_columns_without_a_value_take_no_room_in_a_pickle() -> None:
    of = [column("n"), *[address(f"absent{i}") for i in range(50)]]
    table = table_of(of, [[1, *[None] * 50]] * 1000)
    assert len(pickle.dumps(table)) < 20_000


def test_a_window_stays_a_window() -> None:
    window = pickle.loads(pickle.dumps(Window(NUMBERS, 1, 2, Loss(open=1))))
    assert isinstance(window, Window)
    assert (window.start, window.end, window.loss.open, len(window)) == (1, 2, 1, 9)


# -- notebooks ---------------------------------------------------------------------------------------


def test_notebooks_see_the_first_rows_and_complete_columns() -> None:
    table = table_of([text("name"), column("n")], [["<b>&", n] for n in range(20)])
    found = table._repr_html_()
    assert "&lt;Table of 20 rows" in found
    assert found.count("<tr>") == 9
    assert "<td>&lt;b&gt;&amp;</td><td>7</td>" in found
    assert "+ 12 rows" in found
    assert table._ipython_key_completions_() == ["name", "n"]
    assert "<table>" not in Table([column("n")])._repr_html_()


def test_notebooks_show_batches_states_and_topics() -> None:
    link = message(16, struct.pack("=BxHiII", 0, 1, 7, 0, 0) + attribute(3, b"<eth\xff>\0"), 0, 1)
    batch = Batch.from_datagrams("route", [link, link])
    shown = batch._repr_html_()
    assert "&lt;Batch of 2 messages&gt;" in shown
    assert "link: 2" in shown
    assert "<td>&lt;eth\\xff&gt;</td>" in shown or "<td>&lt;eth\\udcff&gt;</td>" in shown
    shown.encode()  # notebooks send UTF-8
    state = State("route", "link")
    state.apply(batch)
    assert "<td>link</td><td>1</td>" in state._repr_html_()
    assert state._ipython_key_completions_() == ["link"]
    topic = Topic("ti<ck", [("px", "<f8"), ("depth", "<u4", (2, 3))], groups=(1, 7), type=0x100)
    shown = topic._repr_html_()
    assert "Topic ti&lt;ck: type 0x100, groups 1, 7" in shown
    assert "<td>depth</td><td>uint32</td><td>2x3</td>" in shown


def test_polars_reads_a_schema_without_rows() -> None:
    exported = Exported(NUMBERS.columns, NUMBERS.chunks)
    assert pa.schema(exported) == NUMBERS.to_arrow().schema
    assert pl.DataFrame(NUMBERS[:0]).schema == pl.DataFrame(NUMBERS).schema


def test_addresses_are_written_as_they_are_read() -> None:
    table = table_of([address("a")], [[inet_pton(AF_INET6, "2001:db8::1")], [V4]])
    assert table.to_polars()["a"].to_list() == [row["a"] for row in table.iter_rows()]
