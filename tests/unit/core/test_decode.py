"""The column decoder: which value counts, what marks a row, invalid schemas, and ownership of memory."""

import gc
import struct
import weakref
from typing import Any

import numpy as np
import pytest

from nlbus import Batch, SchemaError
from nlbus.schema.compile_attributes import compiled
from nlbus.schema.schema import (
    Attr,
    Elements,
    Entry,
    List,
    Nest,
    Nests,
    Op,
    Schema,
    Select,
    Struct,
    Structs,
)
from nlbus.schema.types import (
    ADDRESS,
    BYTES,
    FLAG,
    LABEL,
    LABELS,
    LLADDR,
    S8,
    S32,
    S64,
    SBE32,
    TEXT,
    U8,
    U16,
    U32,
    U64,
    VIA,
    WEIGHT,
    Field,
    Type,
    fixed,
    pad,
    text,
)
from nlbus.table.decoded import decoder
from nlbus.table.received import LIVE
from nlbus.table.table import Table
from tests.support.decoding import agree, batch_of, decode, rows_of
from tests.support.reference import attribute, message

KIND = 24


def schema(*entries: Entry, header: tuple[Field, ...] = (), **more: Any) -> Schema:
    return Schema(name="any", ops=(Op(KIND, "new"),), header=header, prefix="P_", entries=entries, **more)


def rows(kind: Schema, *payloads: bytes) -> list[dict[str, Any]]:
    """The rows that both decoders find."""
    return agree(kind, [(KIND, 0, payload) for payload in payloads]).rows


def marks(kind: Schema, *payloads: bytes) -> list[bool]:
    return agree(kind, [(KIND, 0, payload) for payload in payloads]).damaged


def u32(number: int, value: int) -> bytes:
    return attribute(number, struct.pack("=I", value))


MTU = Attr("P_MTU", 1, U32)
NAME = Attr("P_NAME", 2, TEXT)


# which value counts


def test_absent_is_not_zero() -> None:
    assert rows(schema(MTU), u32(1, 0), b"", u32(1, 9)) == [{"mtu": 0}, {"mtu": None}, {"mtu": 9}]


def test_the_last_of_several_counts() -> None:
    assert rows(schema(MTU), u32(1, 1) + u32(1, 2)) == [{"mtu": 2}]
    twice = attribute(2, b"a longer one") + attribute(2, b"short\0")
    assert rows(schema(NAME), twice, attribute(2, b"x")) == [{"name": "short"}, {"name": "x"}]


def test_an_attribute_wins_over_the_header() -> None:
    kind = schema(Attr("P_TABLE", 1, U32), header=(Field("table", U8), pad(3)))
    assert rows(kind, b"\x07\0\0\0", b"\x07\0\0\0" + u32(1, 1000)) == [{"table": 7}, {"table": 1000}]


def test_a_text_in_the_header_and_an_attribute_share_a_column() -> None:
    kind = schema(NAME, header=(Field("name", text(8)),))
    head = b"header\0\0"
    payloads = [head, head + attribute(2, b"attribute"), head, head + attribute(2, b"") + u32(9, 1)]
    assert [row["name"] for row in rows(kind, *payloads)] == ["header", "attribute", "header", ""]


@pytest.mark.parametrize(
    ("type", "absent", "none"),
    [
        (U8, -1, b"\xff"),
        (U8, 255, b"\xff"),
        (S8, -1, b"\xff"),
        (S32, -1, b"\xff\xff\xff\xff"),
        (U32, 0xFFFF_FFFF, b"\xff\xff\xff\xff"),
        (SBE32, 1, b"\0\0\0\x01"),
        (U64, 1 << 40, struct.pack("=Q", 1 << 40)),
    ],
)
def test_a_sentinel_value_means_absent(type: Type, absent: int, none: bytes) -> None:
    other = b"\x02" + bytes(type.size - 1)
    kind = schema(header=(Field("value", type, absent=absent),))
    assert [row["value"] is None for row in rows(kind, none, other, none)] == [True, False, True]
    kind = schema(Struct("P_S", 1, (Field("value", type, absent=absent),)))
    found = rows(kind, attribute(1, none), attribute(1, other))
    assert [row["s_value"] is None for row in found] == [True, False]


def test_a_sentinel_is_compared_at_the_fields_width() -> None:
    kind = schema(header=(Field("value", U64, absent=1),))
    assert rows(kind, struct.pack("=Q", 1 << 32 | 1)) == [{"value": 1 << 32 | 1}]


def test_a_sign_is_kept_in_a_wider_column() -> None:
    kind = schema(Attr("P_V", 1, SBE32), Attr("P_WIDE", 2, S64, column="v"), header=(Field("v", S8), pad(3)))
    payloads = [b"\xfe\0\0\0", b"\xfe\0\0\0" + attribute(1, b"\xff\xff\xff\xfd")]
    assert rows(kind, *payloads) == [{"v": -2}, {"v": -3}]


def test_lists_are_decoded() -> None:
    kind = schema(List("P_ARRAY", 1, U16), List("P_ONE", 2, TEXT, repeated=True))
    both = attribute(1, b"\1\0\2\0\3") + attribute(2, b"a") + u32(7, 0) + attribute(2, b"")
    assert rows(kind, b"", both, attribute(1, b"")) == [
        {"array": None, "one": None},
        {"array": [1, 2], "one": ["a", ""]},
        {"array": [], "one": None},
    ]


def test_an_addresss_length_follows_its_family() -> None:
    kind = schema(Attr("P_VIA", 1, VIA))
    payloads = [
        attribute(1, struct.pack("=H", family) + bytes(size))
        for family, size in ((2, 4), (10, 16), (10, 4), (2, 16), (17, 4))
    ]
    assert [row["via"] is not None for row in rows(kind, *payloads)] == [True, True, False, False, False]
    assert marks(kind, *payloads) == [False, False, True, True, True]


PAIRS = Structs("P_PAIRS", 1, (Field("from", U32), pad(1), Field("to", U8, absent=0), pad(2)))


def test_structs_are_parallel_lists() -> None:
    def pairs(*each: tuple[int, int]) -> bytes:
        return b"".join(struct.pack("=IxBxx", *pair) for pair in each)

    several = attribute(1, pairs((1, 2))) + u32(7, 0) + attribute(1, pairs((3, 0), (5, 6)))
    cut = attribute(1, pairs((1, 2)) + b"\1\0\0")
    assert rows(schema(PAIRS), several, b"", attribute(1, b""), cut, several) == [
        {"pairs_from": [1, 3, 5], "pairs_to": [2, None, 6]},
        {"pairs_from": None, "pairs_to": None},
        {"pairs_from": [], "pairs_to": []},
        {"pairs_from": [1], "pairs_to": [2]},
        {"pairs_from": [1, 3, 5], "pairs_to": [2, None, 6]},
    ]
    assert marks(schema(PAIRS), several, cut) == [False, True]


def test_the_wire_holds_weight_minus_one_and_labels_in_the_upper_bits() -> None:
    kind = schema(List("P_W", 1, WEIGHT), Attr("P_L", 2, LABEL), Attr("P_STACK", 3, LABELS))
    stack = b"\x00\x0c\x80\x00\x00\x12\xc1\x00"
    payload = attribute(1, b"\2\0\0\1") + attribute(2, b"\x00\x06\x41\xff") + attribute(3, stack)
    assert rows(kind, payload) == [{"w": [3, 257], "l": 100, "stack": stack}]
    (row,) = Table(decoder(kind, None).columns, [decode(kind, batch_of([(KIND, 0, payload)]))]).iter_rows()
    assert row["stack"] == "200/300"


HOPS = Elements(
    "P_HOPS", 1, (Field("", U16), Field("weight", U8), pad(1)), "P_", (Attr("P_VIA", 3, ADDRESS),)
)


def test_structs_with_attributes_are_lists_side_by_side() -> None:
    via = attribute(3, b"\x0a\0\0\1")
    hops = struct.pack("=HBx", 12, 5) + via + struct.pack("=HBx", 4, 6)
    mapped = bytes(10) + b"\xff\xff\x0a\0\0\1"
    assert rows(schema(HOPS), attribute(1, hops), b"") == [
        {"hops_weight": [5, 6], "hops_via": [mapped, None]},
        {"hops_weight": None, "hops_via": None},
    ]


def test_a_text_selects_the_layout_of_a_later_nest() -> None:
    kind = schema(
        Attr("P_KIND", 1, TEXT, selects=True),
        Select(
            "P_DATA", 2, {"vlan": ("V_", (Attr("V_ID", 1, U32),)), "vxlan": ("X_", (Attr("X_ID", 1, U32),))}
        ),
    )
    data = attribute(2, u32(1, 5))
    found = rows(
        kind, attribute(1, b"vlan\0") + data, data, attribute(1, b"vxlan") + data, attribute(1, b"v") + data
    )
    assert [(row["vlan_id"], row["vxlan_id"]) for row in found] == [
        (5, None),
        (None,) * 2,
        (None, 5),
        (None,) * 2,
    ]


def test_the_first_op_that_matches_type_and_flags_counts() -> None:
    ops = (Op(KIND, "new", 0x600, 0x600), Op(KIND, "change", 0x100, 0x100), Op(KIND, "new"), Op(25, "del"))
    kind = Schema(name="any", ops=ops, header=())
    found = agree(kind, [(KIND, 0x600, b""), (KIND, 0x500, b""), (KIND, 0, b""), (25, 9, b""), (26, 0, b"")])
    assert found.ops == ["new", "change", "new", "del"]


def test_a_schema_without_attributes_ignores_bytes_after_the_header() -> None:
    found = agree(schema(header=(Field("a", U32),)), [(KIND, 0, bytes(4) + b"no attributes")])
    assert (found.damaged, found.unknown) == ([False], 0)


def test_unrequested_columns_are_not_decoded() -> None:
    batch = batch_of([(KIND, 0, attribute(2, b"eth0") + u32(1, 5) + u32(9, 9))])
    for wanted in ({"name"}, {"mtu"}, {"mtu", "nl_row"}, set[str]()):
        found = decode(schema(MTU, NAME), batch, frozenset(wanted))
        assert rows_of(schema(MTU, NAME), found, frozenset(wanted)) == [
            {name: value for name, value in (("mtu", 5), ("name", "eth0")) if name in wanted}
        ]
        assert found.unknown == 1


# what marks a row


@pytest.mark.parametrize(
    "entry",
    [MTU, HOPS, Attr("P_A", 1, ADDRESS), Struct("P_S", 1, (Field("a", U32), Field("b", U32)), min_size=4)],
    ids=lambda entry: type(entry).__name__,
)
def test_a_value_shorter_than_its_type_marks_the_row(entry: Entry) -> None:
    assert marks(schema(entry), attribute(1, b"\0\0\0"), b"", attribute(1, b"\0")) == [True, False, True]


def test_a_truncated_attribute_marks_the_row_and_earlier_ones_count() -> None:
    whole = u32(1, 5) + attribute(2, b"eth0")
    for end in range(len(whole)):
        found = agree(schema(MTU, NAME), [(KIND, 0, whole[:end])])
        assert found.damaged == [end not in (0, 8)]
        assert found.rows[0]["mtu"] == (5 if end >= 8 else None)


def test_a_struct_of_an_older_kernel_has_fewer_fields() -> None:
    kind = schema(Struct("P_S", 1, (Field("a", U32), Field("b", U32)), min_size=4))
    found = agree(kind, [(KIND, 0, attribute(1, bytes(size))) for size in (4, 7, 8, 100)])
    assert [row["s_b"] for row in found.rows] == [None, None, 0, 0]
    assert not any(found.damaged)


def test_a_message_shorter_than_its_header_has_no_row() -> None:
    found = agree(schema(MTU, header=(Field("a", U32),)), [(KIND, 0, b"\0\0\0"), (KIND, 0, bytes(4))])
    assert (len(found.rows), found.malformed) == (1, 1)


# invalid schemas


@pytest.mark.parametrize(
    "entries",
    [
        (List("P_L", 1, TEXT),),
        (List("P_L", 1, BYTES),),
        (List("P_L", 1, FLAG),),
        (Elements("P_E", 1, (), "P_", (MTU,)),),
        (Structs("P_S", 1, ()),),
        (Elements("P_E", 1, (Field("length", U32),), "P_", (MTU,)),),
        (Attr("P_A", 1, S32, selects=True),),
        (Attr("P_A", 1, TEXT, selects=True), Select("P_S", 2, {"a": ("P_", (MTU,))}, by="P_B")),
        (Nests("P_N", 1, "P_", (List("P_L", 1, U32),)),),
        (Select("P_S", 1, {"a" * 21: ("P_", (MTU,))}),),
        (Select("P_S", 1, {"": ("P_", (MTU,))}),),
        (Attr("P_A", 1, U32), Attr("P_B", 2, S32, column="a")),
        (Attr("P_A", 1, U32), Attr("P_B", 2, FLAG, column="a")),
        (Attr("P_A", 1, fixed(4)), Attr("P_B", 2, fixed(6), column="a")),
        (Attr("P_A", 1, fixed(16)), Nest("P_N", 2, "P_", (Attr("P_A", 1, TEXT),), column="-")),
        (Struct("P_S", 1, (Field("a", text(4), absent=0),)),),
    ],
)
def test_an_invalid_schema_is_refused(entries: tuple[Entry, ...]) -> None:
    with pytest.raises(SchemaError, match="table any: "):
        compiled(schema(*entries))


# memory


def test_a_table_in_a_cycle_is_freed() -> None:
    # The collector clears the objects of a cycle before it frees them.
    class Holder:
        table: Table
        me: "Holder"

    kind = schema(NAME, List("P_L", 3, TEXT, repeated=True))
    batch = batch_of([(KIND, 0, attribute(2, b"eth0") + attribute(3, b"x"))])
    found = decoder(kind, None)
    for _ in range(20):
        holder = Holder()
        holder.table = Table(found.columns, [found.rows(batch.block, None, LIVE)])
        assert holder.table["name"][0] == "eth0"
        holder.me = holder
        gone = weakref.ref(holder)
        del holder
        gc.collect()
        assert gone() is None


def test_the_garbage_collector_does_not_track_objects_that_own_memory() -> None:
    batch = Batch.from_datagrams("route", [message(16, bytes(16), tree=[(3, b"eth0")])])
    [chunk] = batch.table("link").chunks
    assert not gc.is_tracked(chunk._decoded)  # type: ignore[attr-defined]


def test_an_empty_text_may_follow_an_absent_one() -> None:
    batch = Batch.from_datagrams("route", [message(16, bytes(16), tree=[(3, b"")])])
    assert next(iter(batch.table("link").iter_rows()))["ifname"] == ""


def test_nothing_depends_on_the_garbage_collector() -> None:
    batch = Batch.from_datagrams("route", [message(16, bytes(16), tree=[(3, b"eth0")])] * 10)

    def look() -> None:
        table = batch.table("link")
        assert len([table[column.name] for column in table.columns]) > 100
        assert len(list(batch.rows())) == 10

    look()
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(20):
            look()
        assert len(gc.get_objects()) - before < 20
    finally:
        gc.enable()


def test_arrays_outlive_table_and_batch() -> None:
    payload = (
        attribute(2, b"a text of some length")
        + u32(1, 0x01020304)
        + attribute(3, struct.pack("=4I", *range(4)))
    )
    kind = schema(MTU, NAME, List("P_L", 3, U32))
    messages = [(KIND, 0, payload)] * 1000
    found = decode(kind, batch_of(messages))
    arrays = [found.values(i) for i in range(6, 9)]
    expected = [
        np.full(1000, 0x01020304, np.uint32),
        np.frombuffer(b"a text of some length" * 1000, np.uint8),
        np.tile(np.arange(4, dtype=np.uint32), 1000),
    ]
    del found
    others = [decode(kind, batch_of([(KIND, 0, bytes(len(payload)))] * 1000)) for _ in range(20)]
    gc.collect()
    kept = [arrays[0].values, arrays[1].values, arrays[2].items.values if arrays[2].items else None]
    for array, values in zip(kept, expected, strict=True):
        assert array is not None
        assert np.array_equal(array, values)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    assert len(others) == 20


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 40, 4096])
@pytest.mark.parametrize("entry", [Attr("P_LLADDR", 1, LLADDR), List("P_LLADDR", 1, LLADDR, repeated=True)])
def test_a_hardware_address_is_no_longer_than_the_kernels(entry: Entry, length: int) -> None:
    assert marks(schema(entry), attribute(1, bytes(length))) == [length > 32]
