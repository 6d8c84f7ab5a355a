"""Any bytes: the compiled code agrees with the oracle and never reads outside its input.

The input lies next to an inaccessible page, once before it and once behind it: reading one byte
too many crashes the test process.
"""

import ctypes
import mmap
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nlbus._wire import wire
from tests.support import reference
from tests.support.reference import U64_MAX, bus_batch, chain, kernel_chain, message

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
PROT_NONE = 0
PAGE = mmap.PAGESIZE


class Edge:
    """Memory between two inaccessible pages. It is never freed."""

    def __init__(self, pages: int = 256) -> None:
        self.size = pages * PAGE
        base = libc.mmap(None, self.size + 2 * PAGE, PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        self.start = base + PAGE
        if libc.mprotect(self.start, self.size, mmap.PROT_READ | mmap.PROT_WRITE):
            raise OSError(ctypes.get_errno(), "mprotect")

    def _view(self, start: int, length: int) -> memoryview:
        assert length <= self.size
        return memoryview((ctypes.c_uint8 * length).from_address(start)).cast("B")

    def last(self, length: int) -> memoryview:
        """The last bytes; those behind them are inaccessible."""
        return self._view(self.start + self.size - length, length)

    def first(self, length: int) -> memoryview:
        """The first bytes; those before them are inaccessible."""
        return self._view(self.start, length)

    def places(self, data: bytes) -> Iterator[memoryview]:
        """The same bytes at one end, then at the other; large ones overlap, so use one at a time."""
        for place in (self.last, self.first):
            view = place(len(data))
            view[:] = data
            yield view


EDGE = Edge()
EDGE_2 = Edge()


@pytest.mark.parametrize("where", ["EDGE.last(16)[-1:]", "EDGE.first(16)[:1]"])
def test_the_guard_works(where: str) -> None:
    # one byte inside is readable; its neighbour outside kills the process
    step = 1 if "last" in where else -1
    code = (
        "import ctypes\nfrom tests.unit.wire.test_wire_fuzz import EDGE\n"
        f"at = ctypes.addressof(ctypes.c_uint8.from_buffer({where}))\n"
        "ctypes.string_at(at, 1); print('inside', flush=True)\n"
        f"ctypes.string_at(at + {step}, 1); print('outside', flush=True)\n"
    )
    root = Path(__file__).parents[3]
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=False)
    assert (ran.stdout, ran.returncode) == (b"inside\n", -signal.SIGSEGV), ran.stderr.decode()


def check(data: bytes) -> None:
    """Run everything that reads on data at both edges, and compare with the oracle."""
    for view in EDGE.places(data):
        assert wire.walk(view) == reference.walk(data)
        assert wire.attributes(view) == reference.attributes(data)
        assert wire.parse_chain(view) == reference.parse_chain(data)
        for header in (0, 1, 12, 100):
            assert wire.payload(view, header) == reference.payload(data, header)
    if len(data) >= 96:
        head, rest = data[16:96], data[96:]
        found = reference.parse_batch(head, rest)
        for a, b in zip(EDGE.places(head), EDGE_2.places(rest), strict=True):
            assert wire.parse_batch(a, b) == found


BOUNDARIES = [0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 79, 80, 81, 88, 95, 96, 97, 65535, 65536]
LARGE = [2**31 - 1, 2**31, 2**32 - 97, 2**32 - 16, 2**32 - 4, 2**32 - 3, 2**32 - 1]
u16s = st.sampled_from(BOUNDARIES[:-1]) | st.integers(0, 0xFFFF)
u32s = st.sampled_from(BOUNDARIES + LARGE) | st.integers(0, 40) | st.integers(0, 2**32 - 1)
u64s = st.sampled_from([0, 1, 2**63, U64_MAX - 65535, U64_MAX - 1, U64_MAX]) | st.integers(0, U64_MAX)
small = st.integers(0, 9)


@st.composite
def valid_batches(draw: st.DrawFn) -> bytes:
    """Valid batches of every layout."""
    trailing, grown = bytes(draw(st.integers(0, 7))), bytes(8 * draw(st.integers(0, 2)))
    if draw(st.booleans()):
        var = draw(st.lists(st.binary(max_size=9), max_size=9))
        times = draw(st.none() | st.lists(u32s, min_size=len(var), max_size=len(var)))
        return bus_batch(var=var, times=times, trailing=trailing, grown=grown)
    count, size = draw(small), draw(st.integers(1, 9))
    times = draw(st.none() | st.lists(u32s, min_size=count, max_size=count))
    records = draw(st.binary(min_size=count * size, max_size=count * size))
    return bus_batch(records, count=count, record_size=size, times=times, trailing=trailing, grown=grown)


@st.composite
def hostile_batches(draw: st.DrawFn) -> bytes:
    """Batches with arbitrary headers and offsets."""
    wrong: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "count": small | u32s,
                "record_size": small | u32s,
                "flags": st.integers(0, 7) | u32s,
                "header_len": st.sampled_from([80, 88, 96]) | u16s,
                "first_seq": u64s,
                "dgram_seq": u64s,
                "groups": u32s,
                "magic": u32s,
                "version": u16s,
                "nlmsg_len": u32s,
            },
        )
    )
    offsets = draw(st.none() | st.lists(st.integers(0, 24) | u32s, min_size=1, max_size=9))
    if offsets is not None and draw(st.booleans()):
        offsets.sort()
    times = draw(st.none() | st.lists(u32s, max_size=9))
    body, trailing = draw(st.binary(max_size=48)), draw(st.binary(max_size=16))
    return bus_batch(body, **{"record_size": 0} | wrong, offsets=offsets, times=times, trailing=trailing)


@st.composite
def kernel_messages(draw: st.DrawFn) -> bytes:
    """Messages of another kind, with attributes."""
    tree = draw(st.lists(st.tuples(u16s, st.binary(max_size=9)), max_size=4))
    return message(draw(st.sampled_from([1, 2, 3, 0x10, 0x11])), draw(st.binary(max_size=20)), tree=tree)


@st.composite
def mutated_chains(draw: st.DrawFn) -> bytes:
    """Valid chains with a few words or bytes replaced, inserted or cut."""
    messages = draw(st.lists(valid_batches() | kernel_messages(), min_size=1, max_size=4))
    data = bytearray(draw(st.sampled_from([chain, kernel_chain]))(*messages))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["word", "word", "half", "byte", "insert", "cut"])):
            case "word":
                data[at & ~3 : (at & ~3) + 4] = draw(u32s).to_bytes(4, sys.byteorder)
            case "half":
                data[at & ~1 : (at & ~1) + 2] = draw(u16s).to_bytes(2, sys.byteorder)
            case "byte":
                data[at : at + 1] = draw(st.binary(max_size=1))
            case "insert":
                data[at:at] = draw(st.binary(max_size=20))
            case "cut":
                del data[at:]
    return bytes(data)


FUZZ = settings(deadline=None, max_examples=600)


@FUZZ
@given(st.binary(max_size=300))
@example(b"")
def test_random_bytes_agree_with_the_oracle(data: bytes) -> None:
    check(data)


@FUZZ
@given(st.lists(st.tuples(u32s, st.binary(max_size=24)), max_size=6))
def test_random_lengths_agree_with_the_oracle(parts: list[tuple[int, bytes]]) -> None:
    check(b"".join(length.to_bytes(4, sys.byteorder) + rest for length, rest in parts))


@FUZZ
@given(st.lists(st.tuples(st.integers(0, 12) | u16s, u16s, st.binary(max_size=12)), max_size=8))
def test_random_attributes_agree_with_the_oracle(parts: list[tuple[int, int, bytes]]) -> None:
    check(b"".join(reference.ATTRIBUTE.pack(length, kind) + rest for length, kind, rest in parts))


@FUZZ
@given(st.lists(valid_batches(), min_size=1, max_size=4))
def test_valid_batches_are_accepted(batches: list[bytes]) -> None:
    # one batch alone: in a chain, 7 trailing bytes and the chain's own padding may reach 8 or more
    for batch in batches:
        check(batch)
        assert [b[0] for b in wire.parse_chain(batch)[0]] == [0]
    check(chain(*batches))


@FUZZ
@given(st.lists(hostile_batches(), min_size=1, max_size=3))
def test_hostile_batches_agree_with_the_oracle(batches: list[bytes]) -> None:
    check(chain(*batches))


@FUZZ
@given(mutated_chains())
def test_mutated_chains_agree_with_the_oracle(data: bytes) -> None:
    check(data)


def test_a_chain_may_be_cut_anywhere() -> None:
    data = chain(
        bus_batch(bytes(24), record_size=8, times=[1, 2, 3]),
        bus_batch(var=[b"abc", b"", b"de"], times=[1, 2, 3]),
        bus_batch(var=[]),
        message(3, b"abcd", tree=[(1, b"x"), (2, [(3, b"yz")])]),
    )
    for end in range(len(data) + 1):
        check(data[:end])


def test_the_largest_batch_is_read_up_to_the_edge() -> None:
    # all 65536 offsets and 65535 times are read
    count = reference.MAX_COUNT
    check(bus_batch(offsets=[0] * (count + 1)))
    check(bus_batch(offsets=[0] * (count + 1), times=range(count)))
