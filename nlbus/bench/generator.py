"""nlbus_gen.ko publishes, somebody receives: one run, timed until the last event was received."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from nlbus import KernelError, Subscriber
from nlbus.bench.native.floor import Ears

GENERATOR = Path("/sys/module/nlbus_gen/parameters")
RECORD = 64
QUIET_NS = 500_000_000  # after this silence, missing events count as lost


class Run(NamedTuple):
    """Events published or refused, events received, and the time; then the time of the publisher alone."""

    sent: int
    delivered: int
    total_ns: int
    publish_ns: int


# Waits this many seconds at most; returns the events received and the events known to be lost.
Ear = Callable[[float], tuple[int, int]]


def check() -> None:
    """KernelError where nlbus_gen.ko is not loaded."""
    if not (GENERATOR / "run").exists():
        raise KernelError(0, "measuring nlbus.ko: load nlbus_gen.ko, from the folder of `make kmod`")


def generate(**settings: object) -> Run:
    """One run of the generator, with or without listeners; `settings` are its parameters."""
    for name, value in ({"call": "publish", "context": "process", "size": RECORD} | settings).items():
        (GENERATOR / name).write_text(str(value))
    (GENERATOR / "run").write_text("1")
    counts = dict(pair.split("=") for pair in (GENERATOR / "run").read_text().split())
    return Run(sum(int(counts[name]) for name in ("taken", "full")), 0, 0, int(counts["ns"]))


def records(sub: Subscriber) -> Ear:
    """Count events, as records in Python."""

    def ear(timeout: float) -> tuple[int, int]:
        batch = sub.recv(timeout=timeout)
        return len(batch.records(f"V{RECORD}")), batch.loss.events

    return ear


def in_c(ears: Ears) -> Ear:
    """Count events of each batch, in C."""
    seen: list[int] = []  # the sequence number after the last event
    poll = select.poll()
    poll.register(ears.socket, select.POLLIN)

    def ear(timeout: float) -> tuple[int, int]:
        if not poll.poll(1000 * timeout) or not (total := ears.bus_sum()).datagrams:
            return 0, 0
        lost = total.seq - seen[0] - total.messages if seen else 0
        seen[:] = [total.seq]
        return total.messages, lost

    return ear


def heard(ears: list[Ear], count: int, **settings: object) -> Run:
    """One run, received meanwhile, until every ear has all events or nothing more arrives."""
    for ear in ears:
        while any(ear(0)):  # late events of an earlier run
            pass
    made: list[Run] = []
    publishing = threading.Thread(target=lambda: made.append(generate(count=count, **settings)))
    missing = [count] * len(ears)
    delivered = 0
    start = last = sign = time.perf_counter_ns()
    publishing.start()
    while any(left > 0 for left in missing) and time.perf_counter_ns() - sign < QUIET_NS:
        for i, ear in enumerate(ears):
            # Do not delay the generator's thread.
            got, lost = ear(0.01 if missing[i] > 0 else 0)
            missing[i] -= got + lost
            delivered += got
            if got or lost:
                sign = time.perf_counter_ns()
            if got:
                last = sign
    publishing.join()
    return made[0]._replace(delivered=delivered, total_ns=last - start)
