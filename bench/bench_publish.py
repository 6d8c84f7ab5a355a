"""Publishing to one listener, which is drained outside the timed part."""

from __future__ import annotations

from collections.abc import Callable

import bars
import numpy as np
import pytest

from nlbus import Publisher
from nlbus.bench import chains
from nlbus.bench.native.floor import HEAD, Ears, Voice
from nlbus.kernel.truesize import truesize

GROUP = 5
FULL = 32448
SIZE = chains.EVENT.itemsize
ONE = HEAD + SIZE + 16  # datagram_bytes for one event a datagram: an event may need 16 bytes more
GROUPS = 8
SHOWN = 5


def fitting(ears: Ears, wanted: int, per: int) -> np.ndarray:
    """Events for as many datagrams as wanted, if the listener's buffer holds them."""
    datagrams = min(wanted, int(0.9 * ears.granted) // truesize(HEAD + per * SIZE))
    return chains.events(per * datagrams)


def run(benchmark, result: bars.Result, ears: Ears, sides: tuple[Callable[[], int], ...]) -> None:
    """All three sides send; the listener counts what arrived, after each of them."""
    arrived = 0

    def heard(expected: int) -> int:
        nonlocal arrived
        arrived = ears.bus()
        return expected - arrived

    def side(work: Callable[[], int]) -> Callable[[], bars.Turn]:
        send = bars.timed(work)

        def turn() -> bars.Turn:
            done = send()
            missing = heard(done.delivered)
            return bars.Turn(done.cost, done.delivered - missing, missing)

        return turn

    ears.bus()
    bars.compare(result, *map(side, sides))
    benchmark.extra_info["ratio"] = result.ratio
    benchmark.pedantic(sides[2], setup=lambda: heard(0) and None, rounds=SHOWN)
    bars.judge(result)


@pytest.mark.parametrize(("limit", "wanted", "bar"), [(FULL, 1024, 0.90), (ONE, 4096, 0.85)])
def bench_publish_many(benchmark, one_core, limit: int, wanted: int, bar: float) -> None:
    per = (limit - HEAD) // SIZE
    with Ears(1 << (GROUP - 1), FULL) as ears, Voice() as floor, Voice() as again:
        events = fitting(ears, wanted, per)
        with Publisher(datagram_bytes=limit) as pub:

            def ours() -> int:
                pub.publish_many(events, groups=GROUP)
                return len(events)

            result = bars.Result(f"publish_many, {per} a datagram", bar)
            sides = (lambda: floor.send(GROUP, events, per), lambda: again.send(GROUP, events, per), ours)
            run(benchmark, result, ears, sides)


def bench_masks(benchmark, one_core) -> None:
    """8 masks of one group each, shuffled over the rows, beside one mask for all of them.

    As many deliveries on both sides: the listener is in all 8 groups. The base is nlbus too, not C.
    """
    rng = np.random.default_rng(8)
    per = (FULL - HEAD) // SIZE
    with Ears((1 << GROUPS) - 1, FULL) as ears:
        events = fitting(ears, 1024, per)
        masks = (1 << rng.integers(0, GROUPS, len(events))).astype(np.uint32)
        with Publisher() as pub, Publisher() as again, Publisher() as masked:

            def one(publisher: Publisher) -> Callable[[], int]:
                def send() -> int:
                    publisher.publish_many(events, groups=1)
                    return len(events)

                return send

            def ours() -> int:
                masked.publish_many(events, masks=masks)
                return len(events)

            result = bars.Result("publish_many(masks=), 8 masks shuffled, of one mask's rate", 0.50)
            run(benchmark, result, ears, (one(pub), one(again), ours))
