"""Plain figures to compare versions by; there is no bar. Mostly in memory, without the kernel.

python -m pytest bench/bench_wire.py --benchmark-autosave    and later    --benchmark-compare
"""

from __future__ import annotations

import numpy as np
import pytest

from nlbus import Batch, Publisher
from nlbus.bench import chains
from nlbus.bench.native.floor import HEAD, new_batch

REPEATS = 1000  # inside the timed call
EVENTS = 505


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


def packed(count: int) -> bytes:
    """One datagram of the bus."""
    batch = new_batch(1, chains.EVENT.itemsize)
    batch["count"] = count
    header = np.zeros(1, chains.HEADER)
    header["len"] = HEAD + count * chains.EVENT.itemsize
    header["type"] = 0x10
    return header.tobytes() + batch.tobytes() + chains.events(count).tobytes()


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
