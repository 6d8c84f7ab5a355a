"""From publish in one process to recv returned in another, and back; one way is half of it."""

from __future__ import annotations

import os

import bars
import numpy as np
import pytest

from nlbus.bench.sections.latency import Pair, pairs


def percentiles(pair: Pair) -> str:
    times = np.concatenate(pair.times) / 1000
    p50, p99 = np.percentile(times, (50, 99))
    return f"p50 {p50:.1f} us, p99 {p99:.1f} us one way, {len(times):,} round trips"


@pytest.mark.parametrize("where", ["two cores", "one core"])
def bench_latency(benchmark, namespace: None, where: str) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if where == "two cores" and len(cores) == 1:
        pytest.skip("needs two cores")
    place = (cores[0], cores[1]) if where == "two cores" else (cores[0], cores[0])
    bar = 1 / 1.3 if where == "two cores" else 0.0
    result = bars.Result(f"latency, one way, p50, both asleep, {where}", bar, "message")
    with pairs(place, ("C", "C", "recv")) as (floor, again, ours):
        bars.compare(result, floor.block, again.block, ours.block)
        bars.REMARKS.append(f"latency, {where}: C {percentiles(floor)}; nlbus {percentiles(ours)}")
        benchmark.extra_info["ratio"] = result.ratio
        benchmark.pedantic(ours.block, rounds=5)
    bars.judge(result)
