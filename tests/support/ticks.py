"""Ticks to publish, and a publisher that lingers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from nlbus import Publisher, Topic

TICK = Topic("tick", [("id", "<u8"), ("px", "<f8")], groups=3, type=0x100)


def ticks(count: int, first: int = 0) -> Any:
    rows = np.zeros(count, TICK.dtype)
    rows["id"] = np.arange(first, first + count)
    rows["px"] = rows["id"] / 8
    return rows


@contextmanager
def linger(seconds: float = 1.0) -> Iterator[Publisher]:
    with Publisher(linger=seconds) as opened:
        yield opened
