"""A process of the latency section: `python -m nlbus.bench.sections.latency_peer ROLE ARGUMENTS`.

ping|echo GROUP_IN GROUP_OUT recv|asyncio: as latency.c's; ping reads numbers of round trips from stdin, a
line each, and writes as many int64 nanoseconds. paced GROUP: for each line "LINGER RATE COUNT", publishes
that many STAMPs, RATE a second (0: flat out), and prints what it came to as JSON. All but ping say "ready".
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np

from nlbus import AsyncSubscriber, Publisher, Subscriber

STAMP = np.dtype([("seq", "<u8"), ("ns", "<i8"), ("rest", "V48")])  # ns: CLOCK_MONOTONIC when due
ATTENTION = 200_000  # ns before an event is due, from which on we do not sleep


def _answer(times: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
    sys.stdout.buffer.write(times.tobytes())
    sys.stdout.buffer.flush()


def ping(group_in: int, group_out: int) -> None:
    """Round trips, both ways by a blocking recv."""
    data = os.urandom(64)
    with Publisher() as pub, Subscriber("bus", groups=group_in) as sub:
        for line in sys.stdin:
            times = np.empty(int(line), np.int64)
            for i in range(len(times)):
                start = time.perf_counter_ns()
                pub.publish(data, groups=group_out)
                batch = sub.recv()
                times[i] = time.perf_counter_ns() - start
                assert len(batch) == 1
            _answer(times)


def echo(group_in: int, group_out: int) -> None:
    """The other end."""
    data = os.urandom(64)
    with Publisher() as pub, Subscriber("bus", groups=group_in) as sub:
        print("ready", flush=True)
        for batch in sub:
            assert len(batch) == 1
            pub.publish(data, groups=group_out)


async def ping_async(group_in: int, group_out: int) -> None:
    """The same in an event loop of asyncio."""
    data = os.urandom(64)
    with Publisher() as pub:
        async with AsyncSubscriber("bus", groups=group_in) as sub:
            for line in sys.stdin:  # nothing else runs in this loop
                times = np.empty(int(line), np.int64)
                for i in range(len(times)):
                    start = time.perf_counter_ns()
                    pub.publish(data, groups=group_out)
                    batch = await sub.recv()
                    times[i] = time.perf_counter_ns() - start
                    assert len(batch) == 1
                _answer(times)


async def echo_async(group_in: int, group_out: int) -> None:
    """The other end."""
    data = os.urandom(64)
    with Publisher() as pub:
        async with AsyncSubscriber("bus", groups=group_in) as sub:
            print("ready", flush=True)
            async for batch in sub:
                assert len(batch) == 1
                pub.publish(data, groups=group_out)


def paced(group: int) -> None:
    """Runs, until stdin ends."""
    print("ready", flush=True)
    for line in sys.stdin:
        linger, rate, count = line.split()
        print(json.dumps(run(group, float(linger), float(rate), int(count))), flush=True)


def run(group: int, linger: float, rate: float, count: int) -> dict[str, float]:
    """Single events, each with the time when it is due; behind time, those that are due go out at once.

    Flat out, each is due when its turn comes.
    """
    stamp = np.zeros(1, STAMP)
    (seq, ns), data = (stamp["seq"], stamp["ns"]), stamp[0]
    with Publisher(linger=linger) as pub:
        cpu, start = time.process_time(), time.monotonic_ns()
        for i in range(count):
            seq[0] = i
            if rate:
                ns[0] = due = start + int(1e9 * i / rate)
                wait_until(due)
            else:
                ns[0] = time.monotonic_ns()
            pub.publish(data, groups=group)
        pub.flush()
        seconds, cpu = (time.monotonic_ns() - start) / 1e9, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu}


def wait_until(due: int) -> None:
    """Sleep, and at the end look at the clock: waking takes longer than what is between two events."""
    while (left := due - time.monotonic_ns()) > 0:
        if left > ATTENTION:
            time.sleep((left - ATTENTION) / 1e9)


def main(role: str, *arguments: str) -> None:
    """Play a role."""
    if role == "paced":
        paced(int(arguments[0]))
        return
    group_in, group_out = map(int, arguments[:2])
    if arguments[2] == "asyncio":
        asyncio.run({"ping": ping_async, "echo": echo_async}[role](group_in, group_out))
    else:
        blocking: dict[str, Callable[[int, int], None]] = {"ping": ping, "echo": echo}
        blocking[role](group_in, group_out)


if __name__ == "__main__":
    main(*sys.argv[1:])
