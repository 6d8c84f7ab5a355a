"""Sequence, order and packing of kernel events, byte for byte by uapi/nlbus.h."""

import struct
import time
from collections.abc import Callable

import numpy as np
import pytest

from tests.guest.helpers import (
    HEAD,
    MAX_DATAGRAM,
    MAX_EVENT,
    SLOW,
    Datagram,
    Ledger,
    Tap,
    event,
    generate,
    numbers,
    order,
    payloads,
)  # fmt: skip
from tests.support import reference

Open = Callable[..., Tap]
Reload = Callable[..., None]


def headers(datagrams: list[Datagram]) -> list[dict[str, int]]:
    """Of all batches that have events."""
    found = [batch.header for datagram in datagrams for batch in datagram.batches]
    return [header for header in found if header and header["count"]]


@pytest.mark.timeout(300)
def test_a_million_events_have_exact_sequences(tap: Open) -> None:
    """Those that the ring had no room for are missing by their numbers, and no others."""
    one = tap(1, buffer=1 << 29)
    total = 1_000_000 // SLOW
    outcome = generate(count=total, size=16)
    assert outcome.accepted + outcome.full == total
    ledger, came = Ledger(), []
    for datagram in one.drain(0.5):
        for batch in ledger.take(datagram):
            came.append(np.frombuffer(batch.data or b"", "<u8")[::2])
    sequence = np.concatenate(came)
    assert one.dropped() == 0
    assert len(sequence) == outcome.accepted == ledger.events
    assert ledger.lost == outcome.full
    assert (np.diff(sequence.astype(np.int64)) > 0).all()


@pytest.mark.timeout(120)
def test_at_a_rate_that_the_worker_follows_nothing_is_lost(tap: Open) -> None:
    one = tap(1)
    outcome = generate(count=5000, size=24, rate=20_000 // SLOW)
    assert outcome == (5000, 0, 0, 0)
    got = payloads(one.until(5000))
    assert [struct.unpack_from("=Q", data)[0] for data in got] == list(range(5000))


def test_order_is_kept_for_a_cpu_and_its_threads_events_are_whole(tap: Open) -> None:
    one = tap(5)
    outcome = generate(count=2000, groups=0b10000, threads=2, size=40, type=9)
    got = np.frombuffer(
        b"".join(payloads(one.drain())),
        [("number", "<u8"), ("thread", "<u4"), ("cpu", "<u4"), ("rest", "V24")],
    )
    assert len(got) == outcome.accepted
    for thread in (0, 1):
        own = got[got["thread"] == thread]["number"].astype(np.int64)
        assert (np.diff(own) > 0).all()
    assert set(got["rest"].tolist()) == {bytes(24)}


def test_events_of_a_burst_share_datagrams_up_to_chain_bytes(tap: Open) -> None:
    one = tap(1)
    order("publish", 1, size=64, count=2000)
    got = one.until(2000)
    assert list(numbers(got)) == list(range(2000))
    assert max(len(d.data) for d in got) <= MAX_DATAGRAM
    assert len(got) < 200  # far fewer than events


@pytest.mark.parametrize("chain_bytes", [512, 4096])
def test_chain_bytes_bounds_datagrams_of_several_events(reload: Reload, tap: Open, chain_bytes: int) -> None:
    reload(chain_bytes=chain_bytes)
    one = tap(1)
    order("publish", 1, size=64, count=500)
    order("publish", 1, size=5000, first=500)
    got = one.until(501)
    assert list(numbers(got)) == list(range(501))
    several = [d for d in got if d.header["count"] > 1]
    assert several
    assert max(len(d.data) for d in several) <= chain_bytes
    assert max(len(d.data) for d in got) == HEAD + 5000


def test_linger_gathers_events_that_come_apart_and_gives_each_its_time(reload: Reload, tap: Open) -> None:
    reload(linger_us=500_000)
    one = tap(1)
    start = time.time_ns()
    for i in range(5):
        order("publish", 1, first=i)
        time.sleep(0.02)
    end = time.time_ns()
    assert one.receive(0.1) is None
    datagram = one.receive(2 * SLOW)
    assert datagram is not None
    [batch] = datagram.batches
    assert batch.events == [event(i) for i in range(5)]
    assert batch.header is not None
    assert batch.times is not None
    assert batch.times[0] == 0
    assert all(
        later - earlier > 15_000_000 for earlier, later in zip(batch.times, batch.times[1:], strict=False)
    )
    times = [batch.header["time_ns"] + delta for delta in batch.times]
    assert start - 10**7 < times[0]
    assert times[-1] < end + 10**7


def test_a_batch_has_the_time_of_its_first_event_up_to_a_tick(tap: Open) -> None:
    one = tap(1)
    tick = 11 * 10**6
    for burst in (1, 1, 2000):
        start = time.time_ns()
        order("publish", 1, count=burst)
        end = time.time_ns()
        times = [datagram.header["time_ns"] for datagram in one.until(burst)]
        assert min(times) > start - tick
        assert max(times) < end
        assert one.drain()  # heartbeat


def test_linger_ends_when_the_datagram_is_full(reload: Reload, tap: Open) -> None:
    reload(linger_us=5_000_000, chain_bytes=1024)
    one = tap(1)
    order("publish", 1, size=100, count=30)
    got = one.receive(2 * SLOW)
    assert got is not None
    assert len(got.data) <= 1024


def test_without_linger_records_are_plain(tap: Open) -> None:
    one = tap(1)
    order("publish", 1, size=24, count=300)
    for header in headers(one.drain()):
        assert header["flags"] == 0
        assert header["record_size"] == 24


def test_lengths_that_vary_go_into_one_batch(tap: Open) -> None:
    """An interrupted drain may end a batch early, hence so many."""
    one = tap(2)
    for size in (*range(9), 100, 7, 3000):
        order("publish", 2, size=size, first=size)
    got = one.drain()
    assert payloads(got) == [event(size, size) for size in (*range(9), 100, 7, 3000)]


@pytest.mark.parametrize("size", [0, 1, 7, MAX_EVENT - 1, MAX_EVENT])
@pytest.mark.parametrize("how", ["publish", "reserve"])
def test_any_size_from_0_to_the_largest(tap: Open, size: int, how: str) -> None:
    one = tap(32)
    assert order(how, 32, size=size, count=3, first=2**40).accepted == 3
    assert payloads(one.drain()) == [event(2**40 + i, size) for i in range(3)]


def test_types_are_told_apart_in_one_stream(tap: Open) -> None:
    one = tap(1, 2)
    for i, kind in enumerate((0x100, 0x100, 0xFFFFFFFF, 0, 0x100)):
        order("publish", 1, 2, type=kind, first=i, size=13)
    ledger, came = Ledger(), []
    for datagram in one.drain():
        for batch in ledger.take(datagram):
            assert batch.header is not None
            came += [batch.header["type"]] * batch.header["count"]
    assert came == [0x100, 0x100, 0xFFFFFFFF, 0, 0x100]
    assert (len(ledger.streams), ledger.lost) == (1, 0)


def test_padding_is_zero(tap: Open) -> None:
    """Between the messages of a chain, and before times."""
    one = tap(1)
    for i in range(200):
        order("publish", 1, type=i % 3, size=1 + i % 11, first=2**64 - 1)
    for datagram in one.drain():
        messages, _ = reference.walk(datagram.data)
        for message, batch in zip(messages, datagram.batches, strict=True):
            used = HEAD + len(batch.data or b"") + 4 * len(batch.offsets or ()) + 4 * len(batch.times or ())
            padding = datagram.data[message.offset + used : message.offset + message.length]
            assert padding == bytes(len(padding))
            assert (message.flags, message.seq, message.portid) == (0, 0, 0)


def test_discarded_events_never_were(tap: Open) -> None:
    one = tap(1)
    assert order("discard", 1, count=100).accepted == 100
    got = one.drain()
    assert list(numbers(got)) == list(range(0, 100, 2))
    ledger = Ledger()
    for datagram in got:
        ledger.take(datagram)
    assert (ledger.events, ledger.lost) == (50, 0)


def test_a_reserved_event_that_is_not_written_is_zero(reload: Reload, tap: Open) -> None:
    """Not what the ring held before, which may be events for others."""
    reload(buffer_bytes=65536)
    one, other = tap(1), tap(2)
    for first in range(1, 201, 50):
        order("publish", 2, size=1000, count=50, first=first)
        other.until(50)
    order("blank", 1, size=1000)
    assert payloads(one.drain()) == [bytes(1000)]


def test_a_registered_types_fingerprint_is_on_the_wire(tap: Open) -> None:
    one = tap(1)
    order("register", type=0x123, first=0xFEED_FACE_CAFE_BEEF)
    try:
        order("publish", 1, type=0x123)
        order("publish", 1, type=0x124)
        with pytest.raises(OSError, match="busy"):
            order("register", type=0x123, first=1)
    finally:
        order("unregister", type=0x123)
    order("publish", 1, type=0x123)
    prints = [(header["type"], header["fingerprint"]) for header in headers(one.drain())]
    assert prints == [(0x123, 0xFEED_FACE_CAFE_BEEF), (0x124, 0), (0x123, 0)]


def test_an_idle_stream_says_how_far_it_has_come_once(tap: Open) -> None:
    one = tap(1)
    order("publish", 1, count=3)
    *events, heartbeat = one.drain()
    assert heartbeat.header["count"] == 0
    assert heartbeat.header["first_seq"] == 3
    assert heartbeat.header["dgram_seq"] == events[-1].header["dgram_seq"] + 1
    assert one.receive(1) is None


def test_a_late_subscriber_has_its_baseline_and_no_loss(tap: Open) -> None:
    first = tap(1)
    order("publish", 1, count=5)
    first.drain()
    late = tap(1)
    order("publish", 1, count=5, first=5)
    got = late.drain()
    assert list(numbers(got)) == [5, 6, 7, 8, 9]
    assert got[0].header["first_seq"] == 5


def test_more_masks_than_streams_are_still_told_exactly(tap: Open) -> None:
    """Beyond the bound the least recently used stream ends, and starts again as another."""
    one = tap(*range(1, 33))
    masks = [(1 + i % 31, 32, 1 + i // 31) for i in range(600)]
    for _ in range(2):
        for i, groups in enumerate(masks):
            order("publish", *set(groups), first=i)
    ledger = Ledger()
    for datagram in one.drain():
        ledger.take(datagram)
    assert (ledger.events, ledger.lost) == (1200, 0)
