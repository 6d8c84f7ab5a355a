"""nlbus beside libraries and programs that read netlink: pyroute2, pyudev, libmnl, libnl, ip, conntrack.

Three works: the same messages parsed from memory, the same routes asked for and read, and storms of real
events, one listener at a time. In the first two, all must come to the same sum.
"""

from __future__ import annotations

from collections.abc import Iterator

from nlbus.bench.libraries.reading import from_kernel, from_memory
from nlbus.bench.libraries.storms import live
from nlbus.bench.plans import Scale, Tell
from nlbus.bench.results import Measurement, Missing


def measure(plan: Scale, tell: Tell) -> Iterator[Measurement | Missing]:
    """From memory, from the kernel, and live."""
    yield from from_memory(plan, tell)
    yield from from_kernel(plan, tell)
    yield from live(plan, tell)


__all__ = ["measure"]
