"""Receiving: the queues are filled first, then each drain is timed."""

from __future__ import annotations

from collections.abc import Callable

import bars
import numpy as np
import pytest

from nlbus import Publisher, Subscriber
from nlbus.bench import chains
from nlbus.bench.native.floor import HEAD, Ears, Voice
from nlbus.bench.reading import Reader, amount

GROUP = 5
MASK = 1 << (GROUP - 1)
SHOWN = 5  # rounds for pytest-benchmark's own figures


def run(
    benchmark,
    result: bars.Result,
    sides: tuple[Callable[[], int], Callable[[], int], Reader],
    fill: Callable[[], int],
) -> None:
    floor, again, reader = sides

    def absolute() -> None:
        floor()
        again()
        fill()

    bars.compare(
        result,
        bars.timed(floor),
        bars.timed(again),
        bars.timed(reader.drain, lambda: reader.lost),
        before=fill,
    )
    benchmark.extra_info["ratio"] = result.ratio
    benchmark.pedantic(reader.drain, setup=absolute, rounds=SHOWN)
    bars.judge(result)


@pytest.mark.parametrize(("per", "wanted", "bar"), [(1, 4096, 0.95), (16, 3072, 0.93), (512, 512, 0.80)])
def bench_uniform(benchmark, one_core, per: int, wanted: int, bar: float) -> None:
    rng = np.random.default_rng(per)
    source = chains.uniform(1 << 16)
    length = per * (chains.HEADER.itemsize + chains.PAYLOAD)
    with Ears(MASK, length) as floor, Ears(MASK, length) as again, Voice() as voice:
        count = amount(floor, wanted, length)

        def fill() -> int:
            voice.post(GROUP, source.memory, *source.datagrams(count, per, rng))
            return count * per

        with Subscriber("raw:2", groups=GROUP) as sub:
            result = bars.Result(f"raw:2, messages and records, {per} uniform a datagram", bar, "message")
            run(benchmark, result, (floor.walk, again.walk, Reader(sub, chains.EVENT, True)), fill)


def bench_varied(benchmark, one_core) -> None:
    per = 512
    rng = np.random.default_rng(1)
    source = chains.varied(1 << 17, rng)
    longest = per * (chains.HEADER.itemsize + 80)
    with Ears(MASK, longest) as floor, Ears(MASK, longest) as again, Voice() as voice:
        count = amount(floor, 512, longest)

        def fill() -> int:
            starts, lengths = source.datagrams(count, per, rng)
            assert lengths.max() <= longest
            voice.post(GROUP, source.memory, starts, lengths)
            return count * per

        with Subscriber("raw:2", groups=GROUP) as sub:
            result = bars.Result("raw:2, messages, 512 of varying length a datagram", 0.60, "message")
            run(benchmark, result, (floor.walk, again.walk, Reader(sub, None, True)), fill)


def bench_bus(benchmark, one_core) -> None:
    length = 32448
    per = (length - HEAD) // chains.EVENT.itemsize
    with Ears(MASK, length) as floor, Ears(MASK, length) as again, Publisher() as pub:
        events = chains.events(per * amount(floor, 1024, length))

        def fill() -> int:
            pub.publish_many(events, groups=GROUP)
            return len(events)

        with Subscriber("bus", groups=GROUP) as sub:
            result = bars.Result(f"bus, records, {per} packed a datagram", 0.90)
            run(benchmark, result, (floor.bus, again.bus, Reader(sub, chains.EVENT, False)), fill)
