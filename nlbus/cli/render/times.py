"""Times as text, in ISO 8601: in UTC, or with --local as the clock on the wall, with its offset from UTC."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from nlbus.table.values import time_dtype

if TYPE_CHECKING:
    from nlbus.schema.types import Column

SECOND = 1_000_000_000  # in ns
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": SECOND}
MINUTE = 60
END = 1 << 63  # of the times that numpy has


class Clock:
    """Which time the lines of this program show: a program shows one."""

    local = False


def iso(time_ns: int) -> str:
    """A time since 1970 in UTC, in ns."""
    if not -END < time_ns < END:
        return "NaT"
    return _local(time_ns, SECOND) if Clock.local else f"{np.datetime64(time_ns, 'ns')}Z"


def iso_time(column: Column, value: int) -> str:
    """A value of a column of times, as precise as its unit."""
    array = np.array([value], column.dtype).view(time_dtype(column))
    if not Clock.local or np.isnat(array[0]):
        return str(np.datetime_as_string(array, timezone="UTC")[0])
    return _local(int(array.view(np.int64)[0]), PER_SECOND[column.unit or "ns"])


def _local(value: int, per_second: int) -> str:
    seconds, rest = divmod(value, per_second)
    try:
        then = time.localtime(seconds)
    except (OverflowError, OSError, ValueError):  # beyond the years that the C library knows
        return f"{np.datetime64(value, 'ns')}Z" if per_second == SECOND else str(value)
    digits = len(str(per_second)) - 1
    fraction = f".{rest:0{digits}}" if digits else ""
    sign = "-" if then.tm_gmtoff < 0 else "+"
    hours, minutes = divmod(abs(then.tm_gmtoff) // MINUTE, 60)
    stamp = (
        f"{then.tm_year:04}-{then.tm_mon:02}-{then.tm_mday:02}T"
        f"{then.tm_hour:02}:{then.tm_min:02}:{then.tm_sec:02}"
    )
    return f"{stamp}{fraction}{sign}{hours:02}:{minutes:02}"
