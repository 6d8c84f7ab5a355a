"""nlbus beside libraries and programs that read netlink: pyroute2, pyudev, libmnl, libnl, ip, conntrack.

Three works: the same messages parsed from memory, the same routes requested and read, and storms of real
events, one listener at a time. In the first two, all must come to the same sum.
"""

from __future__ import annotations

from collections.abc import Iterator

from nlbus.bench.libraries.reading import from_kernel, from_memory, others
from nlbus.bench.libraries.storms import live
from nlbus.bench.plans import Progress, Scale
from nlbus.bench.results import Measurement, Missing


def measure(plan: Scale, progress: Progress) -> Iterator[Measurement | Missing]:
    """From memory, from the kernel, and live. Each missing library is reported once."""
    there, missing = others()
    yield from missing
    yield from from_memory(plan, progress, there)
    yield from from_kernel(plan, progress, there)
    yield from live(plan, progress, {one.subject for one in missing})


__all__ = ["measure"]
