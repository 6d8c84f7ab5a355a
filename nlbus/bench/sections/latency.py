"""How long an event is on its way: idle and loaded, by blocking recv and by asyncio; and what linger trades.

Two processes play ping-pong, one event of 64 bytes a stroke, and sleep in between; one way is half of a
round trip. Beside them the same pair in C (native/latency.c). "Loaded" means that a process that never sleeps
runs on each of their cores. With linger, events come at a fixed rate, and their way is from when they are due
until after the recv() that brings them, by one clock: a publisher behind its time makes them late, too.

Processes have sessions of their own: Ctrl-C is for us, and we end them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np

from nlbus import Subscriber
from nlbus._typing import Array
from nlbus.bench import pairing
from nlbus.bench.native import NoCompiler, compiled
from nlbus.bench.pairing import Turn, alternate
from nlbus.bench.plans import Progress, Scale
from nlbus.bench.results import Measurement, Missing
from nlbus.bench.sections.latency_peer import STAMP

SECTION = "latency"
TRIPS = {"idle": 200, "loaded": 50}  # a block
FIRST_GROUP = 11  # each pair has two
LINGER_GROUP = 9
PERCENTILES = (50, 99, 99.9)
EDGES_US = np.logspace(0, 5, 101)  # of the histograms: 20 bins a decade, from 1 us to 100 ms
LINGERS = {"quick": (0.0, 0.001), "full": (0.0, 0.0001, 0.001, 0.01)}  # seconds
RATES = {"quick": (20_000.0, 0.0), "full": (1000.0, 20_000.0, 100_000.0, 0.0)}  # events a second; 0: flat out
LINGER_SECONDS = {"quick": 0.15, "full": 1.0}  # a run of these
FLAT_OUT = 200_000  # events a second, by which a run flat out is sized
QUIET = 0.5  # seconds without an event that end a run
CAVEATS = (
    "latency: most of it is the kernel waking a core, which virtual machines make slow; and flat out, it is "
    "the time in the reader's queue.",
    "latency: one way is half of a round trip between two processes that take turns, both of the kind that "
    "is named; in that, nothing can be lost. Loaded: on each of their cores runs a process that never "
    "sleeps, so that waking is quick, and sometimes the wait for the core is long.",
    "latency: what asyncio takes beyond recv is its loop's: a bare reader and a future on a unix socket take "
    "as much beyond that socket's recv.",
    "latency: with linger, an event's way begins when it is due at the given rate, not when its publisher "
    "comes to it; flat out, when it is published.",
)
PEER = (sys.executable, "-m", "nlbus.bench.sections.latency_peer")


class Pair:
    """Two processes, an end each on its core."""

    def __init__(
        self, command: Sequence[str], options: Sequence[str], cores: tuple[int, int], at: int
    ) -> None:
        self.times: list[Array] = []  # one way, ns
        there, back = str(at), str(at + 1)
        self._running: list[subprocess.Popen[bytes]] = []
        try:
            echo = self._start([*command, "echo", there, back, *options], cores[1])
            assert echo.stdout is not None
            if echo.stdout.readline() != b"ready\n":
                raise OSError(f"{command[0]} did not begin")
            self._ping = self._start([*command, "ping", back, there, *options], cores[0])
        except BaseException:
            self.stop()
            raise

    def _start(self, command: list[str], core: int) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )  # fmt: skip
        self._running.append(process)
        os.sched_setaffinity(process.pid, {core})
        return process

    def block(self, trips: int = TRIPS["idle"]) -> Turn:
        """The median of a block counts, not the time of all of it."""
        assert self._ping.stdin is not None
        assert self._ping.stdout is not None
        self._ping.stdin.write(b"%d\n" % trips)
        self._ping.stdin.flush()
        times = np.frombuffer(self._ping.stdout.read(8 * trips), np.int64) / 2
        if len(times) != trips:
            raise OSError("a process of the latency section ended early")
        self.times.append(times)
        return Turn(float(np.median(times)), 1)

    def stop(self) -> None:
        """End both."""
        for process in self._running:
            process.kill()
            process.communicate()


@contextmanager
def pairs(cores: tuple[int, int], kinds: Sequence[str]) -> Iterator[list[Pair]]:
    """Pairs of these kinds, "C", "recv" or "asyncio", which do not hear each other. NoCompiler."""
    with ExitStack() as stack:
        running = []
        for number, kind in enumerate(kinds):
            command, options = ([str(compiled("latency.c"))], []) if kind == "C" else ([*PEER], [kind])
            running.append(Pair(command, options, cores, FIRST_GROUP + 2 * number))
            stack.callback(running[-1].stop)
        yield running


@contextmanager
def busy(cores: Sequence[int]) -> Iterator[None]:
    """A process on each of these that never sleeps."""
    with ExitStack() as stack:
        for core in cores:
            process = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
            stack.callback(process.wait)
            stack.callback(process.kill)
            os.sched_setaffinity(process.pid, {core})
        yield


def measure(plan: Scale, progress: Progress) -> Iterator[Measurement | Missing]:
    """Ping-pong gets two thirds of the seconds, linger the rest."""
    for load in TRIPS:
        progress(f"{SECTION}: ping-pong, {load}")
        yield from ping_pong(plan, load)
    publisher = Paced()
    try:
        for rate in RATES[plan.name]:
            for linger in LINGERS[plan.name]:
                progress(f"{SECTION}: linger {1e3 * linger:g} ms, {offered(rate)}")
                yield lingering(plan, publisher, linger, rate)
    finally:
        publisher.stop()


def distribution(times_us: Array) -> dict[str, Any]:
    """Percentiles and a histogram; what is beyond its ends is in the bins at its ends."""
    percentiles = np.percentile(times_us, PERCENTILES)
    counts, _ = np.histogram(np.clip(times_us, EDGES_US[0], EDGES_US[-1]), EDGES_US)
    return {
        **{f"p{p:g}": float(value) for p, value in zip(PERCENTILES, percentiles, strict=True)},
        "histogram": {"edges": EDGES_US.tolist(), "counts": counts.tolist(), "unit": "us"},
    }


# -- ping-pong --------------------------------------------------------------------------------------


def ping_pong(plan: Scale, load: str) -> Iterator[Measurement | Missing]:
    """C twice, recv and asyncio, in turns."""
    allowed = sorted(os.sched_getaffinity(0))
    cores = allowed[0], allowed[min(1, len(allowed) - 1)]
    kinds = ["C", "C", "recv", "asyncio"]
    try:
        compiled("latency.c")
    except NoCompiler as error:
        yield Missing(SECTION, "C pair", str(error))
        kinds = kinds[2:]
    taken: list[list[float]] = []  # of each round, what each side took one way, us
    with ExitStack() as stack:
        running = stack.enter_context(pairs(cores, kinds))
        if load == "loaded":
            stack.enter_context(busy(sorted(set(cores))))
        sides = [partial(pair.block, TRIPS[load]) for pair in running]
        for _ in alternate(sides, 1, warm_up=0):
            pass  # to warm up: neither medians nor percentiles have it
        for pair in running:
            pair.times.clear()
        for turns in alternate(sides, plan.rounds, warm_up=0, seconds=plan.seconds / 3):
            taken.append([turn.cost / turn.delivered / 1000 for turn in turns])
        all_times = [np.concatenate(pair.times) / 1000 for pair in running]
    in_c = [(one[0] + one[1]) / 2 for one in taken] if "C" in kinds else []
    control = tuple(one[0] / one[1] for one in taken) if in_c else ()
    where = "two cores" if cores[0] != cores[1] else "one core"
    for number, kind in enumerate(kinds):
        if number == 1 and in_c:
            continue  # it is the control
        own = tuple(one[number] for one in taken)
        yield Measurement(
            section=SECTION,
            subject="C pair" if kind == "C" else f"nlbus {kind}",
            work=f"one way, {load}, {where}",
            unit="us",
            samples=own,
            parameters={"load": load, "reader": kind},
            sent=len(all_times[number]),
            delivered=len(all_times[number]),
            ratios=() if kind == "C" else tuple(c / ours for c, ours in zip(in_c, own, strict=False)),
            control=control,
            reference="C pair" if in_c and kind != "C" else "",
            details=distribution(all_times[number]),
        )


# -- linger -----------------------------------------------------------------------------------------


def offered(rate: float) -> str:
    """A rate in words."""
    return f"{rate:,.0f} events/s offered" if rate else "flat out"


class Paced:
    """A process that publishes at a given rate, for as many runs as wanted."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [*PEER, "paced", str(LINGER_GROUP)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise OSError("the publisher of the latency section ended early")
        return line

    def run(self, linger: float, rate: float, count: int) -> tuple[Array, int, dict[str, float]]:
        """The way of each event that came, in us; the datagrams; what the publisher says of itself."""
        assert self._process.stdin is not None
        found: list[Array] = []
        seen = datagrams = lost = 0
        with Subscriber("bus", groups=LINGER_GROUP, on_loss="ignore") as sub:
            self._process.stdin.write(f"{linger} {rate} {count}\n")
            self._process.stdin.flush()
            while seen + lost < count:
                batch = sub.recv(QUIET)
                now = time.monotonic_ns()
                lost += batch.loss.events
                if not len(batch) and not batch.loss:
                    break
                records = batch.records(STAMP)
                found.append((now - records["ns"]) / 1000)
                datagrams += len(batch.messages)
                seen += len(records)
            said = self._line()
        return np.concatenate(found) if found else np.empty(0), datagrams, json.loads(said)

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def lingering(plan: Scale, publisher: Paced, linger: float, rate: float) -> Measurement:
    """What one linger does to latency, datagrams and the publisher's processor time, at one rate."""
    count = max(100, int((rate or FLAT_OUT) * LINGER_SECONDS[plan.name]))
    every = []
    totals: dict[str, float] = {"seconds": 0.0, "cpu": 0.0}
    delivered = datagrams = 0
    runs = min(plan.rounds, pairing.LEAST_ROUNDS)
    for _ in range(runs):
        times, batches, run = publisher.run(linger, rate, count)
        every.append(times)
        delivered += len(times)
        datagrams += batches
        totals = {name: totals[name] + run[name] for name in totals}
    medians = tuple(float(np.median(times)) for times in every if len(times))
    if not medians:
        raise OSError(f"latency: nothing arrived with linger {linger} at {offered(rate)}")
    return Measurement(
        section=SECTION,
        subject="nlbus recv",
        work=f"linger {1e3 * linger:g} ms, {offered(rate)}",
        unit="us",
        samples=medians,
        parameters={"linger": linger, "offered": rate},
        sent=runs * count,
        delivered=delivered,
        lost=runs * count - delivered,
        details={
            **distribution(np.concatenate(every)),
            "events_per_second": runs * count / totals["seconds"],
            "events_per_datagram": delivered / max(datagrams, 1),
            "publisher_cpu_ns_per_event": 1e9 * totals["cpu"] / (runs * count),
        },
    )
