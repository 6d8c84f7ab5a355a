"""Two reports beside each other: what changed, and whether by more than either run differs from itself.

A run differs from itself by less than from another run of the same: what else the machine did is the same for
all of its rounds. Whatever has no A/A, such as a slope or a run with linger, is information only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nlbus.bench.machine import differences
from nlbus.bench.results import Measurement, Report

MORE_LOST = 0.01  # of what was delivered: whoever loses that much more than before became worse


@dataclass(frozen=True)
class Change:
    """A measurement of both reports."""

    before: Measurement
    after: Measurement

    @property
    def change(self) -> float:
        """By what share of the first median the second differs from it."""
        return self.after.median / self.before.median - 1 if self.before.median else 0.0

    @property
    def better(self) -> float:
        """The same, above zero where the second is better: more of a rate, less of a time."""
        return self.change if self.after.more_is_better else -self.change

    @property
    def spread(self) -> float | None:
        """By what share a run differs from itself: the larger of both. None: nobody knows."""
        spreads = [_spread(one) for one in (self.before, self.after)]
        known = [spread for spread in spreads if spread is not None]
        return max(known) if len(known) == len(spreads) else None

    @property
    def beyond(self) -> bool:
        """Whether the change is more than that."""
        return self.spread is not None and abs(self.change) > self.spread

    @property
    def lost(self) -> float:
        """By what share less was delivered of what was sent, above zero; a rate tells nothing of it."""
        before, after = self.before.share, self.after.share
        return 1 - after / before if before and after is not None and after < before else 0.0

    def worse(self, share: float) -> bool:
        """Whether it is worse by more than `share`: the figure, beyond the spread, or what was delivered."""
        return (self.beyond and self.better < -share) or self.lost > max(share, MORE_LOST)

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.lost > MORE_LOST:
            return "WORSE: it loses more"
        if self.spread is None:
            samples = min(len(self.before.samples), len(self.after.samples))
            return "no A/A" if samples > 1 else "one sample"
        if not self.beyond:
            return "within spread"
        return "better" if self.better > 0 else "WORSE"


@dataclass(frozen=True)
class Comparison:
    """All of two reports. runs: which they are, in words."""

    runs: tuple[str, str]
    changes: list[Change]
    only_before: list[Measurement]
    only_after: list[Measurement]
    warnings: list[str]

    def worse(self, share: float) -> list[Change]:
        """Those that became worse by more than `share`."""
        return [each for each in self.changes if each.worse(share)]


def compare(before: Report, after: Report) -> Comparison:
    """Match the measurements by their keys, in the order of the second report."""
    old = {each.key: each for each in before.measurements}
    new = {each.key: each for each in after.measurements}
    return Comparison(
        runs=(_run(before), _run(after)),
        changes=[Change(old[key], each) for key, each in new.items() if _alike(old.get(key), each)],
        only_before=[each for key, each in old.items() if not _alike(new.get(key), each)],
        only_after=[each for key, each in new.items() if not _alike(old.get(key), each)],
        warnings=list(_warnings(before, after)),
    )


def _alike(one: Measurement | None, other: Measurement) -> bool:
    return one is not None and one.unit == other.unit


def _spread(one: Measurement) -> float | None:
    """The larger of A/A's and half of what lies between the quartiles."""
    if one.spread is None or len(one.samples) < 2 or not one.median:
        return None
    low, high = one.quartiles
    return max((high - low) / 2 / abs(one.median), one.spread)


def _run(report: Report) -> str:
    commit = report.machine.get("commit")
    return f"nlbus {report.nlbus}{f', commit {commit}' if commit else ''}, {report.when}"


def _warnings(before: Report, after: Report) -> Iterator[str]:
    yield from differences(before.machine, after.machine)
    if before.command.split()[:3] != after.command.split()[:3]:
        yield f"not the same plan: `{before.command}` and `{after.command}`"
