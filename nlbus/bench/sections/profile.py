"""Where each nanosecond of the receive path goes.

The same datagrams lie in several queues, and each is drained by a loop that does one thing more than the one
before: the kernel hands datagrams over without a copy (slots without room), copies them, C walks the
messages, nlbus makes batches, looks at arrays, decodes columns. A stage is what its loop adds, round by
round, in wall time; that needs no privilege. Its limits: what one stage does to the caches counts with the
next; a stage of nlbus is what it takes beyond C, for who sent what, for rows, and for Python; and what is
smaller than the spread of C against itself means nothing.

perf, where it may be used, tells the same another way: the shares of the processor time of a process that
only reads, by whose code it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from nlbus import Batch, Publisher, Subscriber
from nlbus.bench import chains
from nlbus.bench.native import Ears, NoCompiler, Voice
from nlbus.bench.native.floor import HEAD
from nlbus.bench.pairing import Side, Turn, Uncounted, alternate, one_core, timed
from nlbus.bench.plans import Progress, Scale
from nlbus.bench.reading import Reader, amount
from nlbus.bench.results import Measurement, Missing
from nlbus.bench.routes import Routes
from nlbus.bench.sampling import sampled
from nlbus.bus.publisher import DATAGRAM_BYTES

SECTION = "profile"
GROUP = 5
MASK = 1 << (GROUP - 1)
ROUTE, IPV4_ROUTE = 0, 7
SLOT = 1024  # bytes: more than an event of a route has
CHANGES = 1000  # routes made and removed
PER_DATAGRAM = {"quick": (1, 16), "full": (1, 16, 64, 500)}
PACKED = {"quick": (504,), "full": (1, 504)}
PERF_SECONDS = {"quick": 0.5, "full": 4.0}

CAVEATS = (
    "profile: a stage is what a loop takes beyond one that does a step less, round by round; what is smaller "
    "than A/A, which is of whole loops, or below zero, means nothing.",
)

Drain = Callable[[], int]


@dataclass(frozen=True)
class Work:
    """Loops that drain the same datagrams, each doing more than the one before, and what fills their queues.

    stages: what each adds, and its loop, which counts events (of "kernel" and "copy" nobody knows them).
    again: the last loop in C once more.
    """

    name: str
    unit: str
    fill: Callable[[], int]  # the events that each will see
    in_c: Sequence[tuple[str, Drain]]
    again: Drain
    ours: Sequence[tuple[str, Reader | Drain]]


def measure(plan: Scale, progress: Progress) -> Iterator[Measurement | Missing]:
    """Stages of several kinds of datagrams, then perf."""
    works: list[Callable[[], AbstractContextManager[Work]]] = [
        *(partial(raw, per) for per in PER_DATAGRAM[plan.name]),
        *(partial(bus, per) for per in PACKED[plan.name]),
        route,
    ]
    for make in works:
        try:
            with one_core(), make() as work:
                progress(f"{SECTION}: {work.name}")
                yield from staged(work, plan, plan.seconds / (len(works) + 1))
        except NoCompiler as error:
            yield Missing(SECTION, "stages of the receive path", str(error))
            return
        except Uncounted as error:
            yield Missing(SECTION, work.name, str(error))
    for per in PER_DATAGRAM[plan.name][-1:] if plan.name == "quick" else PER_DATAGRAM["full"]:
        progress(f"{SECTION}: perf, {per} messages a datagram")
        yield sampled(per, PERF_SECONDS[plan.name])


def staged(work: Work, plan: Scale, seconds: float) -> Iterator[Measurement]:
    """A Measurement a stage, and one of the whole beside C."""
    events = 0

    def fill() -> int:
        nonlocal events
        events = work.fill()
        return events

    def side(drain: Reader | Drain, counts: bool) -> Side:
        run = timed(drain.drain if isinstance(drain, Reader) else drain)

        def turn() -> Turn:
            done = run()
            got = done.delivered if counts else events
            if counts and not isinstance(drain, Reader) and got != events:
                raise Uncounted(f"{work.name}: {got} delivered of {events}")
            return Turn(done.cost, got, drain.lost if isinstance(drain, Reader) else 0)

        return turn

    names = [name for name, _ in (*work.in_c, *work.ours)]
    last_c = len(work.in_c) - 1
    loops = [*(loop for _, loop in (*work.in_c, *work.ours)), work.again]
    # What C does before it walks counts datagrams.
    sides = [side(loop, counts=number >= last_c) for number, loop in enumerate(loops)]
    rounds: list[list[float]] = []  # of each, ns an event of every loop; the last is `again`
    seen = lost = 0
    for turns in alternate(sides, plan.rounds, before=fill, warm_up=1, seconds=seconds):
        rounds.append([turn.cost / turn.delivered for turn in turns])
        seen += turns[-2].delivered
        lost += turns[-2].lost
    control = tuple(one[last_c] / one[-1] for one in rounds)
    for number, name in enumerate(names):
        added = [one[number] - (one[number - 1] if number else 0.0) for one in rounds]
        yield Measurement(
            section=SECTION,
            subject=name,
            work=work.name,
            unit=f"ns/{work.unit}",
            samples=tuple(added),
            parameters={"work": work.name, "stage": name, "order": number},
            sent=seen + lost,
            delivered=seen,
            lost=lost,
        )  # no A/A: that of whole loops says too little of a difference between two
    yield Measurement(
        section=SECTION,
        subject="nlbus, all stages",
        work=work.name,
        unit=f"ns/{work.unit}",
        samples=tuple(one[-2] for one in rounds),
        parameters={"work": work.name},
        sent=seen + lost,
        delivered=seen,
        lost=lost,
        ratios=tuple((one[last_c] + one[-1]) / 2 / one[-2] for one in rounds),
        control=control,
        reference="C, as far as it goes",
    )


# -- what is received ---------------------------------------------------------------------------------


def batches(sub: Subscriber, look: Callable[[Batch], int] = len) -> Drain:
    """A loop that takes batches and counts what `look` sees in each."""

    def drain() -> int:
        seen = 0
        while batch := sub.recv(0):
            seen += look(batch)
        return seen

    return drain


def columns(batch: Batch) -> int:
    """All routes decoded to columns, of which one is asked for."""
    return len(batch.table("route")["nl_op"])


@contextmanager
def raw(per: int) -> Iterator[Work]:
    """Datagrams of `per` messages of 64 bytes, on raw:2."""
    rng = np.random.default_rng(per)
    source = chains.uniform(2048)
    length = per * int(source.edges[1])
    ears = partial(Ears, MASK, length)
    listen = partial(Subscriber, "raw:2", groups=GROUP)
    with (
        ears() as look, ears() as copy, ears() as walk, ears() as again, Voice() as voice,
        listen() as plain, listen() as rows,
    ):  # fmt: skip
        count = amount(walk, min(1024, max(64, 16384 // per)), length)

        def fill() -> int:
            voice.post(GROUP, source.memory, *source.datagrams(count, per, rng))
            return count * per

        yield Work(
            f"raw:2, {per} messages of 64 bytes a datagram",
            "message",
            fill,
            (("kernel", look.look), ("copy", copy.receive), ("walk in C", walk.walk)),
            again.walk,
            (
                ("batches beyond C", batches(plain)),
                ("messages and records", Reader(rows, chains.EVENT, messages=True)),
            ),
        )


@contextmanager
def bus(per: int) -> Iterator[Work]:
    """Datagrams of `per` packed records of 64 bytes."""
    length = HEAD + per * chains.EVENT.itemsize
    ears = partial(Ears, MASK, length)
    listen = partial(Subscriber, "bus", groups=GROUP)
    with (
        ears() as look, ears() as copy, ears() as walk, ears() as again,
        Publisher(datagram_bytes=min(length + 16, DATAGRAM_BYTES)) as pub,
        listen() as plain, listen() as rows,
    ):  # fmt: skip
        events = chains.events(per * amount(walk, min(1024, max(64, 16384 // per)), length))

        def fill() -> int:
            pub.publish_many(events, groups=GROUP)
            return len(events)

        yield Work(
            f"bus, {per} records of 64 bytes a datagram",
            "event",
            fill,
            (("kernel", look.look), ("copy", copy.receive), ("headers in C", walk.bus)),
            again.bus,
            (("batches beyond C", batches(plain)), ("records", Reader(rows, chains.EVENT, messages=False))),
        )


@contextmanager
def route() -> Iterator[Work]:
    """The kernel's own events of routes that come and go, down to columns."""
    changes = Routes(CHANGES)
    mask = 1 << (IPV4_ROUTE - 1)
    ears = partial(Ears, mask, SLOT, ROUTE)
    listen = partial(Subscriber, "route", groups=IPV4_ROUTE)
    with (
        ears() as look, ears() as copy, ears() as walk, ears() as again,
        listen() as plain, listen() as rows, listen() as decoded,
    ):  # fmt: skip
        try:
            yield Work(
                "route, changes of routes, one a datagram",
                "message",
                changes.storm,
                (("kernel", look.look), ("copy", copy.receive), ("walk in C", walk.walk)),
                again.walk,
                (
                    ("batches beyond C", batches(plain)),
                    ("messages", Reader(rows, None, messages=True)),
                    ("columns, instead of messages", batches(decoded, columns)),
                ),
            )
        finally:
            changes.close()
