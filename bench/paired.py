"""Paired, alternated rounds: C, C again, nlbus; a ratio a round, and what C against itself makes of it.

A round is three turns, and each side stands once at each place of the turn: who drains first finds cold
bytes (the kernel shares them between the sockets), who drains last frees them. Every other round turns the
other way, so that each side follows each other one equally often.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter_ns, thread_time_ns

ROUNDS = int(os.environ.get("NLBUS_BENCH_ROUNDS", "25"))
LEAST_ROUNDS = 15
WARM_UP = 3
STRICT = os.environ.get("NLBUS_BENCH_STRICT", "") not in ("", "0")
# Wall time counts. Where others keep the cores busy, processor time still tells whether a change helped.
CLOCK = thread_time_ns if os.environ.get("NLBUS_BENCH_CLOCK") == "cpu" else perf_counter_ns
QUIET = 0.10  # of a spread no more than this excuses a missed bar


@dataclass
class Turn:
    """What one side did: its cost (ns), and what came of it."""

    cost: float
    delivered: int
    lost: int = 0


@dataclass
class Result:
    work: str
    bar: float  # 0: none, printed only
    unit: str = "event"
    ratios: list[float] = field(default_factory=list)
    controls: list[float] = field(default_factory=list)  # C against C
    floor_ns: list[float] = field(default_factory=list)
    ours_ns: list[float] = field(default_factory=list)
    delivered: int = 0
    lost: int = 0

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def spread(self) -> float:
        """Two rounds in three, C against itself differs by no more than this."""
        off = sorted(abs(control - 1) for control in self.controls)
        return off[int(0.68 * (len(off) - 1) + 0.5)]

    @property
    def met(self) -> bool:
        return self.ratio >= self.bar - self.bar * min(self.spread, QUIET)

    @property
    def verdict(self) -> str:
        if not self.bar:
            word = "no bar"
        elif self.ratio >= self.bar:
            word = "met"
        else:
            word = "met within spread" if self.met else "NOT met"
        if self.spread > QUIET:
            word += ", too noisy"
        if len(self.ratios) < LEAST_ROUNDS:
            word += f", {len(self.ratios)} rounds only"
        return word

    def row(self) -> tuple[str, ...]:
        quarter = statistics.quantiles(self.ratios, n=4) if len(self.ratios) > 1 else self.ratios * 3
        bar = f"{self.bar:.2f}" if self.bar else "-"
        return (
            self.work, f"{self.ratio:.3f}", f"{quarter[0]:.2f}-{quarter[2]:.2f}", bar,
            f"{100 * self.spread:.1f} %", f"{self.delivered:,}", f"{self.lost:,}",
            f"{statistics.median(self.floor_ns):,.1f}", f"{statistics.median(self.ours_ns):,.1f}",
            f"a {self.unit}", self.verdict,
        )  # fmt: skip


HEADS = (
    "work", "ratio", "quartiles", "bar", "A/A spread", "delivered", "lost", "C ns", "nlbus ns", "", "verdict",
)  # fmt: skip
RESULTS: list[Result] = []
REMARKS: list[str] = []  # printed below the table


def timed(work: Callable[[], int], losses: Callable[[], int] | None = None) -> Callable[[], Turn]:
    """A side whose cost is the time that `work` takes; it returns the events it delivered."""

    def run() -> Turn:
        start = CLOCK()
        delivered = work()
        cost = CLOCK() - start
        return Turn(cost, delivered, losses() if losses else 0)

    return run


def compare(
    result: Result,
    floor: Callable[[], Turn],
    again: Callable[[], Turn],
    ours: Callable[[], Turn],
    *,
    before: Callable[[], int | None] = lambda: None,
    after: Callable[[], None] = lambda: None,
    rounds: int = ROUNDS,
) -> Result:
    """`before` is called before a turn of all three and says how many events each should see; `after` after
    each one's work. Neither is timed."""
    sides = (floor, again, ours)
    orders = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    mirrored = ((2, 1, 0), (1, 0, 2), (0, 2, 1))
    for number in range(-WARM_UP, rounds):
        costs = [0.0, 0.0, 0.0]
        seen = [0, 0, 0]
        lost = 0
        for order in mirrored if number % 2 else orders:
            expected = before()
            for side in order:
                turn = sides[side]()
                after()
                if expected is not None and side < 2 and turn.delivered != expected:
                    raise AssertionError(f"{result.work}: C saw {turn.delivered} events of {expected}")
                costs[side] += turn.cost
                seen[side] += turn.delivered
                if side == 2:
                    lost += turn.lost
                    if expected is not None and turn.delivered + turn.lost != expected:
                        raise AssertionError(
                            f"{result.work}: {turn.delivered} delivered and {turn.lost} lost of {expected}"
                        )
        if number < 0:
            continue
        each = [cost / count for cost, count in zip(costs, seen, strict=True)]
        base = (each[0] + each[1]) / 2
        result.ratios.append(base / each[2])
        result.controls.append(each[0] / each[1])
        result.floor_ns.append(base)
        result.ours_ns.append(each[2])
        result.delivered += seen[2]
        result.lost += lost
    return result


def judge(result: Result) -> None:
    """Put it in the table; in strict mode, a bar that is not met even within the spread fails."""
    RESULTS.append(result)
    assert result.met or not STRICT, f"{result.work}: {result.ratio:.3f}, the bar is {result.bar}"


def table() -> list[str]:
    rows = [HEADS, *(result.row() for result in RESULTS)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column in (0, 9, 10) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines
