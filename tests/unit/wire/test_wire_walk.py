"""Walking messages and attributes: edge cases by name, compared with the oracle."""

import struct

import pytest

from nlbus._wire import wire
from tests.support import reference
from tests.support.reference import kernel_chain, message

EMPTY = message(1)  # 16 bytes, no payload


def length_only(length: int, size: int = 16) -> bytes:
    return struct.pack("=I", length) + bytes(size - 4)


# name -> datagram, offsets of the messages found, how many malformed
DATAGRAMS = {
    "nothing": (b"", [], 0),
    "one byte": (b"\0", [], 1),
    "fifteen bytes": (EMPTY[:15], [], 1),
    "a header alone": (EMPTY, [0], 0),
    "zeros": (bytes(64), [], 1),
    "length 0 does not loop": (length_only(0, 32), [], 1),
    "length 15 is below a header": (length_only(15, 32), [], 1),
    "length one beyond the end": (length_only(33, 32), [], 1),
    "length at its largest": (length_only(0xFFFFFFFF, 32), [], 1),
    "length whose alignment would wrap": (length_only(0xFFFFFFFD, 32), [], 1),
    "two": (EMPTY + EMPTY, [0, 16], 0),
    "an unaligned last one, as nflog sends": (kernel_chain(EMPTY, message(2, b"abcde")), [0, 16], 0),
    "an unaligned last one with its padding": (length_only(17, 20), [0], 0),
    "an unaligned one, padded before the next": (kernel_chain(message(2, b"a"), EMPTY), [0, 20], 0),
    "an unaligned one, not padded before the next": (message(2, b"a") + EMPTY, [0], 1),
    "padding of two words is a trailing message": (EMPTY + bytes(8), [0], 1),
    "one byte too many": (EMPTY + b"\0", [0], 1),
    "fifteen bytes too many": (EMPTY + bytes(15), [0], 1),
    "a bad one hides what follows": (EMPTY + length_only(8) + EMPTY, [0], 1),
    "a good one before one beyond the end": (EMPTY + length_only(17), [0], 1),
    "truncated by a short filter": (message(2, bytes(40))[:-1], [], 1),
}


@pytest.mark.parametrize("name", DATAGRAMS)
def test_walk_finds_the_messages(name: str) -> None:
    data, offsets, malformed = DATAGRAMS[name]
    found, bad = wire.walk(data)
    assert ([m[0] for m in found], bad) == (offsets, malformed)
    assert (found, bad) == reference.walk(data)


def test_walk_reports_every_header_field() -> None:
    data = message(0x1234, b"abc", flags=0x5678, seq=0x9ABCDEF0, portid=0xFEDCBA98)
    assert wire.walk(data) == ([(0, 19, 0x1234, 0x5678, 0x9ABCDEF0, 0xFEDCBA98)], 0)


@pytest.mark.parametrize("shift", range(8))
def test_any_alignment_can_be_walked(shift: int) -> None:
    data = kernel_chain(message(1, b"abcde", tree=[(1, b"x"), (2, [(3, b"yz")])]), message(2))
    moved = memoryview(bytes(shift) + data)[shift:]
    assert wire.walk(moved) == reference.walk(data)
    assert wire.attributes(moved[24:]) == reference.attributes(data[24:])


@pytest.mark.parametrize(
    ("length", "header", "found"),
    [
        (16, 0, b""),
        (16, 4, b""),
        (17, 0, b"a"),
        (19, 4, b""),
        (20, 4, b""),
        (21, 4, b"e"),
        (24, 4, b"efgh"),
        (24, 1, b"efgh"),
        (24, 5, b""),
        (24, 100, b""),
        (25, 0, None),
        (15, 0, None),
    ],
)
def test_the_payload_after_a_family_header_is_never_negative(
    length: int, header: int, found: bytes | None
) -> None:
    data = message(1, b"abcdefgh", length=length)
    assert wire.payload(data, header) == found
    assert reference.payload(data, header) == found


def attr(length: int, kind: int, rest: bytes = b"") -> bytes:
    return struct.pack("=HH", length, kind) + rest


ATTRIBUTES = {
    "nothing": (b"", [], 0),
    "three bytes": (b"\4\0\1", [], 1),
    "length 4 is a flag without payload": (attr(4, 7), [(7, 0, b"")], 0),
    "length 0 does not loop": (attr(0, 7, bytes(8)), [], 1),
    "length 3 is below a header": (attr(3, 7, bytes(8)), [], 1),
    "length one beyond the end": (attr(9, 7, b"abcd"), [], 1),
    "length at its largest": (attr(0xFFFF, 7, b"abcd"), [], 1),
    "the largest": (attr(0xFFFF, 7, bytes(65531)), [(7, 0, bytes(65531))], 0),
    "padded": (attr(5, 7, b"a\0\0\0"), [(7, 0, b"a")], 0),
    "the last without its padding": (attr(4, 1) + attr(5, 2, b"a"), [(1, 0, b""), (2, 0, b"a")], 0),
    "the last with some of its padding": (attr(5, 2, b"a\0"), [(2, 0, b"a")], 0),
    "trailing bytes": (attr(4, 1) + b"\0\0", [(1, 0, b"")], 1),
    "a trailing zero word": (attr(4, 1) + bytes(4), [(1, 0, b"")], 1),
    "nested is not part of the type": (attr(4, 0x8007), [(7, 0x8000, b"")], 0),
    "nor is net byte order": (attr(4, 0x4007), [(7, 0x4000, b"")], 0),
    "every bit": (attr(4, 0xFFFF), [(0x3FFF, 0xC000, b"")], 0),
    "a bad one hides what follows": (attr(4, 1) + attr(2, 2) + attr(4, 3), [(1, 0, b"")], 1),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_are_found(name: str) -> None:
    data, found, malformed = ATTRIBUTES[name]
    assert wire.attributes(data) == (found, malformed)
    assert reference.attributes(data) == (found, malformed)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 8, 15, 16, 17, 65531, 2**31, 2**32 - 1, 2**32])
def test_length_macros_match_the_kernels(n: int) -> None:
    assert wire.sizes(n) == {
        "nlmsg_align": reference.align(n),
        "nlmsg_length": n + 16,
        "nlmsg_space": reference.align(n + 16),
        "nla_align": reference.align(n),
        "nla_attr_size": n + 4,
        "nla_total_size": reference.align(n + 4),
    }


def test_only_bytes_are_walked() -> None:
    for call in (wire.walk, wire.attributes, wire.payload, wire.parse_chain):
        with pytest.raises(TypeError):
            call(None)  # type: ignore[arg-type]
        with pytest.raises(BufferError):
            call(memoryview(bytes(32))[::2])
