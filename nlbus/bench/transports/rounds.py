"""The section: for each job, rounds in which all transports take turns."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

from nlbus.bench.pairing import williams
from nlbus.bench.plans import Progress, Scale
from nlbus.bench.results import Measurement, Missing
from nlbus.bench.transports.crew import Crew, Shot
from nlbus.bench.transports.jobs import Job, jobs
from nlbus.bench.transports.transport import TransportError, load, plugins

SECTION = "transports"
OURS, AGAIN = "nlbus.bench.transports.ours:Nlbus", "nlbus.bench.transports.ours:Again"
KNOWN = (
    OURS,
    AGAIN,
    "nlbus.bench.transports.ours:Lingering",
    "nlbus.bench.transports.ours:Module",
    "nlbus.bench.transports.netlink:Netlink",
    "nlbus.bench.transports.unix:Unix",
    "nlbus.bench.transports.zmq_ipc:Zmq",
    "nlbus.bench.transports.nats_core:Nats",
    "nlbus.bench.transports.zenoh_shm:Zenoh",
    "nlbus.bench.transports.iceoryx:Iceoryx",
)
CAVEATS = (
    "Transports: a rate is what each subscriber got, from the publisher's first event until its own last "
    "one. Nobody is pinned to a core. With more processes than cores, flat-out figures mostly tell whom "
    "the scheduler favours: look at processor time and at fixed rates.",
    "Transports: a fixed rate comes in bursts, one a millisecond, of a batch at least. Delays count from "
    "when a burst was due, also where its publisher came to it late.",
    "Transports: who waits for slow readers (unix datagram, Zenoh, iceoryx2) or keeps all in memory "
    "(pyzmq, NATS) loses nothing and is slower, or larger; netlink loses, and nlbus counts it. What a "
    "publisher's queue hides, its processor time shows: threads count.",
    "Transports: each batch is new data in an array of its own, each single event new bytes, which its "
    "publisher makes, for all alike; subscribers sum a field and check all numbers.",
    "Transports: A/A is of nlbus beside itself and stands for everybody's noise: that of others may be "
    "larger, of those with threads above all.",
)
WARM_UP = 1  # rounds that do not count
FEWEST = 3  # rounds, however long they take


def measure(plan: Scale, progress: Progress) -> Generator[Measurement | Missing]:
    """All transports that are there, at all jobs of the plan."""
    deadline = time.monotonic() + plan.seconds
    with ExitStack() as stack:
        crews: list[Crew] = []
        for spec in (*KNOWN, *plugins(), *plan.plugins):
            progress(f"{SECTION}: starting {spec.partition(':')[2]}")
            crew = _begun(spec, stack)
            if isinstance(crew, Missing):
                yield crew
            else:
                crews.append(crew)
        todo = jobs(plan)
        for i, job in enumerate(todo):
            yield from _gathered(crews, job)
            spare = (deadline - time.monotonic()) / (len(todo) - i)
            table = Table(job, {crew.name: [] for crew in crews})
            yield from table.fill(crews, plan.rounds, spare, progress)
            yield from table.measurements({crew.name: crew.note for crew in crews})


def _begun(spec: str, stack: ExitStack) -> Crew | Missing:
    """One transport, started; an error of a plug-in leaves out that plug-in only."""
    name = spec
    try:
        transport = load(spec)
        name = transport.name
        if why := transport.missing():
            return Missing(SECTION, name, why)
        return stack.enter_context(Crew(spec))
    except (TransportError, OSError) as error:
        return Missing(SECTION, name, str(error))
    except Exception as error:
        return Missing(SECTION, name, f"{type(error).__name__}: {error}")


def _gathered(crews: list[Crew], job: Job) -> Iterator[Missing]:
    """Start the subscribers of the job; a crew that fails is left out from now on."""
    for crew in crews:
        crew.hire(job.subscribers)
    for crew in tuple(crews):
        try:
            crew.meet()
        except TransportError as error:
            crews.remove(crew)
            yield Missing(SECTION, f"{crew.name}, from {job.subscribers} subscribers on", str(error))


@dataclass
class Table:
    """The shots of a job: one column per transport, one row per round."""

    job: Job
    shots: dict[str, list[Shot]]
    rows: int = 0
    control: list[float] = field(default_factory=list)

    def fill(self, crews: list[Crew], rounds: int, seconds: float, progress: Progress) -> Iterator[Missing]:
        """Rounds, until there are enough of them or their time is up; in an order that changes."""
        start = time.monotonic()
        for turn in range(-WARM_UP, rounds):
            if turn >= FEWEST and time.monotonic() - start > seconds:
                break
            playing = [crew for crew in crews if self.job.batch == 1 or crew.transport.batches]
            for crew in _order(playing, turn):
                progress(f"{SECTION}: {self.job.work}: {crew.name}, round {max(turn + 1, 0)} of {rounds}")
                try:
                    shot = crew.run(self.job)
                except TransportError as error:
                    crews.remove(crew)
                    del self.shots[crew.name]
                    yield Missing(SECTION, f"{crew.name}, from {self.job.work} on", str(error))
                    continue
                if turn >= 0:
                    self.shots[crew.name].append(shot)

    def measurements(self, notes: dict[str, str]) -> Iterator[Measurement]:
        """One measurement per transport; ratios to nlbus, round by round."""
        first, second = load(OURS).name, load(AGAIN).name
        ours = self.shots.get(first, [])
        again = self.shots.pop(second, [])
        control = tuple(a.rate / b.rate for a, b in zip(ours, again, strict=False) if b.rate)
        cores = len(os.sched_getaffinity(0))
        crowd = self.job.subscribers + 1
        crowded = f"{crowd} processes on {cores} cores" if crowd > cores else ""
        for name, shots in self.shots.items():
            if not shots:
                continue
            others = () if name == first else tuple(
                shot.rate / base.rate for shot, base in zip(shots, ours, strict=False) if base.rate
            )  # fmt: skip
            sent = sum(shot.sent for shot in shots) * self.job.subscribers
            delivered = sum(sum(shot.delivered) for shot in shots)
            yield Measurement(
                SECTION,
                name,
                self.job.work,
                "events/s",
                tuple(shot.rate for shot in shots),
                parameters=self.job.parameters,
                sent=sent,
                delivered=delivered,
                lost=sum(shot.lost for shot in shots),
                ratios=others,
                control=control,
                reference=first if others else "",
                details=_details(shots, self.job.seconds),
                note="; ".join(filter(None, (notes[name], crowded))),
            )


def _order(crews: list[Crew], turn: int) -> list[Crew]:
    """The order of a turn: balanced as far as there are turns; every other turn is reversed."""
    order = [crews[i] for i in williams(len(crews), turn // 2)]
    return order[::-1] if turn % 2 else order


def _details(shots: list[Shot], seconds: float) -> dict[str, Any]:
    """Processor time an event (ns) of both sides and of the server, and what a turn was; at a fixed rate,
    delays, too."""
    found: dict[str, Any] = {
        "publisher_cpu_ns": round(median(shot.publisher_ns for shot in shots), 1),
        "subscriber_cpu_ns": round(median(shot.subscriber_ns for shot in shots), 1),
        "server_cpu_ns": round(median(shot.server_ns for shot in shots), 1),
        "published_a_second": round(median(shot.offered for shot in shots)),
        "turn_events": round(median(shot.sent for shot in shots)),
        "turn_seconds": seconds,
    }
    delays = [delay for shot in shots for delay in shot.delays_us]
    if len(delays) > 1:
        cuts = quantiles(delays, n=100)
        found["delay_us"] = {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1)}
    return found
