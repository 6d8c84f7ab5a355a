"""Paired, alternated rounds: a ratio a round, and what the reference against itself makes of it.

A round has as many turns as there are sides, and each side stands once at each place of the turn: who drains
first finds cold bytes (the kernel shares them between the sockets), who drains last frees them. Every other
round turns the other way. The orders are Williams's balanced Latin square: in two rounds, in one where the
number of sides is even, each side follows each other one equally often.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from time import monotonic, perf_counter_ns, thread_time_ns

from nlbus.bench.results import Measurement, Parameters, spread_of
from nlbus.errors import NlbusError

WARM_UP = 3
LEAST_ROUNDS = 3  # however long they take
# Wall time counts. Where others keep the cores busy, processor time still shows whether a change helped.
CLOCK = thread_time_ns if os.environ.get("NLBUS_BENCH_CLOCK") == "cpu" else perf_counter_ns


class Uncounted(NlbusError, AssertionError):  # noqa: N818 - it is of events
    """A side saw another number of events than were sent, and does not count the rest as lost."""


@dataclass
class Turn:
    """What one side did: its cost (ns), and what came of it."""

    cost: float
    delivered: int
    lost: int = 0


Side = Callable[[], Turn]


def timed(work: Callable[[], int], losses: Callable[[], int] | None = None) -> Side:
    """A side whose cost is the time that `work` takes; it returns the events it delivered."""

    def run() -> Turn:
        start = CLOCK()
        delivered = work()
        cost = CLOCK() - start
        return Turn(cost, delivered, losses() if losses else 0)

    return run


def williams(sides: int, turn: int) -> list[int]:
    """The order of sides in this turn: a row of a Williams design. Over all turns below `sides`, each
    side has each place once; with their mirror images, each side follows each other one equally often.
    """
    zigzag = [-(place // 2) if place % 2 == 0 else place // 2 + 1 for place in range(sides)]
    return [(side + turn) % sides for side in zigzag]


def alternate(
    sides: Sequence[Side],
    rounds: int,
    *,
    before: Callable[[], int | None] = lambda: None,
    after: Callable[[], None] = lambda: None,
    warm_up: int = WARM_UP,
    seconds: float = inf,
) -> Iterator[list[Turn]]:
    """Of each round, what every side did in all its turns together; fewer rounds where they take too long.

    `before` is called before a turn of all sides and says how many events each should see, `after` after
    each one's work; neither is timed. Uncounted where a side saw another number, lost ones included.
    """
    give_up = monotonic() + seconds
    for number in range(-warm_up, rounds):
        total = [Turn(0.0, 0) for _ in sides]
        for row in range(len(sides)):
            order = williams(len(sides), row)
            expected = before()
            for side in reversed(order) if number % 2 else order:
                turn = sides[side]()
                after()
                if expected is not None and turn.delivered + turn.lost != expected:
                    raise Uncounted(
                        f"side {side}: {turn.delivered} delivered and {turn.lost} lost of {expected}"
                    )
                total[side].cost += turn.cost
                total[side].delivered += turn.delivered
                total[side].lost += turn.lost
        if number >= 0:
            yield total
            if monotonic() > give_up and number + 1 >= LEAST_ROUNDS:
                return


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this thread on one core, so that no move to another falls into one side's turn."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@dataclass(kw_only=True)
class Pairs:
    """Rounds of a reference, the reference again, and ours; times are ns an event."""

    ratios: list[float] = field(default_factory=list)  # above 1 where ours is faster
    controls: list[float] = field(default_factory=list)  # the reference against itself
    floor_ns: list[float] = field(default_factory=list)  # the mean of both
    ours_ns: list[float] = field(default_factory=list)
    delivered: int = 0  # to us
    lost: int = 0

    @property
    def ratio(self) -> float:
        """The median."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> float:
        """Two rounds in three, the reference against itself differs by no more than this."""
        return spread_of(self.controls) or 0.0

    def measurement(
        self,
        section: str,
        subject: str,
        work: str,
        *,
        reference: str,
        unit: str = "ns/event",
        parameters: Parameters | None = None,
    ) -> Measurement:
        """As a report has it."""
        return Measurement(
            section=section,
            subject=subject,
            work=work,
            unit=unit,
            samples=tuple(self.ours_ns),
            parameters=parameters or {},
            sent=self.delivered + self.lost,
            delivered=self.delivered,
            lost=self.lost,
            ratios=tuple(self.ratios),
            control=tuple(self.controls),
            reference=reference,
            details={"reference_ns": list(self.floor_ns)},
        )


def compare(
    result: Pairs,
    floor: Side,
    again: Side,
    ours: Side,
    *,
    rounds: int,
    before: Callable[[], int | None] = lambda: None,
    after: Callable[[], None] = lambda: None,
    warm_up: int = WARM_UP,
) -> None:
    """Rounds of `alternate` with these three, put into `result`."""
    for turns in alternate((floor, again, ours), rounds, before=before, after=after, warm_up=warm_up):
        each = [turn.cost / turn.delivered for turn in turns]
        base = (each[0] + each[1]) / 2
        result.ratios.append(base / each[2])
        result.controls.append(each[0] / each[1])
        result.floor_ns.append(base)
        result.ours_ns.append(each[2])
        result.delivered += turns[2].delivered
        result.lost += turns[2].lost
