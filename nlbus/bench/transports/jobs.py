"""What is measured: events, and how they are sent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nlbus.bench.plans import Scale

HALF = 0.5  # the value of every event: its sum says that they arrived whole
BATCH_BYTES = 64 << 10
SECONDS = {"quick": 0.04, "full": 0.05}  # of a turn
# Events a second that are offered, by size and whether they are single: few, some, and more than most can do.
RATES = {
    (64, True): (20_000, 100_000, 300_000),
    (64, False): (500_000, 4_000_000, 16_000_000),
    (1024, True): (100_000, 300_000),
    (1024, False): (500_000, 2_000_000),
}
SOME = {(64, True): 100_000, (64, False): 4_000_000, (1024, True): 100_000, (1024, False): 500_000}


def event(size: int) -> np.dtype[Any]:
    """Of so many bytes: number, time (ns, CLOCK_MONOTONIC; 0 where nobody looks), value, the rest."""
    return np.dtype([("seq", "<u8"), ("time", "<u8"), ("value", "<f8"), ("rest", f"V{size - 24}")])


@dataclass(frozen=True)
class Job:
    """One publisher, so many subscribers, for so long. offered: events a second; 0 is flat out."""

    subscribers: int
    size: int
    batch: int
    offered: int
    seconds: float

    @property
    def work(self) -> str:
        """In words, the same for all transports."""
        how = "single" if self.batch == 1 else f"batches of {self.batch}"
        who = f"{self.subscribers} subscriber{'s' * (self.subscribers > 1)}"
        rate = f"{self.offered:,}/s offered" if self.offered else "flat out"
        return f"{self.size} B, {how}, {who}, {rate}"

    @property
    def parameters(self) -> dict[str, int]:
        """The axes."""
        return {name: value for name, value in asdict(self).items() if name != "seconds"}


def jobs(plan: Scale) -> list[Job]:
    """Fewer subscribers first."""
    seconds = SECONDS[plan.name]

    def job(subscribers: int, size: int, single: bool, offered: int = 0) -> Job:
        return Job(subscribers, size, 1 if single else BATCH_BYTES // size, offered, seconds)

    if plan.name == "quick":
        return [
            *(job(1, 64, single) for single in (True, False)),
            job(1, 1024, False),
            *(job(1, 64, single, RATES[64, single][-1]) for single in (True, False)),
            job(2, 64, False),
        ]
    found = []
    for count in (1, 2, 4, 8):
        for (size, single), rates in RATES.items():
            chosen = rates if count in (1, 4) else (SOME[size, single],)
            found += [job(count, size, single, rate) for rate in (0, *chosen)]
    return found
