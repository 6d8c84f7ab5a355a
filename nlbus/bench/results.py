"""The results of a run: measurements, missing ones, the machine; as JSON, with a version."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

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
    def share(self) -> float | None:
        """Of what was sent, this was delivered; None where nothing was counted."""
        return self.delivered / self.sent if self.sent else None

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies it, in this report and in another."""
        return self.section, self.subject, self.work

    @property
    def more_is_better(self) -> bool:
        """A rate, not a time."""
        return self.unit.endswith("/s")


def spread_of(control: Sequence[float]) -> float | None:
    """By how much A/A differs from itself, in 68 % of the rounds; None if there are no ratios.

    Half as much is as far off as twice as much.
    """
    off = sorted(math.exp(abs(math.log(ratio))) - 1 for ratio in control if ratio > 0)
    return off[int(0.68 * (len(off) - 1) + 0.5)] if off else None


@dataclass(frozen=True)
class Missing:
    """Somebody or something that was not measured, and why; what to install, where that helps."""

    section: str
    subject: str
    why: str


def in_place(path: Path) -> bool:
    """Whether it is a file, or will be one; a pipe or a device keeps all that it is given."""
    return path.is_file() or not path.exists()


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
        """Write it as JSON: all of it, or what was there stays. ResultsError."""
        document = {"format": FORMAT, "version": VERSION, **asdict(self)}
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        try:
            if not in_place(path):
                path.write_text(text)
                return
            target = path.resolve()  # a link stays one
            partial = target.with_name(f".{target.name}.{os.getpid()}")
            try:
                partial.write_text(text)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise ResultsError(f"{path}: cannot be written: {error.strerror}") from None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; ResultsError if it is anything else."""
        try:
            document = json.loads(path.read_text())
            made_by, version = document.pop("format"), document.pop("version")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ResultsError(f"{path}: no results of `nlbus bench --json`: {error}") from None
        if (made_by, version) != (FORMAT, VERSION):
            raise ResultsError(
                f"{path}: {made_by} version {version}; this nlbus reads {FORMAT} version {VERSION}"
            )
        try:
            document["measurements"] = [_measurement(found) for found in document["measurements"]]
            document["missing"] = [
                _checked(Missing(**found), texts="section subject why") for found in document["missing"]
            ]
            report = _checked(cls(**document), texts="command when nlbus", numbers="seconds", maps="machine")
            _machine(report.machine)
            for caveat in report.caveats:
                _wanted(caveat, str, "a caveat")
            return report
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise ResultsError(f"{path}: damaged: {error}") from None


# -- what a file of somebody else may hold ------------------------------------------------------------

SERIES = ("samples", "ratios", "control")
NUMBER = (int, float)
Checked = TypeVar("Checked")


def _wanted(value: object, kind: type | tuple[type, ...], what: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{what} is {value!r}")
    if isinstance(value, NUMBER) and not math.isfinite(value):
        raise ValueError(f"{what} is {value!r}")


def _checked(made: Checked, texts: str = "", numbers: str = "", maps: str = "") -> Checked:
    """The same, if its fields of these names are what they should be. TypeError, ValueError."""
    for names, kind in ((texts, str), (numbers, NUMBER), (maps, dict)):
        for name in names.split():
            _wanted(getattr(made, name), kind, name)
    return made


def _measurement(found: dict[str, Any]) -> Measurement:
    for name in SERIES:
        _wanted(found[name], list, name)
        for value in found[name]:
            _wanted(value, NUMBER, f"one of the {name}")
    made = _checked(
        Measurement(**found | {name: tuple(found[name]) for name in SERIES}),
        texts="section subject work unit reference note",
        numbers="sent delivered lost",
        maps="parameters details",
    )
    if not made.samples:
        raise ValueError(f"{made.subject}, {made.work}: no samples")
    for name, value in made.parameters.items():
        _wanted(value, (str, *NUMBER), f"the parameter {name}")
    return made


def _machine(found: dict[str, Any]) -> None:
    """Of what is compared, else it may hold anything."""
    for name in ("load", "cores"):
        _wanted(found.get(name, 0), NUMBER, name)
    _wanted(found.get("packages", {}), dict, "packages")
