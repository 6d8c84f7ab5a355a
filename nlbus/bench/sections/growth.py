"""How times grow: one thing becomes more, all else stays as it is.

A point is a Measurement with the axis among its parameters; a further one sums up the curve: the line
through it, its exponent, and where it bends, if it does so each time that it is measured. All is done in one
process on one core, and queues are filled first: nobody waits for anybody, and the kernel's work for the
reader is part of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from itertools import chain
from statistics import median

from nlbus.bench.machine import room_apart
from nlbus.bench.native import NoCompiler
from nlbus.bench.pairing import Uncounted, alternate, one_core
from nlbus.bench.plans import Progress, Scale
from nlbus.bench.report.fitting import STRAIGHT, Bend, Fit, fit, line, same_place
from nlbus.bench.results import Measurement, Missing
from nlbus.bench.sections import axes
from nlbus.bench.sections.axes import Point, Unfit

SECTION = "growth"
WARM_UP = 1
VISITS = 3  # times that each point is set up
SOCKET_BYTES = 2048  # what the kernel allocates for a netlink socket (kmalloc-2k)
UNEXPLAINED = "not explained"
CAVEATS = (
    "growth: everything is done by one process on one core, one side after the other, from queues that were "
    "filled before; no waking and no waiting is in it.",
)


@dataclass(frozen=True)
class Axis:
    """What grows, and how its curve is described.

    work: in words. unit: of the times. slope: what the line's slope is, in words. quick and full: the points;
    of columns, 0 is all. cause: where the slope comes from, where that was found out.
    """

    name: str
    work: str
    unit: str
    slope: str
    setup: Callable[[int], AbstractContextManager[Point]]
    quick: tuple[int, ...]
    full: tuple[int, ...]
    cause: str = ""
    bend: Callable[[Bend], str] = lambda bend: UNEXPLAINED


def uncached(bend: Bend) -> str:
    """Why routes get dearer behind so many: by perf of the bare receive in C, of 3,000 and of 100,000."""
    if bend.after.slope < bend.before.slope:
        return UNEXPLAINED
    return (
        "the kernel's leaf_walk_rcu() and fib_table_dump() fetch each route from memory when no cache holds "
        "them all: a sixth of the time of few, two fifths of the time of many"
    )


def crowded(bend: Bend) -> str:
    """Why sockets that nobody uses get dearer behind so many."""
    holds = room_apart(SOCKET_BYTES)
    if holds is None or bend.beyond < holds / 2 or bend.x > holds:
        return UNEXPLAINED
    return (
        f"each socket lies in {SOCKET_BYTES:,} bytes of its own, so what the kernel reads in them competes "
        f"for few sets of a cache: the second level has room for {holds:,} lines that far apart"
    )


AXES = (
    Axis(
        "messages", "receive on raw:2, messages of 64 bytes a datagram", "ns/datagram", "a message",
        axes.messages, (1, 4, 16, 64, 500), (1, 2, 4, 8, 16, 32, 64, 128, 256, 400, 500),
    ),
    Axis(
        "payload", "receive on raw:2, bytes of payload in a datagram", "ns/datagram", "a byte",
        axes.payload, (16, 256, 1024, 4096, 16384),
        (16, 64, 128, 256, 512, 1024, 2048, 4096, 6144, 8192, 12288, 16384),
    ),
    Axis(
        "groups", "publish and receive single events, groups of each", "ns/event", "a group",
        axes.groups, (1, 2, 8, 16, 32), (1, 2, 4, 8, 12, 16, 24, 32),
        "an event for k groups is sent k times, and of the copies that arrive all but one are dropped",
    ),
    Axis(
        "masks", "publish and receive shuffled events, distinct masks of 3 groups", "ns/event", "a mask",
        axes.masks, (1, 10, 100, 300, 1000), (1, 3, 10, 30, 100, 200, 300, 500, 700, 1000),
        "each mask has datagrams of its own, and each of these is sent to three groups",
    ),
    Axis(
        "subscribers", "publish single events, subscribers", "ns/event", "a subscriber",
        axes.subscribers, (1, 2, 4, 8, 32), (1, 2, 4, 8, 12, 16, 24, 32),
    ),
    Axis(
        "bystanders", "publish single events, sockets of other groups", "ns/event", "a socket",
        axes.bystanders, (0, 10, 100, 300, 1000), (0, 10, 30, 100, 200, 300, 500, 700, 800, 900, 1000),
        "the kernel looks at every socket of the protocol that has joined a group: by perf, two thirds of "
        "the time are in netlink_broadcast_filtered() at 1000 of them",
        crowded,
    ),
    Axis(
        "columns", "decode links to columns, from memory", "ns/message", "a column",
        axes.columns, (1, 4, 16, 32, 0), (1, 2, 4, 8, 16, 24, 32, 48, 0),
    ),
    Axis(
        "routes", "snapshot of routes to a table", "ns/dump", "a route",
        axes.routes, (1000, 3000, 10_000, 30_000), (1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000),
        "", uncached,
    ),
)  # fmt: skip
POINTS = {"quick": sum(len(axis.quick) for axis in AXES), "full": sum(len(axis.full) for axis in AXES)}


def measure(plan: Scale, progress: Progress) -> Iterator[Measurement | Missing]:
    """Every axis; each point has its share of the plan's seconds, but some rounds at least."""
    for axis in AXES:
        yield from curve(axis, plan, progress)


@dataclass
class Found:
    """What came of one point; times are ns, one a round, a list each time that it was set up."""

    ours: list[list[float]] = field(default_factory=list)
    floor: list[list[float]] = field(default_factory=list)  # of the C loop beside it, if there is one
    controls: list[float] = field(default_factory=list)
    delivered: int = 0
    lost: int = 0

    @property
    def took(self) -> list[float]:
        """All rounds of ours."""
        return [*chain(*self.ours)]


def curve(axis: Axis, plan: Scale, progress: Progress) -> Iterator[Measurement | Missing]:
    """The points of one axis, and what they sum up to.

    Memory lies elsewhere each time that a point is set up, and the machine has its moods: so all points are
    visited, and then all again.
    """
    xs = _points(axis, plan)
    found: dict[int, Found] = {x: Found() for x in xs}
    for visit in range(VISITS):
        for x in [x for x in xs if x in found]:
            progress(f"{SECTION}: {axis.work}: {x:,} ({visit + 1} of {VISITS})")
            try:
                _visit(axis, x, plan, found[x])
            except (Unfit, NoCompiler, Uncounted) as error:
                yield Missing(SECTION, f"{axis.name} {x}", str(error))
                del found[x]
    for x, one in found.items():
        yield point(axis, x, one)
    if len(found) > 1:
        yield summary(axis, found)


def _points(axis: Axis, plan: Scale) -> list[int]:
    wanted = axis.quick if plan.name == "quick" else axis.full
    if axis.setup is not axes.columns:
        return list(wanted)
    most = len(axes.link_columns())
    return [x or most for x in wanted if x <= most]


def _visit(axis: Axis, x: int, plan: Scale, found: Found) -> None:
    """Set the point up, and measure some rounds of it."""
    with one_core(), axis.setup(x) as made:
        ours: list[float] = []
        floor: list[float] = []
        sides = (*(made.floor or (made.work,)), made.work)
        seconds = plan.seconds / POINTS[plan.name] / VISITS
        rounds = -(-plan.rounds // VISITS)
        for turns in alternate(sides, rounds, before=made.before, warm_up=WARM_UP, seconds=seconds):
            each = [turn.cost / len(sides) / made.units for turn in turns]
            twice = (each[0] + each[1]) / 2
            ours.append(each[-1] if made.floor else twice)
            found.controls.append(each[0] / each[1])
            if made.floor:
                floor.append(twice)
            own = turns[-1:] if made.floor else turns
            found.delivered += sum(turn.delivered for turn in own)
            found.lost += sum(turn.lost for turn in own)
    found.ours.append(ours)
    if floor:
        found.floor.append(floor)


def point(axis: Axis, x: int, found: Found) -> Measurement:
    """One point, all visits together."""
    floor = [*chain(*found.floor)]
    return Measurement(
        section=SECTION,
        subject="nlbus",
        work=f"{axis.work}: {x}",
        unit=axis.unit,
        samples=tuple(found.took),
        parameters={"axis": axis.name, axis.name: x},
        sent=found.delivered + found.lost,
        delivered=found.delivered,
        lost=found.lost,
        ratios=tuple(theirs / ours for theirs, ours in zip(floor, found.took, strict=False)),
        control=tuple(found.controls),
        reference="C" if floor else "",
    )


def summary(axis: Axis, found: Mapping[int, Found]) -> Measurement:
    """The curve in figures and words; its samples are the slopes of each visit."""
    xs = list(found)
    points = [point(axis, x, one) for x, one in found.items()]
    visits = [[median(one.ours[i]) for one in found.values()] for i in range(VISITS)]
    shape, floor = fit(xs, [one.median for one in points], visits), None
    if all(one.floor for one in found.values()):
        floor = fit(xs, [median([*chain(*one.floor)]) for one in found.values()])
    return Measurement(
        section=SECTION,
        subject="nlbus",
        work=f"{axis.work}: the slope",
        unit=f"{axis.unit.split('/')[0]}/{axis.slope.removeprefix('a ')}",
        samples=tuple(line(xs, visit).slope for visit in visits),
        parameters={"axis": axis.name},
        sent=sum(one.sent for one in points),
        delivered=sum(one.delivered for one in points),
        lost=sum(one.lost for one in points),
        details={
            "fit": asdict(shape),
            "points": [[x, one.median, *one.quartiles] for x, one in zip(xs, points, strict=True)],
            "unit": axis.unit,
        },
        note=words(axis, xs, shape, floor),
    )


def words(axis: Axis, xs: Sequence[int], found: Fit, floor: Fit | None = None) -> str:
    """What the curve looks like. floor: the C loop's, measured beside it."""
    base, unit = axis.unit.split("/")
    article = "an" if unit.startswith("e") else "a"
    text = (
        f"{found.line.base:,.4g} {base} {article} {unit} and {found.line.slope:,.4g} {base} {axis.slope}, "
        f"no point off by more than {found.line.off:.0%}; exponent {found.exponent:.2f}"
    )
    if floor is not None:
        text += f"; in C {floor.line.base:,.4g} and {floor.line.slope:,.4g}"
    if axis.cause:
        text += f" ({axis.cause})"
    bend = found.bend
    if bend is None:
        return text if found.line.off <= STRAIGHT else f"{text}. No line, and no bend that comes each time"
    before, after = (f"{piece.base:,.4g} and {piece.slope:,.4g}" for piece in (bend.before, bend.after))
    text += f". It bends behind {bend.x:,g}: {before} up to there, {after} beyond; "
    why = axis.bend(bend)
    if floor is not None and same_place(xs, bend, floor.bend):
        beside = "so does the C loop beside it"
        why = (
            f"{beside}: {why}"
            if why != UNEXPLAINED
            else f"{beside}: it is the kernel, or memory, not our code"
        )
    return text + why
