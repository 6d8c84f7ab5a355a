"""What is written: events and gaps a line each, totals at the end."""

from collections.abc import Callable, Iterable
from typing import Any

import click

from nlbus.cli import show
from nlbus.cli.ending import write_all
from nlbus.sources import Source

LOSS_EXIT = 3
QUIET = 0.5  # seconds without an event until dropped datagrams that nothing explains are told
CHUNK = 128  # lines a write, at most


class Lines:
    """Writes records to stdout, by a function that makes a line of each."""

    def __init__(self, line: Callable[[show.Record], str]) -> None:
        self._line = line

    def write(self, records: Iterable[show.Record]) -> int:
        """Write and flush them, many lines at a time if they are there already. How many it were."""
        written = 0
        lines: list[str] = []
        for record in records:
            lines.append(self._line(record))
            if len(lines) == CHUNK:
                write_all("\n".join(lines) + "\n")
                written += len(lines)
                lines.clear()
        if lines:
            write_all("\n".join(lines) + "\n")
        return written + len(lines)


def totals(stats: dict[str, Any], shown: int, source: Source | None) -> bool:
    """Say on stderr what was shown and what not; whether anything was lost."""
    lost, dropped, still_open = stats["lost"], stats["dropped"], stats["open"]
    parts = [f"{shown} events", f"{lost} lost", f"{dropped} dropped", f"{still_open} open"]
    unbuilt = stats.get("unbuilt", 0)
    rare = ("unbuilt", "malformed", "foreign", "untrusted", "truncated", "requests", "skipped")
    parts += [f"{stats[name]} {name}" for name in rare if stats.get(name)]
    click.echo(f"nlbus: {', '.join(parts)}", err=True)
    # On the bus a dropped datagram may have been one of several copies: the ledger knows.
    return bool(lost or still_open or unbuilt or (dropped and (source is None or source.framing != "bus")))
