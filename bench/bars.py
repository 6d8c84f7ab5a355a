"""Bars: a result beside its C floor, within C's own spread, and the table of them all."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass

from nlbus.bench import pairing
from nlbus.bench.pairing import CLOCK, Pairs, Side, Turn, timed

__all__ = ["CLOCK", "REMARKS", "RESULTS", "Result", "Turn", "compare", "judge", "table", "timed"]

ROUNDS = int(os.environ.get("NLBUS_BENCH_ROUNDS", "25"))
LEAST_ROUNDS = 15
STRICT = os.environ.get("NLBUS_BENCH_STRICT", "") not in ("", "0")
QUIET = 0.10  # of a spread no more than this excuses a missed bar


@dataclass
class Result(Pairs):
    work: str
    bar: float  # 0: none, printed only
    unit: str = "event"

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


def compare(result: Result, floor: Side, again: Side, ours: Side, *, rounds: int = ROUNDS, **hooks) -> None:
    """Paired rounds; `hooks` are those of `alternate`."""
    pairing.compare(result, floor, again, ours, rounds=rounds, **hooks)


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
