"""Moving batches from a subscriber to a sink, with progress and totals on stderr."""

import os
import stat
import sys
import time
from typing import Any

from nlbus.bus.stream import Feed
from nlbus.capture import Recorded
from nlbus.cli.shared.shutdown import Shutdown
from nlbus.cli.shared.sinks import RecordingSink, Sink
from nlbus.cli.shared.status_line import StatusLine
from nlbus.cli.shared.stderr import report
from nlbus.sources import Source, find

LOSS_EXIT = 3
TICK = 0.5  # seconds between updates of the status line
LONGEST_WAIT = 3600.0  # seconds of one poll, which counts milliseconds in an int
# Counters that are shown only when they are not 0.
RARE = ("unbuilt", "malformed", "foreign", "untrusted", "truncated", "requests", "skipped")


def follow(
    subscriber: Feed, sink: Sink, shutdown: Shutdown, count: int | None, seconds: float | None
) -> None:
    """Write events until `count` were shown, `seconds` have passed, or shutdown. BrokenPipeError."""
    deadline = None if seconds is None else time.monotonic() + seconds
    try:
        with Progress(subscriber, sink) as progress:
            while not shutdown.requested and (count is None or sink.shown < count):
                now = time.monotonic()
                if deadline is not None and now >= deadline:
                    break
                soon = min((at for at in (deadline, sink.due, progress.due) if at is not None), default=None)
                if shutdown.wait(None if soon is None else min(max(0.0, soon - now), LONGEST_WAIT)):
                    limit = None if count is None else count - sink.shown
                    sink.write(subscriber.recv(timeout=0), subscriber.source, limit)
                else:
                    sink.idle()
                progress.idle()
    finally:
        sink.close(subscriber.stats()["open"])


class Progress(StatusLine):
    """The totals so far and the rate, while the terminal is not used for output."""

    def __init__(self, feed: Feed, sink: Sink) -> None:
        super().__init__()
        self._feed = feed
        self._sink = sink
        self.shown = self.shown and _writes_a_file(sink)
        self.due: float | None = time.monotonic() if self.shown else None
        self._before = time.monotonic(), sink.shown

    def idle(self) -> None:
        """Update the line if it is due."""
        now = time.monotonic()
        if self.due is None or now < self.due:
            return
        self.due = now + TICK
        (began, shown), self._before = self._before, (now, self._sink.shown)
        text = _totals_text(self._feed.stats(), self._sink)
        if now - began > TICK / 2:  # the first update has no rate
            text += f", {(self._sink.shown - shown) / (now - began):,.0f} events per second"
        self.show(f"nlbus: {text}")


def report_totals(stats: dict[str, Any], sink: Sink | None, source: Source | None) -> bool:
    """Report the totals on stderr. Return whether anything was lost."""
    report(_totals_text(stats, sink))
    return _is_lossy(stats, source)


def _is_lossy(stats: dict[str, Any], source: Source | None) -> bool:
    if "sources" in stats:
        return any(_is_lossy(each, find(name.split(" ")[0])) for name, each in stats["sources"].items())
    lost = stats["lost"] or stats["open"] or stats.get("unbuilt", 0)
    # On the bus a dropped datagram may be one of several copies: only the ledger knows what was lost, unless
    # a filter makes gaps.
    lost = lost or (stats["dropped"] and stats.get("filtered"))
    return bool(lost or (stats["dropped"] and (source is None or source.framing != "bus")))


def _totals_text(stats: dict[str, Any], sink: Sink | None) -> str:
    parts = [f"{0 if sink is None else sink.shown} events"]
    if isinstance(sink, RecordingSink):
        recorded: Recorded = sink.recording.recorded
        if sink.recording.waiting:  # a Parquet row group may take long to fill
            parts.append(f"{sink.recording.waiting} of them not yet written")
        parts.append(
            f"{recorded.bytes} bytes" + (f" in {recorded.files} files" if recorded.files > 1 else "")
        )
    parts += [f"{stats['lost']} lost", f"{stats['dropped']} dropped", f"{stats['open']} open"]
    return ", ".join(parts + [f"{stats[name]} {name}" for name in RARE if stats.get(name)])


def _writes_a_file(sink: Sink) -> bool:
    if isinstance(sink, RecordingSink):
        return True
    try:
        return stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return False
