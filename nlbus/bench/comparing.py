"""Two reports beside each other: what changed, and whether by more than either run differs from itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nlbus.bench.machine import differences
from nlbus.bench.results import Measurement, Report


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
        """By what share a run differs from itself: the larger of both. None: there was one sample only."""
        spreads = [_spread(one) for one in (self.before, self.after)]
        known = [spread for spread in spreads if spread is not None]
        return max(known) if len(known) == len(spreads) else None

    @property
    def beyond(self) -> bool:
        """Whether the change is more than that."""
        return self.spread is not None and abs(self.change) > self.spread

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.spread is None:
            return "one sample"
        if not self.beyond:
            return "within spread"
        return "better" if self.better > 0 else "WORSE"


@dataclass(frozen=True)
class Comparison:
    """All of two reports."""

    changes: list[Change]
    only_before: list[Measurement]
    only_after: list[Measurement]
    warnings: list[str]

    def worse(self, share: float) -> list[Change]:
        """Those that became worse by more than `share`, and by more than the spread."""
        return [each for each in self.changes if each.beyond and each.better < -share]


def compare(before: Report, after: Report) -> Comparison:
    """Match the measurements by their keys, in the order of the second report."""
    old = {each.key: each for each in before.measurements}
    new = {each.key: each for each in after.measurements}
    return Comparison(
        changes=[Change(old[key], each) for key, each in new.items() if _alike(old.get(key), each)],
        only_before=[each for key, each in old.items() if not _alike(new.get(key), each)],
        only_after=[each for key, each in new.items() if not _alike(old.get(key), each)],
        warnings=list(_warnings(before, after)),
    )


def _alike(one: Measurement | None, other: Measurement) -> bool:
    return one is not None and one.unit == other.unit


def _spread(one: Measurement) -> float | None:
    """The larger of A/A's and half of what lies between the quartiles."""
    if len(one.samples) < 2 or not one.median:
        return None
    low, high = one.quartiles
    return max((high - low) / 2 / abs(one.median), one.spread or 0.0)


def _warnings(before: Report, after: Report) -> Iterator[str]:
    yield from differences(before.machine, after.machine)
    if before.command.split()[:3] != after.command.split()[:3]:
        yield f"not the same plan: `{before.command}` and `{after.command}`"
