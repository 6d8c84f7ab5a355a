"""Running: from a subscriber or a capture to a sink, with progress and totals on stderr."""

import os
import stat
import sys
import time
from typing import Any

import click

from nlbus import Subscriber
from nlbus.bus.stream import Feed
from nlbus.capture import Recorded
from nlbus.cli.shared.shutdown import Shutdown
from nlbus.cli.shared.sinks import RecordingSink, Sink
from nlbus.cli.shared.status_line import StatusLine
from nlbus.sources import Source

LOSS_EXIT = 3
TICK = 0.5  # seconds between two looks of the progress line
RARE = ("unbuilt", "malformed", "foreign", "untrusted", "truncated", "requests", "skipped")

fail_on_loss_option = click.option(
    "--fail-on-loss", is_flag=True, help="Exit with 3, at the end, if anything was lost."
)


def follow(
    subscriber: Subscriber, sink: Sink, shutdown: Shutdown, count: int | None, seconds: float | None
) -> None:
    """Until `count` events were shown, `seconds` are up, or it is over. BrokenPipeError."""
    deadline = None if seconds is None else time.monotonic() + seconds
    try:
        with Progress(subscriber, sink) as progress:
            while not shutdown.requested and (count is None or sink.shown < count):
                now = time.monotonic()
                if deadline is not None and now >= deadline:
                    break
                soon = min((at for at in (deadline, sink.due, progress.due) if at is not None), default=None)
                if shutdown.wait(None if soon is None else max(0.0, soon - now)):
                    limit = None if count is None else count - sink.shown
                    sink.write(subscriber.recv(timeout=0), subscriber.source, limit)
                else:
                    sink.idle()
                progress.idle()
    finally:
        sink.close(subscriber.stats()["open"])


class Progress(StatusLine):
    """How far it is, and how fast, where what is written goes elsewhere."""

    def __init__(self, feed: Feed, sink: Sink) -> None:
        super().__init__()
        self._feed = feed
        self._sink = sink
        self.shown = self.shown and _writes_a_file(sink)
        self.due: float | None = time.monotonic() if self.shown else None
        self._before = time.monotonic(), sink.shown

    def idle(self) -> None:
        """Tell it, when it is time."""
        now = time.monotonic()
        if self.due is None or now < self.due:
            return
        self.due = now + TICK
        (began, shown), self._before = self._before, (now, self._sink.shown)
        words = _words(self._feed.stats(), self._sink)
        if now - began > TICK / 2:  # not at the very first
            words += f", {(self._sink.shown - shown) / (now - began):,.0f} events a second"
        self.tell(f"nlbus: {words}")


def totals(stats: dict[str, Any], sink: Sink | None, source: Source | None) -> bool:
    """Say on stderr what was shown and what not; whether anything was lost."""
    click.echo(f"nlbus: {_words(stats, sink)}", err=True)
    lost = stats["lost"] or stats["open"] or stats.get("unbuilt", 0)
    # On the bus a dropped datagram may have been one of several copies: the ledger knows.
    return bool(lost or (stats["dropped"] and (source is None or source.framing != "bus")))


def _words(stats: dict[str, Any], sink: Sink | None) -> str:
    parts = [f"{0 if sink is None else sink.shown} events"]
    if isinstance(sink, RecordingSink):
        recorded: Recorded = sink.recording.recorded
        if sink.recording.waiting:  # of Parquet there may be nothing in the file for long
            parts.append(f"{sink.recording.waiting} of them not yet written")
        parts.append(
            f"{recorded.bytes} bytes" + (f" in {recorded.files} files" if recorded.files > 1 else "")
        )
    parts += [f"{stats['lost']} lost", f"{stats['dropped']} dropped", f"{stats['open']} open"]
    return ", ".join(parts + [f"{stats[name]} {name}" for name in RARE if stats.get(name)])


def _writes_a_file(sink: Sink) -> bool:
    """Whether the terminal stays free: a recording, or a stdout that is a file."""
    if isinstance(sink, RecordingSink):
        return True
    try:
        return stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return False
