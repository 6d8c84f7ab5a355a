"""Plain figures to compare versions by; there is no bar. Mostly in memory, without the kernel.

python -m pytest bench/bench_wire.py --benchmark-autosave    and later    --benchmark-compare
"""

from __future__ import annotations

import socket
import struct

import numpy as np
import pytest
from messages import packed

from nlbus import Batch, Publisher, Subscriber
from nlbus.bench import chains
from nlbus.kernel.requests import attribute, message

REPEATS = 1000  # inside the timed call
EVENTS = 505
ROUTES = 10_000


def walk(source: str, datagrams: list[bytes]) -> int:
    seen = 0
    for _ in range(REPEATS):
        seen += len(Batch.from_datagrams(source, datagrams))
    return seen


@pytest.mark.parametrize("per", [1, 16, 512])
@pytest.mark.parametrize("kind", ["uniform", "varied"])
def bench_walk(benchmark, kind: str, per: int) -> None:
    rng = np.random.default_rng(0)
    source = chains.uniform(per) if kind == "uniform" else chains.varied(per, rng)
    assert benchmark(walk, "raw:2", [source.memory.tobytes()]) == REPEATS * per


@pytest.mark.parametrize("count", [1, EVENTS])
def bench_walk_bus(benchmark, count: int) -> None:
    assert benchmark(walk, "bus", [packed(count)]) == REPEATS * count


@pytest.mark.parametrize("per", [1, 512])
def bench_records_raw(benchmark, per: int) -> None:
    batch = Batch.from_datagrams("raw:2", [chains.uniform(per).memory.tobytes()])

    def records() -> None:
        for _ in range(REPEATS):
            assert len(batch.records(chains.EVENT)) == per

    benchmark(records)


def bench_records_bus(benchmark) -> None:
    batch = Batch.from_datagrams("bus", [packed(EVENTS)])

    def records() -> None:
        for _ in range(REPEATS):
            assert len(batch.records(chains.EVENT)) == EVENTS

    benchmark(records)


def bench_messages(benchmark) -> None:
    """The array is made once a batch, so each call begins with a batch of its own."""
    datagram = chains.uniform(512).memory.tobytes()

    def messages() -> None:
        for _ in range(REPEATS):
            assert len(Batch.from_datagrams("raw:2", [datagram]).messages) == 512

    benchmark(messages)


def bench_events(benchmark) -> None:
    batch = Batch.from_datagrams("bus", [packed(EVENTS)])

    def events() -> None:
        for _ in range(REPEATS):
            assert len(batch.events) == EVENTS

    benchmark(events)


def bench_columns(benchmark) -> None:
    """Routes, decoded to all columns, two of which are looked at."""
    header = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 254, 4, 253, 1, 0)  # struct rtmsg
    one = message(24, header + attribute(1, bytes(4)) + attribute(4, bytes(4)), 0, 0)
    datagrams = [one * ROUTES]

    def table() -> None:
        routes = Batch.from_datagrams("route", datagrams).table("route")
        assert len(routes["dst"]) == len(routes["oif"]) == ROUTES

    benchmark(table)


def bench_publish_many(benchmark, namespace: None) -> None:
    """An array of many datagrams, nobody listens."""
    events = chains.events(100 * EVENTS)
    with Publisher() as pub:
        benchmark(pub.publish_many, events, groups=3)


@pytest.mark.parametrize("count", [EVENTS, 2 * EVENTS + 14])
def bench_publish_and_receive(benchmark, namespace: None, count: int) -> None:
    """Arrays of one datagram, or of datagrams of several lengths, sent and received in one process."""
    events = chains.events(count)
    with Publisher() as pub, Subscriber(groups=3) as sub:

        def both() -> None:
            for _ in range(4):
                pub.publish_many(events, groups=3)
            assert len(sub.recv().records(chains.EVENT)) == 4 * count

        benchmark(both)


def bench_publish(benchmark, namespace: None) -> None:
    """Single events, nobody listens."""
    data = bytes(chains.PAYLOAD)
    with Publisher() as pub:

        def publish() -> None:
            for _ in range(REPEATS):
                pub.publish(data, groups=3)

        benchmark(publish)


def bench_publish_lingering(benchmark, namespace: None) -> None:
    data = bytes(chains.PAYLOAD)
    with Publisher(linger=0.01) as pub:

        def publish() -> None:
            for _ in range(REPEATS):
                pub.publish(data, groups=3)

        benchmark(publish)
