"""What is measured: events, and how they are sent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nlbus.bench.plans import Scale

HALF = 0.5  # the value of every event: its sum says that they arrived whole
BATCH_BYTES = 64 << 10


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
    if plan.name == "quick":
        return [
            *(flat(1, 64, single, 0.04) for single in (True, False)),
            flat(1, 1024, False, 0.04),
            offered(1, True, 20_000, 0.06),
            offered(1, False, 2_000_000, 0.06),
            *(flat(2, 64, single, 0.04) for single in (True, False)),
        ]
    found = []
    for count in (1, 2, 4, 8):
        found += [flat(count, size, single, 0.05) for size in (64, 1024) for single in (True, False)]
        if count in (1, 4):
            found += [offered(count, True, rate, 0.1) for rate in (5_000, 20_000)]
            found += [offered(count, False, rate, 0.1) for rate in (500_000, 4_000_000)]
    return found


def flat(subscribers: int, size: int, single: bool, seconds: float) -> Job:
    """As fast as it goes."""
    return Job(subscribers, size, 1 if single else BATCH_BYTES // size, 0, seconds)


def offered(subscribers: int, single: bool, rate: int, seconds: float) -> Job:
    """64-byte events at this rate."""
    return Job(subscribers, 64, 1 if single else BATCH_BYTES // 64, rate, seconds)
