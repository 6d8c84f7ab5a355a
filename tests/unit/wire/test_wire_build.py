"""Building messages and attributes: what is written, and that nothing is written where it does not fit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlbus._wire import wire
from tests.support import reference
from tests.support.reference import kernel_chain

CANARY = 0xA5
Spec = tuple[int, int, int, int, bytes, reference.Tree]


def build(messages: list[Spec], room: int) -> bytes | None:
    """Build into a buffer of `room` bytes that lies between canaries."""
    arena = bytearray([CANARY]) * (room + 64)
    length = wire.build(memoryview(arena)[32 : 32 + room], messages)
    assert arena[:32] == arena[-32:] == bytearray([CANARY]) * 32
    if length is None:
        return None
    assert arena[32 + length : 32 + room] == bytearray([CANARY]) * (room - length)
    return bytes(arena[32 : 32 + length])


def expected(messages: list[Spec]) -> bytes:
    return kernel_chain(
        *[
            reference.message(kind, payload, flags=flags, seq=seq, portid=portid, tree=tree)
            for kind, flags, seq, portid, payload, tree in messages
        ]
    )


def test_a_message_is_its_header_and_payload() -> None:
    assert build([(2, 3, 4, 5, b"abcde", [])], 64) == bytes.fromhex(
        "15000000 0200 0300 04000000 05000000 6162636465"
    )


def test_the_last_message_ends_unpadded_and_the_others_do_not() -> None:
    one: Spec = (1, 0, 0, 0, b"a", [])
    built = build([one, one], 64)
    assert built == expected([one, one])
    assert len(built) == 20 + 17
    assert wire.walk(built)[0] == [(0, 17, 1, 0, 0, 0), (20, 17, 1, 0, 0, 0)]


def test_attributes_are_padded_with_zeros_and_nests_count_their_padding() -> None:
    built = build([(1, 0, 0, 0, b"\1\2", [(1, b"a"), (2, [(3, b"bcdef"), (4, [])]), (5, b"")])], 128)
    assert built is not None
    assert built[16:] == bytes.fromhex(
        "0102 0000"  # a family header of two bytes, padded before the first attribute
        "0500 0100 61 000000"
        "1400 0280 0900 0300 6263646566 000000 0400 0480"
        "0400 0500"
    )


@pytest.mark.parametrize(("size", "fits"), [(65531, True), (65532, False), (70000, False)])
def test_an_attribute_holds_65531_bytes(size: int, fits: bool) -> None:
    messages: list[Spec] = [(1, 0, 0, 0, b"", [(1, bytes(size))])]
    built = build(messages, 100_000)
    assert (built == expected(messages)) if fits else (built is None)


@pytest.mark.parametrize(("size", "fits"), [(65524, True), (65525, False), (65528, False), (65531, False)])
def test_a_nest_holds_65535_bytes_with_its_padding(size: int, fits: bool) -> None:
    # 4 for the nest, 4 and the padding for what is in it
    messages: list[Spec] = [(1, 0, 0, 0, b"", [(1, [(2, bytes(size))])])]
    built = build(messages, 100_000)
    assert (built == expected(messages)) if fits else (built is None)


def test_a_failure_sticks() -> None:
    # The second message is too large; the third would fit and is still not written.
    small: Spec = (1, 0, 0, 0, b"", [])
    arena = bytearray([CANARY]) * 48
    assert wire.build(arena, [small, (2, 0, 0, 0, bytes(64), []), small]) is None
    assert arena[32:] == bytearray([CANARY]) * 16


def test_too_large_an_attribute_fails_for_good() -> None:
    # nothing of it is written, and neither is the next, which would fit
    arena = bytearray([CANARY]) * 100_000
    assert wire.build(arena, [(1, 0, 0, 0, b"", [(1, bytes(65532)), (2, b"abcd")])]) is None
    assert arena[16:] == bytearray([CANARY]) * (100_000 - 16)


# any u16 goes as a type, flags included
trees = st.recursive(
    st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=9)), max_size=4),
    lambda inner: st.lists(st.tuples(st.integers(0, 0xFFFF), inner | st.binary(max_size=9)), max_size=3),
    max_leaves=12,
)
specs = st.lists(
    st.tuples(
        st.integers(0, 0xFFFF),
        st.integers(0, 0xFFFF),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        st.binary(max_size=21),
        trees,
    ),
    max_size=4,
)


@settings(deadline=None, max_examples=400)
@given(specs, st.integers(0, 8))
def test_building_agrees_with_the_oracle_whenever_it_fits(messages: list[Spec], spare: int) -> None:
    whole = expected(messages)
    assert build(messages, len(whole) + spare) == whole


@settings(deadline=None, max_examples=400)
@given(specs, st.data())
def test_building_fails_in_any_smaller_room(messages: list[Spec], data: st.DataObject) -> None:
    whole = expected(messages)
    if whole:
        assert build(messages, data.draw(st.integers(0, len(whole) - 1))) is None


@settings(deadline=None, max_examples=200)
@given(specs)
def test_what_is_built_is_walked_again(messages: list[Spec]) -> None:
    built = build(messages, 1 << 16)
    assert built is not None
    found, malformed = wire.walk(built)
    assert malformed == 0
    assert [m[2:] for m in found] == [m[:4] for m in messages]
    for (offset, *_), (*_, payload, tree) in zip(found, messages, strict=True):
        attributes, bad = wire.attributes(wire.payload(built[offset:], len(payload)) or b"")
        assert bad == 0
        assert [kind for kind, _, _ in attributes] == [kind & 0x3FFF for kind, _ in tree]
