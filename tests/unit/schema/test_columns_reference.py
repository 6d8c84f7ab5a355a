"""The reference decoder against results written by hand, since other decoders are compared with it."""

import struct

from nlbus.schema.schema import Attr, Elements, List, Nest, Op, Schema, Select, Struct
from nlbus.schema.types import ADDRESS, BE16, FLAG, TEXT, U8, U16, U32, UINT, VIA, Field, fixed, pad
from tests.support.columns_reference import decode
from tests.support.reference import attribute

FIELDS = (Field("low", U16), Field("", U16), Field("high", U32, absent=-1))

SCHEMA = Schema(
    name="t",
    ops=(Op(16, "change", 0x100, 0x100), Op(16, "new"), Op(17, "del")),
    selector=(0, 1, 7),
    header=(Field("", U8), pad(1), Field("size", U8)),
    prefix="X_",
    entries=(
        Attr("X_SIZE", 1, U32),
        Attr("X_PORT", 2, BE16),
        Attr("X_ADDR", 3, ADDRESS),
        Attr("X_VIA", 4, VIA),
        Attr("X_N", 5, UINT),
        Attr("X_ON", 6, FLAG),
        Struct("X_S", 7, FIELDS, min_size=2),
        List("X_L", 8, U16),
        List("X_NAME", 9, TEXT, repeated=True),
        Nest("X_NEST", 10, "XN_", (Attr("XN_ID", 1, U8), Attr("XN_RAW", 2, fixed(3)))),
        Elements("X_HOP", 11, (Field("", U16), Field("w", U8), pad(1)), "X_", (Attr("X_ADDR", 3, ADDRESS),)),
        Attr("X_KIND", 12, TEXT, selects=True),
        Select("X_DATA", 13, {"a": ("XA_", (Attr("XA_V", 1, U8),)), "b": ("XB_", (Attr("XB_V", 1, U8),))}),
        Struct("X_UNTOLD", 14, ()),
    ),
)
HEADER = b"\x07\xff\x05\xff"
NAMES = "size port addr via n on s_low s_high l name nest_id nest_raw hop_w hop_addr kind a_v b_v"
NOTHING = dict.fromkeys(NAMES.split())


def one(*attributes: tuple[int, bytes] | bytes) -> tuple[dict[str, object], bool, int]:
    """(values that are not None, damaged, unknown) of a message with these attributes."""
    payload = b"".join(each if isinstance(each, bytes) else attribute(*each) for each in attributes)
    found = decode(SCHEMA, [(16, 0, HEADER + payload)])
    (row,) = found.rows
    assert row.keys() == NOTHING.keys()
    return {name: value for name, value in row.items() if value is not None}, found.damaged[0], found.unknown


def test_a_header_alone_has_a_row_and_other_kinds_have_none() -> None:
    other = b"\x06" + HEADER[1:]
    messages = [(16, 0, HEADER), (16, 0x300, HEADER[:3]), (17, 0, HEADER), (18, 0, HEADER), (16, 0, other)]
    found = decode(SCHEMA, [*messages, (16, 0, HEADER[:2]), (16, 0, b"")])
    assert found.rows == [NOTHING | {"size": 5}] * 3
    assert found.ops == ["new", "change", "del"]
    assert (found.malformed, found.damaged, found.unknown) == (2, [False] * 3, 0)


def test_values_are_decoded_by_type() -> None:
    row, damaged, unknown = one(
        (1, struct.pack("=I", 9)),
        (2, b"\x12\x34\xff"),
        (3, b"\x0a\0\0\1"),
        (4, b"\x0a\0" + bytes(16)),
        (5, struct.pack("=Q", 1 << 40)),
        (6, b""),
        (8, struct.pack("=HHB", 1, 2, 3)),
        (9, b"one\0"),
        (9, b"two\0rest"),
        (99, b"?"),
        (14, b"?"),
    )
    assert row == {
        "size": 9,
        "port": 0x1234,
        "addr": bytes(10) + b"\xff\xff\x0a\0\0\1",
        "via": bytes(16),
        "n": 1 << 40,
        "on": True,
        "l": [1, 2],
        "name": ["one", "two"],
    }
    assert (damaged, unknown) == (False, 1)


def test_the_last_of_two_attributes_counts_and_type_flags_are_ignored() -> None:
    nested = attribute(1, b"\1") + attribute(2, b"abcd")
    row, damaged, _ = one((10 | 0x8000, nested), (1, bytes(4)), (1, b"\2\0\0\0"), (10, attribute(1, b"\3")))
    assert row == {"size": int.from_bytes(b"\2\0\0\0", "little"), "nest_id": 3, "nest_raw": b"abc"}
    assert not damaged


def test_structs_may_be_shorter_or_longer() -> None:
    whole = struct.pack("=HHI", 1, 2, 3)
    assert one((7, whole + b"new"))[0]["s_high"] == 3
    assert one((7, whole[:7])) == ({"size": 5, "s_low": 1}, False, 0)
    assert one((7, whole[:1])) == ({"size": 5}, True, 0)
    assert one((7, whole[:4] + b"\xff" * 4)) == ({"size": 5, "s_low": 1}, False, 0)


def test_values_that_do_not_fit_mark_the_row() -> None:
    for short in (
        (1, b"123"),
        (2, b"1"),
        (3, b"12345"),
        (4, b"12345"),
        (4, b"\x0a\0\0\0\0\0"),
        (5, b"12345"),
        (10, attribute(2, b"ab")),
    ):
        assert one(short) == ({"size": 5}, True, 0)
    for cut in b"\0", b"\3\0\1\0", b"\7\0\1\0ab", b"\xff\xff\1\0abcd":
        assert one((6, b""), cut) == ({"size": 5, "on": True}, True, 0)


def test_a_text_selects_the_following_nest() -> None:
    data = attribute(1, b"\x08")
    assert one((12, b"a\0"), (13, data))[0] == {"size": 5, "kind": "a", "a_v": 8}
    assert one((13, data), (12, b"b\0"))[0] == {"size": 5, "kind": "b"}
    assert one((12, b"c\0"), (13, data + attribute(7, b""))) == ({"size": 5, "kind": "c"}, False, 0)
    assert one((12, b"a"), (12, b"b"), (13, data + attribute(7, b""))) == (
        {"size": 5, "kind": "b", "b_v": 8},
        False,
        1,
    )


def hop(weight: int, attributes: bytes, length: int = 0) -> bytes:
    return struct.pack("=HBB", length or 4 + len(attributes), weight, 0) + attributes


def test_elements_are_parallel_lists() -> None:
    addr = attribute(3, b"\x0a\0\0\1")
    mapped = bytes(10) + b"\xff\xff\x0a\0\0\1"
    row, damaged, _ = one((11, hop(1, addr) + hop(2, b"") + hop(3, addr)))
    assert (row["hop_w"], row["hop_addr"], damaged) == ([1, 2, 3], [mapped, None, mapped], False)
    for bad in hop(2, b"", 3), hop(2, b"", 9), b"\0":
        row, damaged, _ = one((11, hop(1, addr) + bad))
        assert (row["hop_w"], row["hop_addr"], damaged) == ([1], [mapped], True)
    assert one((11, b""))[0] == {"size": 5, "hop_w": [], "hop_addr": []}
