"""What a run found: measurements, whom it could not measure, the machine; as JSON, with a version."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from nlbus.errors import NlbusError

FORMAT = "nlbus-bench"
VERSION = 1

Parameters = Mapping[str, int | float | str]


class ResultsError(NlbusError, ValueError):
    """A file that holds no results, or results of another version."""


@dataclass(frozen=True)
class Measurement:
    """One figure, with what came of each round.

    `samples` are in `unit`, one a round. Of `sent` events (copies for several readers counted one by one),
    `delivered` were read and `lost` were not, by their sequence numbers. `ratios` are of paired rounds
    against `reference`, above 1 where `subject` is better; `control` is the same thing beside itself (A/A).
    """

    section: str
    subject: str  # who: "nlbus", "pyzmq ipc"
    work: str  # what, in words; together with subject and section it identifies a measurement
    unit: str  # "events/s", "ns/event", "us"
    samples: tuple[float, ...]
    parameters: Parameters = field(default_factory=dict)  # the axes: size, batch, subscribers, offered
    sent: int = 0
    delivered: int = 0
    lost: int = 0
    ratios: tuple[float, ...] = ()
    control: tuple[float, ...] = ()
    reference: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)  # of the section: percentiles, histograms, parts
    note: str = ""

    @property
    def median(self) -> float:
        """Of the samples, in `unit`."""
        return statistics.median(self.samples)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third."""
        if len(self.samples) < 2:
            return self.samples[0], self.samples[0]
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return low, high

    @property
    def ratio(self) -> float | None:
        """The median of the paired ratios; None if nothing was paired."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def spread(self) -> float | None:
        """In 68 % of the rounds, the same thing beside itself differs by no more than this share."""
        return spread_of(self.control)

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies it, in this report and in another."""
        return self.section, self.subject, self.work

    @property
    def more_is_better(self) -> bool:
        """A rate, not a time."""
        return self.unit.endswith("/s")


def spread_of(control: Sequence[float]) -> float | None:
    """By how much A/A ratios differ from 1, in 68 % of the rounds; None if there are none."""
    off = sorted(abs(ratio - 1) for ratio in control)
    return off[int(0.68 * (len(off) - 1) + 0.5)] if off else None


@dataclass(frozen=True)
class Missing:
    """Somebody or something that was not measured, and why; what to install, where that helps."""

    section: str
    subject: str
    why: str


@dataclass
class Report:
    """All of one run."""

    command: str
    machine: dict[str, Any]
    when: str  # ISO 8601, UTC
    nlbus: str  # its version
    seconds: float = 0.0
    measurements: list[Measurement] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        document = {"format": FORMAT, "version": VERSION, **asdict(self)}
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; ResultsError if it is anything else."""
        try:
            document = json.loads(path.read_text())
            made_by, version = document.pop("format"), document.pop("version")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResultsError(f"{path}: no results of `nlbus bench --json`: {error}") from None
        if (made_by, version) != (FORMAT, VERSION):
            raise ResultsError(
                f"{path}: {made_by} version {version}; this nlbus reads {FORMAT} version {VERSION}"
            )
        try:
            document["measurements"] = [_measurement(found) for found in document["measurements"]]
            document["missing"] = [Missing(**found) for found in document["missing"]]
            return cls(**document)
        except (TypeError, KeyError) as error:
            raise ResultsError(f"{path}: damaged: {error}") from None


def _measurement(found: dict[str, Any]) -> Measurement:
    for name in ("samples", "ratios", "control"):
        found[name] = tuple(found[name])
    return Measurement(**found)
