"""Several sides that do the same work in turns: the rate of each per round, and nlbus beside itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from nlbus.bench.plans import Scale
from nlbus.bench.results import Measurement, Missing

TURN = 0.02  # seconds at least: quick work is repeated
NLBUS = "nlbus"


class Side(NamedTuple):
    """A side: its name, the work of one turn, and a note about the result.

    `work` returns how many messages it read and the sum of their values, which is the same for all.
    """

    subject: str
    work: Callable[[], tuple[int, int]]
    note: str


class Work(NamedTuple):
    """The work of all sides, and the expected result."""

    name: str
    messages: int
    value: int


def alternate(work: Work, sides: list[Side], plan: Scale) -> Iterator[Measurement | Missing]:
    """One turn of each side per round, and a second one of nlbus; the order rotates from round to round.

    The first side is nlbus. Whose result is another than `work` says is not measured.
    """
    able: list[Side] = []
    for side in sides:
        try:
            got = side.work()  # to warm up, too
        except Exception as error:
            yield Missing("libraries", side.subject, f"{work.name}: it failed: {error!r}")
            continue
        if got == (work.messages, work.value):
            able.append(side)
        else:
            why = f"{work.name}: it read {got[0]} messages of {work.messages}, or other values"
            yield Missing("libraries", side.subject, why)
    if not able or able[0].subject != NLBUS:
        return
    turns = [*able, able[0]]  # the last one is the control
    rates: list[list[float]] = [[] for _ in turns]
    for number in range(plan.rounds):
        shift = number % len(turns)
        for i in (*range(shift, len(turns)), *range(shift)):
            rates[i].append(_rate(turns[i], work.messages))
    ours, again = rates[0], rates[-1]
    for side, theirs in zip(able, rates, strict=False):
        reference = "" if side.subject == NLBUS else NLBUS
        yield Measurement(
            section="libraries",
            subject=side.subject,
            work=work.name,
            unit="messages/s",
            samples=tuple(theirs),
            sent=work.messages * plan.rounds,
            delivered=work.messages * plan.rounds,
            ratios=tuple(a / b for a, b in zip(theirs, ours, strict=True)) if reference else (),
            control=tuple(a / b for a, b in zip(ours, again, strict=True)),
            reference=reference,
            note=side.note,
        )


def _rate(side: Side, messages: int) -> float:
    """Messages a second of wall time."""
    done = 0
    start = time.perf_counter()
    while (took := time.perf_counter() - start) < TURN:
        side.work()
        done += messages
    return done / took
