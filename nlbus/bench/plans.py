"""What `quick` and `full` measure: sections, and how much of each."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from nlbus.bench.results import Measurement, Missing

Size = Literal["quick", "full"]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Scale:
    """How much a section measures: so many paired rounds, in about so many seconds all in all.

    plugins: further transports, as module:Class.
    """

    name: Size
    rounds: int
    seconds: float
    plugins: tuple[str, ...] = ()


Measure = Callable[[Scale, Progress], Iterator[Measurement | Missing]]


@dataclass(frozen=True)
class Section:
    """A module or package with `measure(plan, progress)`, which yields each result as soon as it has it.

    Its CAVEATS, if any, are for readers of its figures, a sentence or two each.
    `progress` shows what it is doing. What it cannot measure, it yields as Missing. It ends its processes
    when its iterator is closed: after Ctrl-C, too.
    """

    name: str
    module: str
    about: str
    quick: Scale
    full: Scale
    named: bool = False  # measured only where --only names it

    def plan(self, size: Size, rounds: int | None = None, plugins: tuple[str, ...] = ()) -> Scale:
        """How much of it. rounds: other than planned."""
        plan = self.quick if size == "quick" else self.full
        return replace(plan, rounds=plan.rounds if rounds is None else rounds, plugins=plugins)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Of the module."""
        found: tuple[str, ...] = getattr(importlib.import_module(self.module), "CAVEATS", ())
        return found

    def measure(self, plan: Scale, progress: Progress) -> Generator[Measurement | Missing]:
        """Begin."""
        measure: Measure = importlib.import_module(self.module).measure
        yield from measure(plan, progress)


def section(
    where: str, about: str, *, quick: tuple[int, float], full: tuple[int, float], named: bool = False
) -> Section:
    """The section of this module in nlbus.bench, with its rounds and seconds."""
    name = where.rpartition(".")[2]
    return Section(name, f"nlbus.bench.{where}", about, Scale("quick", *quick), Scale("full", *full), named)


# In this order. Together, without those that must be named, on two cores: quick under 60 seconds, full under
# 15 minutes.
SECTIONS: tuple[Section, ...] = (
    section("transports", "the same job by many transports", quick=(3, 22), full=(15, 390)),
    section("libraries", "netlink libraries, on the same bytes and storms", quick=(3, 12), full=(15, 120)),
    section(
        "sections.growth",
        "how times grow: messages, bytes, groups, sockets, columns, routes",
        quick=(5, 7),
        full=(15, 150),
    ),
    section("sections.latency", "one way, idle and loaded; what linger trades", quick=(5, 7), full=(15, 110)),
    section(
        "sections.profile", "where each nanosecond of the receive path goes", quick=(5, 6), full=(15, 100)
    ),
    section(
        "sections.rows",
        "text, JSON, CSV and rows of Python, beside ip, conntrack and udevadm",
        quick=(3, 20),
        full=(15, 120),
        named=True,
    ),
    section(
        "sections.state",
        "a State of routes: from a snapshot, by changes, by key, in memory; pyroute2's NDB",
        quick=(3, 10),
        full=(15, 90),
        named=True,
    ),
    section(
        "sections.verdicts",
        "packets of nfqueue with verdicts, beside NetfilterQueue and fnfqueue",
        quick=(3, 6),
        full=(15, 40),
        named=True,
    ),
    section(
        "sections.frames",
        "a query of polars and DuckDB, scanned, or of all rows",
        quick=(3, 1),
        full=(15, 10),
    ),
    section(
        "sections.filter",
        "events that nobody wants, filtered by the kernel or decoded",
        quick=(3, 3),
        full=(15, 12),
    ),
)
BUDGET: dict[Size, float] = {"quick": 58.0, "full": 895.0}
