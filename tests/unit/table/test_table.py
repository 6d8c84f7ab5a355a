"""Table: columns as arrays, rows as dicts, and memory."""

import gc
import struct
import weakref
from typing import Any

import numpy as np
import pytest

from nlbus import Batch, Loss, SchemaError, Table, Topic, UnknownColumn, field
from nlbus.schema.types import Column, Values
from nlbus.sources import find
from nlbus.table.chunks import Stored, gathered, joined
from nlbus.table.query import Query
from nlbus.table.table import add_to
from tests.support.reference import attribute, message
from tests.support.tables import address, binary, column, one, table_of, text

V4 = b"\0" * 10 + b"\xff\xff\x0a\0\0\x01"
V6 = b"\xfe\x80" + b"\0" * 13 + b"\x01"
LOST = Loss.of([("overrun", 0, 3, True, 1, 2)], 0, False)


class Counting(Stored):
    """A chunk that records which columns were read."""

    def __init__(self, length: int, columns: list[Values]) -> None:
        super().__init__(length, columns)
        self.read: list[int] = []

    def values(self, i: int) -> Values:
        self.read.append(i)
        return super().values(i)


def test_a_contiguous_column_is_not_copied() -> None:
    stored = np.arange(3, dtype=np.uint32)
    table = Table([column("mtu")], [Stored(3, [Values(stored)])])
    assert np.shares_memory(table["mtu"], stored)
    assert not table["mtu"].flags.writeable
    assert stored.flags.writeable
    assert table["mtu"] is table["mtu"]


def test_only_columns_that_are_read_are_built() -> None:
    chunk = Counting(2, [Values(np.zeros(2, np.uint32))] * 3)
    table = Table([column("a"), column("b"), column("c")], [chunk])
    len(table), table["b"], table["b"]
    assert chunk.read == [1]


def test_chunks_form_one_column() -> None:
    table = one(column("mtu"), [1, None], [], [3])
    assert table["mtu"].tolist() == [1, 0, 3]
    assert table.valid("mtu").tolist() == [True, False, True]
    assert not table["mtu"].flags.writeable


def test_a_column_without_absent_values_is_all_valid() -> None:
    assert one(column("mtu"), [1], [2]).valid("mtu").tolist() == [True, True]


@pytest.mark.parametrize(
    ("of", "cells", "expected"),
    [
        (column("x", "i2"), [-1, None], [-1, 0]),
        (column("x", "?"), [True, None], [True, False]),
        (column("x", "u1", enum={1: "one"}), [1, 7], [1, 7]),
        (text("x"), ["eth0", None, "", "ü"], ["eth0", "", "", "ü"]),
        (text("x"), [b"a\xff", "\xff"], ["a\udcff", "\xff"]),
        (text("x"), [b"\xc3", b"\xbc"], ["\udcc3", "\udcbc"]),  # valid UTF-8 together, but not separately
        (binary("x"), [b"\0\xff\0", None, b""], [b"\0\xff\0", None, b""]),
        (text("x", list=True), [["a", "bc"], [], None], [["a", "bc"], [], None]),
        (column("x", list=True), [[1, 2], [3, 4], None], [[1, 2], [3, 4], None]),
        (address("x"), [V4, None], [V4, b"\0" * 16]),
    ],
)  # fmt: skip
def test_a_column_is_an_array(of: Column, cells: list[object], expected: list[object]) -> None:
    for table in (one(of, cells), one(of, cells[:1], cells[1:])):
        array = table["x"]
        assert len(array) == len(cells)
        got = [cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in array.tolist()]
        assert got == expected
        assert table.valid("x").tolist() == [cell is not None for cell in cells]


def test_times_are_datetime64_and_absent_ones_nat() -> None:
    table = one(column("t", "i8", display="time"), [10**18 + 1, None])
    assert table["t"].dtype == "M8[ns]"
    assert str(table["t"][0]) == "2001-09-09T01:46:40.000000001"
    assert np.isnat(table["t"][1])


def test_times_may_have_another_unit() -> None:
    table = one(column("t", "u8", display="time", unit="s"), [86400])
    assert str(table["t"][0]) == "1970-01-02T00:00:00"


def test_the_error_for_an_unknown_column_lists_the_columns() -> None:
    table = one(column("ifname"), [1])
    with pytest.raises(UnknownColumn, match="no column 'ifnam': did you mean ifname") as caught:
        table["ifnam"]
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, SchemaError)
    assert str(caught.value).startswith("no column")
    with pytest.raises(UnknownColumn, match="there are ifname"):
        table.valid("zzz")


# -- malformed messages and values -----------------------------------------------------------------

LINK = message(16, struct.pack("=BxHiII", 0, 1, 1, 1, 0) + attribute(3, b"lo\0"))
SHORT_MTU = message(16, struct.pack("=BxHiII", 0, 1, 2, 1, 0) + attribute(4, b"\1") + attribute(999, b""))
NO_LINK = message(16, b"\0bc")


def links(*messages: bytes) -> Table:
    return Batch.from_datagrams("route", messages).table("link")


def test_messages_without_a_row_are_counted_and_incomplete_rows_marked() -> None:
    table = links(LINK, NO_LINK, SHORT_MTU, LINK)
    assert (len(table), table.malformed, table.unknown) == (3, 1, 1)
    assert table.damaged.tolist() == [False, True, False]
    assert not table.damaged.flags.writeable
    assert "3 rows" in repr(table)
    assert ", 1 damaged, 1 malformed>" in repr(table)
    assert "damaged" not in repr(links(LINK))


def test_counts_stay_with_the_table_and_marks_with_their_rows() -> None:
    table = Table.concat([links(NO_LINK), links(LINK, SHORT_MTU), links(SHORT_MTU, NO_LINK)])
    assert table.damaged.tolist() == [False, True, True]
    for derived, marks in [
        (table, [False, True, True]),
        (table.filter(field("ifindex") == 2), [True, True]),
        (table.filter(field("ifindex") == 1), [False]),
        (table.filter(field("ifindex") == 2).head(1), [True]),
        (table.select(["ifname"]), [False, True, True]),
        (table.head(0), []),
    ]:
        assert (derived.malformed, derived.unknown) == (2, 2)
        assert derived.damaged.tolist() == marks
        assert derived.damaged.dtype == np.bool_


def test_conditions_and_columns_of_a_query_keep_counts_and_marks() -> None:
    batch = Batch.from_datagrams("route", [LINK, NO_LINK, SHORT_MTU])
    table = Query(find("route"), {"link": ["mtu"]}, field("ifindex") == 2).table(batch, "link")
    assert (table.malformed, table.unknown, table.damaged.tolist()) == (1, 1, [True])


def test_collecting_tables_keeps_the_fault_counts_of_tables_without_rows() -> None:
    tables: list[Table] = []
    for table in [links(), links(LINK), *5 * [links(NO_LINK)], *5 * [links()], links(SHORT_MTU, NO_LINK)]:
        add_to(tables, table)
    assert [(len(table), table.malformed) for table in tables] == [(0, 0), (1, 5), (1, 1)]


def test_a_short_message_and_a_device_without_a_path_are_counted() -> None:
    assert Batch.from_datagrams("route", [message(24, b"abc")]).table("route").malformed == 1
    assert Batch.from_datagrams("uevent", [b"add@/x\0ACTION=add\0"]).table("uevent").malformed == 1


def test_tables_built_by_hand_or_from_a_topic_have_no_malformed_messages() -> None:
    topic = Topic("t", [("a", "u1")], groups=1)
    for table in (one(column("a"), [1], [2]), Batch.from_datagrams("bus", []).table(topic)):
        assert (table.malformed, table.unknown, table.damaged.any()) == (0, 0, False)
        assert len(table.damaged) == len(table)


# -- rows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "cells", "expected"),
    [
        (column("x", "u1", enum={1: "one"}), [1, 7, None], ["one", 7, None]),
        (column("x", flags={1: "up", 2: "on"}), [3, 0, 0x11, None], [["up", "on"], [], ["up", "0x10"], None]),
        (address("x"), [V4, V6, None], ["10.0.0.1", "fe80::1", None]),
        (binary("x", display="mac"), [bytes(range(6)), b"", None], ["00:01:02:03:04:05", "", None]),
        (column("x", "V6", display="mac"), [bytes(range(6)), None], ["00:01:02:03:04:05", None]),
        (column("x", "V2", display="hex"), [b"\xab\0", None], ["ab00", None]),
        (column("x", "V4", display="dotted"), [b"\x0a\0\0\x01", None], ["10.0.0.1", None]),
        (column("x", "u4", display="dotted"), [0x0A000001, None], ["10.0.0.1", None]),
        (column("x", "V2"), [b"\xab\0"], [b"\xab\0"]),
        (binary("x"), [b"\xab\0", None], [b"\xab\0", None]),
        (text("x"), [b"a\xff", None], ["a\udcff", None]),
        (column("x", "i8", display="time"), [10**18 + 1, None], [10**18 + 1, None]),
        (column("x", "?"), [True, None], [True, None]),
        (column("x", "u1", enum={1: "one"}, list=True), [[1, 2], [], None], [["one", 2], [], None]),
        (address("x", list=True), [[V4, None], None], [["10.0.0.1", None], None]),
    ],
)  # fmt: skip
def test_rows_are_plain_python(of: Column, cells: list[object], expected: list[object]) -> None:
    for table in (one(of, cells), one(of, cells[:1], cells[1:])):
        got = [row["x"] for row in table.iter_rows()]
        assert got == expected
        assert [type(cell) for cell in got] == [type(cell) for cell in expected]


def test_rows_of_the_same_flags_do_not_share_a_list() -> None:
    first, second = one(column("x", flags={1: "up"}), [1, 1]).iter_rows()
    first["x"].append("mine")
    assert second["x"] == ["up"]


def test_rows_come_in_order_with_all_columns() -> None:
    table = table_of([column("a"), text("b")], [[1, "x"], [2, None]], [[3, "z"]])
    assert list(table.iter_rows()) == [{"a": 1, "b": "x"}, {"a": 2, "b": None}, {"a": 3, "b": "z"}]


def test_to_numpy_gives_one_structured_array() -> None:
    table = table_of([column("a"), text("b"), address("c")], [[1, "x", V4]], [[None, None, None]])
    rows = table.to_numpy()
    assert rows.dtype.names == ("a", "b", "c")
    assert rows[0].item() == (1, "x", V4)
    assert rows[1].item() == (0, "", b"\0" * 16)
    assert isinstance(rows["b"][0], str)
    assert table.to_numpy(["b"]).dtype.names == ("b",)
    with pytest.raises(UnknownColumn):
        table.to_numpy(["d"])


# -- tables from tables -----------------------------------------------------------------------------


def test_concat_keeps_rows_and_adds_losses() -> None:
    columns = [column("a")]
    first, second = table_of(columns, [[1]], loss=LOST), table_of(columns, [[2]], [[3]], loss=LOST)
    both = Table.concat([first, second, Table(columns)])
    assert both["a"].tolist() == [1, 2, 3]
    assert both.loss.datagrams == 6
    assert first.loss.datagrams == 3


def test_concat_requires_tables_with_the_same_columns() -> None:
    with pytest.raises(SchemaError, match="different columns"):
        Table.concat([one(column("a")), one(column("b"))])
    with pytest.raises(SchemaError, match="no table"):
        Table.concat([])


ALL = [column("a"), text("b"), binary("c"), column("d", list=True), text("e", list=True), address("f")]
ROWS = [
    [1, "x", b"\1", [1, 2], ["p", "qq"], V4],
    [None, None, None, None, None, None],
    [3, "", b"", [], [], V6],
    [4, "long text", b"\2\3", [3], ["", "r"], V4],
]


def test_filter_works_on_every_type() -> None:
    for table in (table_of(ALL, ROWS), table_of(ALL, ROWS[:1], ROWS[1:3], ROWS[3:])):
        everything = list(table.iter_rows())
        for bits in range(16):
            mask = np.array([bool(bits >> i & 1) for i in range(4)])
            kept = table.filter(mask)
            assert list(kept.iter_rows()) == [row for row, keep in zip(everything, mask, strict=True) if keep]
            assert len(kept) == mask.sum()


def test_filter_keeps_the_loss_and_not_the_memory() -> None:
    stored = np.arange(1000, dtype=np.uint32)
    memory = weakref.ref(stored)
    kept = Table([column("a")], [Stored(1000, [Values(stored)])], LOST).filter(field("a") == 7)
    del stored
    gc.collect()
    assert memory() is None
    assert kept["a"].tolist() == [7]
    assert kept.loss.datagrams == 3


def test_filter_requires_a_mask_of_its_length() -> None:
    with pytest.raises(SchemaError, match="2 rows"):
        one(column("a"), [1, 2]).filter(np.array([True]))
    with pytest.raises(SchemaError, match="int64"):
        one(column("a"), [1, 2]).filter(np.array([1, 0]))


def test_filter_accepts_any_form_of_bools() -> None:
    table = one(column("a"), [1, 2])
    assert table.filter([False, True])["a"].tolist() == [2]
    assert len(table.head(0).filter([])) == 0


@pytest.mark.parametrize("wrong", ["a > 1", b"a", field("a"), None, 5])
def test_an_argument_that_is_no_expression_is_refused(wrong: Any) -> None:
    with pytest.raises(SchemaError, match=r'filter: an expression of columns, as in field\("mtu"\)'):
        one(column("a"), [1, 2]).filter(wrong)


def test_head_gives_the_first_rows() -> None:
    table = one(column("a"), [1, 2], [3])
    assert [table.head(n)["a"].tolist() for n in (0, 1, 2, 3, 9)] == [[], [1], [1, 2], [1, 2, 3], [1, 2, 3]]


def test_a_table_without_rows_has_all_columns() -> None:
    empty = Table(ALL)
    assert len(empty) == 0
    assert list(empty.iter_rows()) == []
    for each, like in zip(ALL, [np.uint32, "T", object, object, object, "V16"], strict=True):
        assert len(empty[each.name]) == len(empty.valid(each.name)) == 0
        assert empty[each.name].dtype.kind == np.dtype(np.dtypes.StringDType() if like == "T" else like).kind
    assert len(empty.to_numpy()) == 0


def test_small_chunks_are_joined_and_large_ones_kept() -> None:
    chunks = [Stored(n, [Values(np.full(n, n))]) for n in (1, 2, 9, 3, 1, 1, 4)]
    made = list(gathered(chunks, 5))
    assert [len(chunk) for chunk in made] == [3, 9, 5, 4]
    assert made[1] is chunks[2]
    assert made[0].values(0).values.tolist() == [1, 2, 2]  # type: ignore[union-attr]
    assert list(gathered([], 5)) == []


def test_joining_beyond_arrows_offsets_is_an_error() -> None:
    huge = Values(np.empty(0, np.uint8), None, np.array([0, 2**31 - 1], np.int32))
    with pytest.raises(SchemaError, match="31 bits"):
        joined([huge, huge])


def test_a_table_is_freed_without_the_garbage_collector() -> None:
    gc.disable()
    try:
        table = table_of(ALL, ROWS)
        table["a"], list(table.iter_rows()), repr(table)
        gone = weakref.ref(table)
        del table
        assert gone() is None
    finally:
        gc.enable()


# -- preview ----------------------------------------------------------------------------------


@pytest.fixture
def wide() -> Table:
    columns = [column("nothing"), *(text(f"column{i}") for i in range(20)), column("t", "i8", display="time")]
    return table_of(columns, [[None, *["value"] * 20, 10**18]] * 20)


def test_a_preview_shows_columns_that_fit_and_counts_the_rest(wide: Table) -> None:
    lines = repr(wide).splitlines()
    assert lines[0] == "<Table of 20 rows, 22 columns>"
    assert lines[1].split()[:2] == ["column0", "column1"]
    assert lines[1].endswith("columns")
    assert lines[-1] == "  + 12 rows"
    assert "nothing" not in repr(wide)


def test_a_preview_has_this_text() -> None:
    table = table_of(
        [text("ifname"), column("t", "i8", display="time")], [["lo", 10**18], [None, None]], loss=LOST
    )
    assert repr(table).splitlines() == [
        "<Table of 2 rows, 2 columns, 3 datagrams dropped>",
        "  ifname  t",
        "  lo      2001-09-09T01:46:40.000000000",
        "  -       -",
    ]
    assert repr(Table(ALL)) == "<Table of 0 rows, 6 columns>"
    assert repr(one(column("a"), [None])) == "<Table of 1 row, 1 column>"
