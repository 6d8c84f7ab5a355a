"""From publish in one process to recv returned in another, and back; one way is half of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bars
import numpy as np
import pytest

from nlbus.bench.native import compiled

TRIPS = 200  # a block
PEER = Path(__file__).parent / "peer.py"


class Pair:
    """Two processes that play ping-pong, and sleep between the strokes."""

    def __init__(self, command: list[str], cores: tuple[int, int], groups: tuple[int, int]) -> None:
        there, back = map(str, groups)
        self.echo = self._start([*command, "echo", there, back], cores[1])
        assert self.echo.stdout.readline() == b"ready\n"
        self.ping = self._start([*command, "ping", back, there], cores[0])
        self.times: list[np.ndarray] = []

    @staticmethod
    def _start(command: list[str], core: int) -> subprocess.Popen:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        os.sched_setaffinity(process.pid, {core})
        return process

    def block(self) -> bars.Turn:
        """The median of a block's round trips, halved: that is what counts, not the time of all."""
        self.ping.stdin.write(b"%d\n" % TRIPS)
        self.ping.stdin.flush()
        times = np.frombuffer(self.ping.stdout.read(8 * TRIPS), np.int64) / 2
        self.times.append(times)
        return bars.Turn(float(np.median(times)), 1)

    def percentiles(self) -> str:
        p50, p99 = np.percentile(np.concatenate(self.times), (50, 99)) / 1000
        return f"p50 {p50:.1f} us, p99 {p99:.1f} us one way, {sum(map(len, self.times)):,} round trips"

    def stop(self) -> None:
        for process in (self.ping, self.echo):
            process.kill()
            process.communicate()


@contextmanager
def pairs(cores: tuple[int, int]) -> Iterator[tuple[Pair, Pair, Pair]]:
    in_c = [str(compiled("latency.c"))]
    in_python = [sys.executable, str(PEER), "nlbus"]
    running = []
    try:
        for command, groups in ((in_c, (11, 12)), (in_c, (13, 14)), (in_python, (15, 16))):
            running.append(Pair(command, cores, groups))
        yield tuple(running)
    finally:
        for pair in running:
            pair.stop()


@pytest.mark.parametrize("where", ["two cores", "one core"])
def bench_latency(benchmark, namespace: None, where: str) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if where == "two cores" and len(cores) == 1:
        pytest.skip("needs two cores")
    place = (cores[0], cores[1]) if where == "two cores" else (cores[0], cores[0])
    bar = 1 / 1.3 if where == "two cores" else 0.0
    result = bars.Result(f"latency, one way, p50, both asleep, {where}", bar, "message")
    with pairs(place) as (floor, again, ours):
        bars.compare(result, floor.block, again.block, ours.block)
        bars.REMARKS.append(f"latency, {where}: C {floor.percentiles()}; nlbus {ours.percentiles()}")
        benchmark.extra_info["ratio"] = result.ratio
        benchmark.pedantic(ours.block, rounds=5)
    bars.judge(result)
