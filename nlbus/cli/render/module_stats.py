"""The counters and parameters of nlbus.ko, for `nlbus stats --module`."""

import json

from nlbus.kernel.netns import Netns
from nlbus.module import GroupStats, ModuleStats, module_stats

COUNTERS = ("overflow", "nomem", "refused", "evicted", "streams")


def lines(netns: Netns, as_json: bool) -> list[str]:
    """The module's statistics in this network namespace, as a table or as one JSON object."""
    stats = module_stats(netns)
    return [as_object(stats)] if as_json else table(stats)


def as_object(stats: ModuleStats) -> str:
    """One JSON object."""
    record = stats._asdict() | {
        "listeners": list(stats.listeners),
        "groups": [group._asdict() for group in stats.groups],
    }
    return json.dumps(record)


def table(stats: ModuleStats) -> list[str]:
    """One line of parameters, one of counters, and one per group."""
    listeners = ",".join(map(str, stats.listeners)) or "none"
    rows = [
        [name.upper() for name in GroupStats._fields],
        *([str(value) for value in group] for group in stats.groups),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"nlbus.ko: protocol {stats.protocol}, chain_bytes {stats.chain_bytes}, linger_us {stats.linger_us}, "
        f"buffer_bytes {stats.buffer_bytes}, open_receive {int(stats.open_receive)}, listeners {listeners}",
        ", ".join(f"{name} {getattr(stats, name)}" for name in COUNTERS),
        *("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows),
    ]
