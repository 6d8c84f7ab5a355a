"""Messages of a known shape take a fast path, which must decode the same."""

import struct
from typing import Any

import pytest

from nlbus.schema.schema import Attr, Entry, List, Nest, Op, Schema, Select
from nlbus.schema.types import BYTES, TEXT, U8, U32
from tests.support.decoding import agree
from tests.support.reference import attribute

KIND = 24
MOST = 128  # HEADS of _core/columns/decode.pxd


def schema(*entries: Entry) -> Schema:
    return Schema(name="any", ops=(Op(KIND, "new"),), header=(), prefix="P_", entries=entries)


def found(kind: Schema, *payloads: bytes) -> Any:
    return agree(kind, [(KIND, 0, payload) for payload in payloads])


def u32(number: int, value: int) -> bytes:
    return attribute(number, struct.pack("=I", value))


MTU, NAME = Attr("P_MTU", 1, U32), Attr("P_NAME", 2, TEXT)


def test_equal_shapes_may_have_different_values() -> None:
    payloads = [u32(1, i) + attribute(2, b"eth%d\0" % i) for i in range(10)]
    assert [row["name"] for row in found(schema(MTU, NAME), *payloads).rows] == [f"eth{i}" for i in range(10)]


def test_the_same_length_may_have_another_order() -> None:
    a, b = u32(1, 1), u32(3, 3)
    kind = schema(MTU, Attr("P_LINK", 3, U32))
    assert found(kind, a + b, b + a, a + b, a + a, b + b).rows[3] == {"mtu": 1, "link": None}


def test_unknown_attributes_count_each_time() -> None:
    assert found(schema(MTU), *5 * [u32(1, 1) + u32(9, 0) + u32(200, 0)]).unknown == 10


def test_short_values_mark_each_row() -> None:
    assert found(schema(MTU), *3 * [attribute(1, b"ab") + u32(9, 0)]).damaged == [True] * 3


def test_a_shape_may_end_within_an_attribute() -> None:
    whole = u32(1, 1) + u32(1, 2)
    cut = u32(1, 1) + b"\x10\0\1\0" + bytes(4)
    assert found(schema(MTU), cut, cut, whole, cut, whole).damaged == [True, True, False, True, False]


def test_nests_are_part_of_the_shape() -> None:
    kind = schema(Nest("P_IN", 4, "P_IN_", (Attr("P_IN_A", 1, U32), Attr("P_IN_B", 2, U32))), MTU)
    ab = attribute(4, u32(1, 1) + u32(2, 2)) + u32(1, 9)
    ba = attribute(4, u32(2, 3) + u32(1, 4)) + u32(1, 8)
    short = attribute(4, u32(1, 1) + b"\x03\0\2\0" + bytes(4)) + u32(1, 9)
    assert found(kind, ab, ab, ba, short, ab, short).damaged == [False, False, False, True, False, True]


def test_repeated_attributes_are_list_items() -> None:
    """Each such attribute adds an item: none may be counted twice when the shape changes."""
    kind = schema(List("P_ALT", 5, TEXT, repeated=True), MTU)
    two = attribute(5, b"a\0") + attribute(5, b"b\0")
    other = attribute(5, b"a\0") + attribute(1, b"b\0")  # the last one differs
    rows = found(kind, two, two, other, two, b"", two).rows
    assert [row["alt"] for row in rows] == [["a", "b"], ["a", "b"], ["a"], ["a", "b"], None, ["a", "b"]]


def test_a_text_determines_the_next_attributes_layout() -> None:
    cases = {word: ("P_D_", (Attr(f"P_D_{word}", 1, U32),)) for word in ("one", "two")}
    entries = (Attr("P_KIND", 1, TEXT, selects=True), Select("P_DATA", 2, cases))
    one, two = (attribute(1, word) + attribute(2, u32(1, 7)) for word in (b"one\0", b"two\0"))
    found(schema(*entries), one, one, two, one, two, two)


def test_lists_and_bytes_are_decoded() -> None:
    kind = schema(List("P_CONF", 3, U32), Attr("P_ADDRESS", 4, BYTES), Attr("P_STATE", 5, U8))
    found(kind, *(attribute(3, struct.pack("=3I", i, 1, 2)) + attribute(4, b"%06d" % i) for i in range(20)))


@pytest.mark.parametrize("count", [MOST - 1, MOST, MOST + 1, 3 * MOST])
def test_a_message_may_have_as_many_attributes_as_a_shape_holds_and_more(count: int) -> None:
    assert found(schema(MTU), *3 * [b"".join(u32(1 + i % 2, i) for i in range(count))]).unknown == 3 * (
        count // 2
    )
