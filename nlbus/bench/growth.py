"""How times grow: one thing becomes more, all else stays as it is.

A point is a Measurement with the axis among its parameters; a further one sums up the curve: the line
through it, its exponent, and where it bends. All is done in one process on one core, and queues are filled
first: nobody waits for anybody, and the kernel's work for the reader is part of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass

from nlbus.bench import axes
from nlbus.bench.axes import Point, Unfit
from nlbus.bench.fitting import STRAIGHT, Fit, fit
from nlbus.bench.machine import room_apart
from nlbus.bench.native import NoCompiler
from nlbus.bench.pairing import Uncounted, alternate, one_core
from nlbus.bench.plans import Scale, Tell
from nlbus.bench.results import Measurement, Missing

SECTION = "growth"
WARM_UP = 1
SOCKET_BYTES = 2048  # what the kernel allocates for a netlink socket (kmalloc-2k)
CAVEATS = (
    "growth: everything is done by one process on one core, one side after the other, from queues that were "
    "filled before; no waking and no waiting is in it.",
)


@dataclass(frozen=True)
class Axis:
    """What grows, and how the curve is told.

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
    bend: Callable[[float], str] = lambda x: "not explained"


def crowded(x: float) -> str:
    """Why sockets that nobody uses get dearer behind so many."""
    holds = room_apart(SOCKET_BYTES)
    if holds is None or not holds / 2 <= x <= holds:
        return "not explained"
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
    ),
)  # fmt: skip
POINTS = {"quick": sum(len(axis.quick) for axis in AXES), "full": sum(len(axis.full) for axis in AXES)}


def measure(plan: Scale, tell: Tell) -> Iterator[Measurement | Missing]:
    """Every axis; each point has its share of the plan's seconds, but three rounds at least."""
    for axis in AXES:
        yield from curve(axis, plan, tell)


def curve(axis: Axis, plan: Scale, tell: Tell) -> Iterator[Measurement | Missing]:
    """The points of one axis, and what they sum up to."""
    found: list[tuple[int, Measurement]] = []
    for wanted in axis.quick if plan.name == "quick" else axis.full:
        x = wanted
        if axis.setup is axes.columns:
            most = len(axes.link_columns())
            if wanted > most:
                continue
            x = wanted or most
        tell(f"{SECTION}: {axis.work}: {x:,}")
        try:
            one = measured(axis, x, plan)
        except (Unfit, NoCompiler, Uncounted) as error:
            yield Missing(SECTION, f"{axis.name} {x}", str(error))
            continue
        found.append((x, one))
        yield one
    if len(found) > 1:
        yield summary(axis, [x for x, _ in found], [one for _, one in found])


def measured(axis: Axis, x: int, plan: Scale) -> Measurement:
    """One point."""
    with one_core(), axis.setup(x) as point:
        took: list[float] = []
        controls: list[float] = []
        ratios: list[float] = []
        delivered = lost = 0
        seconds = plan.seconds / POINTS[plan.name]
        sides = (*(point.floor or (point.work,)), point.work)
        for turns in alternate(sides, plan.rounds, before=point.before, warm_up=WARM_UP, seconds=seconds):
            each = [turn.cost / len(sides) / point.units for turn in turns]
            took.append(each[-1] if point.floor else (each[0] + each[1]) / 2)
            controls.append(each[0] / each[1])
            if point.floor:
                ratios.append((each[0] + each[1]) / 2 / each[2])
            own = turns[-1:] if point.floor else turns
            delivered += sum(turn.delivered for turn in own)
            lost += sum(turn.lost for turn in own)
    return Measurement(
        section=SECTION,
        subject="nlbus",
        work=f"{axis.work}: {x}",
        unit=axis.unit,
        samples=tuple(took),
        parameters={"axis": axis.name, axis.name: x},
        sent=delivered + lost,
        delivered=delivered,
        lost=lost,
        ratios=tuple(ratios),
        control=tuple(controls),
        reference="C" if point.floor else "",
    )


def summary(axis: Axis, xs: list[int], points: list[Measurement]) -> Measurement:
    """The curve in figures and words; its sample is the slope."""
    found = fit(xs, [one.median for one in points])
    base = axis.unit.split("/")[0]
    rounds = min(len(one.samples) for one in points)
    slopes = tuple(
        fit(xs, [one.samples[i] for one in points]).line.slope for i in range(rounds)
    )  # of each round
    return Measurement(
        section=SECTION,
        subject="nlbus",
        work=f"{axis.work}: the slope",
        unit=f"{base}/{axis.slope.removeprefix('a ')}",
        samples=slopes,
        parameters={"axis": axis.name},
        sent=sum(one.sent for one in points),
        delivered=sum(one.delivered for one in points),
        lost=sum(one.lost for one in points),
        details={
            "fit": asdict(found),
            "points": [[x, one.median, *one.quartiles] for x, one in zip(xs, points, strict=True)],
            "unit": axis.unit,
        },
        note=words(axis, found, max(one.spread or 0.0 for one in points)),
    )


def words(axis: Axis, found: Fit, noise: float) -> str:
    """What the curve looks like. noise: by how much a point differs from itself, at most."""
    base, unit = axis.unit.split("/")
    line = found.line
    article = "an" if unit.startswith("e") else "a"
    text = (
        f"{line.base:,.4g} {base} {article} {unit} and {line.slope:,.4g} {base} {axis.slope}, "
        f"no point off by more than {line.off:.0%}; exponent {found.exponent:.2f}"
        + (f" ({axis.cause})" if axis.cause else "")
    )
    if found.bend is None or found.before is None or found.after is None:
        return text
    if noise > STRAIGHT:
        return f"{text}. Whether it bends cannot be told: a point differs from itself by {noise:.0%}"
    before, after = (f"{piece.base:,.4g} and {piece.slope:,.4g}" for piece in (found.before, found.after))
    text += f". It bends behind {found.bend:,g}: {before} up to there, {after} beyond"
    return f"{text}; {axis.bend(found.bend)}"
