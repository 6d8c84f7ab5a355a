"""One publisher and 1, 4, 16 subscribers, end to end: the cost of a delivery."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import bars
import pytest

from nlbus import Publisher, Subscriber
from nlbus.bench import chains
from nlbus.bench.native.floor import HEAD, Ears, Voice, library
from nlbus.bench.reading import Reader

LENGTH = 32448
PER = (LENGTH - HEAD) // chains.EVENT.itemsize
DATAGRAMS = 64  # between two drains
OURS, FLOOR, AGAIN = 1, 2, 3  # groups: the sides do not hear each other
COUNTS = (1, 4, 16)


@pytest.mark.parametrize("count", COUNTS)
def bench_lock_step(benchmark, one_core, count: int) -> None:
    """In one process: publish 64 datagrams, then let each subscriber drain them."""
    events = chains.events(PER * DATAGRAMS)
    with ExitStack() as stack:
        voice = stack.enter_context(Voice())
        pub = stack.enter_context(Publisher())

        def c_side(group: int):
            ears = [stack.enter_context(Ears(1 << (group - 1), LENGTH)) for _ in range(count)]

            def work() -> int:
                voice.send(group, events, PER)
                return sum(ear.bus() for ear in ears)

            return work

        readers = [
            Reader(stack.enter_context(Subscriber("bus", groups=OURS)), chains.EVENT, False)
            for _ in range(count)
        ]

        def ours() -> int:
            pub.publish_many(events, groups=OURS)
            return sum(reader.drain() for reader in readers)

        result = bars.Result(f"1 publisher, {count} subscribers, {PER} a datagram", 1 / 1.2, "delivery")
        bars.compare(
            result,
            bars.timed(c_side(FLOOR)),
            bars.timed(c_side(AGAIN)),
            bars.timed(ours, lambda: sum(reader.lost for reader in readers)),
            before=lambda: count * len(events),
        )
        benchmark.extra_info["ratio"] = result.ratio
        benchmark.pedantic(ours, rounds=5)
        bars.judge(result)


@pytest.mark.parametrize("count", COUNTS)
def bench_processes(benchmark, namespace: None, count: int) -> None:
    """Printed only: each in its own process, the publisher as fast as it can."""
    lines = {}

    def both() -> None:
        lines["C"] = processes(count, "c")
        lines["nlbus"] = processes(count, "nlbus")

    benchmark.pedantic(both, rounds=1)
    bars.REMARKS.append(f"processes: 1 publisher, {count} subscribers, {os.cpu_count()} cores, not paced")
    for who, line in lines.items():
        bars.REMARKS.append(f"  {who:6}{line}")


def processes(count: int, side: str) -> str:
    library()  # compiled once, here
    command = [sys.executable, str(Path(__file__).parent / "peer.py"), side]
    ears = [subprocess.Popen([*command, "hear"], stdout=subprocess.PIPE, text=True) for _ in range(count)]
    for ear in ears:
        assert ear.stdout.readline() == "ready\n"
    voice = json.loads(subprocess.run([*command, "say"], check=True, capture_output=True).stdout)
    heard = [json.loads(ear.communicate()[0]) for ear in ears]
    delivered = sum(one["events"] for one in heard)
    cpu = voice["cpu"] + sum(one["cpu"] for one in heard)
    return (
        f"sent {voice['events'] / voice['seconds'] / 1e6:6.1f} M events/s, delivered {delivered:,} of "
        f"{count * voice['events']:,}, {1e9 * cpu / delivered:.1f} ns of processor a delivery"
    )
