"""Where events go: lines of text, JSON or CSV on stdout, or a recording.

Losses go to the same place, except with CSV, where they are reported on stderr.
"""

import sys
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import BinaryIO, Protocol

import click

from nlbus import Batch
from nlbus.bus.merge import Merged
from nlbus.bus.stream import Feed
from nlbus.capture import Recorder, Recording
from nlbus.capture.tablefiles import Target
from nlbus.capture.tables import TableRecorder, about, checked_roll
from nlbus.cli.render.csv_rows import csv_head, csv_rows
from nlbus.cli.render.records import Record, as_json, as_text, gap_text, gaps, open_gap
from nlbus.cli.render.view import OF_ONE_TABLE, View
from nlbus.cli.shared.stderr import report
from nlbus.cli.shared.stdout import no_color, write_all, write_bytes, write_encoded
from nlbus.sources import Source

QUIET = 0.5  # seconds of silence after which unexplained drops are shown
CHUNK = 128  # lines per write, at most

ViewOf = Callable[[Source], View | None]  # None: nothing of this source is shown


class Sink(Protocol):
    """Takes batches. Raises BrokenPipeError when the reader of its output is gone."""

    @property
    def shown(self) -> int:
        """Events so far."""

    @property
    def due(self) -> float | None:
        """When to call `idle`, in time.monotonic(); None: not before the next batch."""

    def write(self, batch: Batch, source: Source | None, limit: int | None) -> None:
        """Write the batch's losses, then at most `limit` of its events."""

    def idle(self) -> None:
        """Do what is due."""

    def close(self, still_open: int) -> None:
        """Finish. still_open: dropped datagrams that no gap explains."""


class _OpenDrops:
    """Dropped datagrams that no gap explains yet: shown once no batch changed their number for a while."""

    def __init__(self, show: Callable[[Record], None]) -> None:
        self.due: float | None = None
        self._show = show
        self._count = self._shown = 0
        self._since = 0  # UTC in ns

    def update(self, batch: Batch) -> None:
        if batch.time_ns - self._since > QUIET * 1e9:
            self.show()
        if batch.loss.open != self._count:
            self._since = batch.time_ns
            self.due = time.monotonic() + QUIET
        self._count = batch.loss.open
        self._shown = min(self._shown, self._count)

    def idle(self) -> None:
        if self.due is not None and time.monotonic() >= self.due:
            self.show()

    def show(self, count: int | None = None) -> None:
        self._count = self._count if count is None else count
        self.due = None
        if self._count > self._shown:
            self._show(open_gap(self._count))
            self._shown = self._count


class _Lines:
    """Lines on stdout: the common part of LineSink and CsvSink."""

    def __init__(self) -> None:
        self.shown = 0
        self.several = False  # whether batches are of several sources
        self._open = _OpenDrops(lambda gap: self._gaps([gap]))

    @property
    def due(self) -> float | None:
        """When unexplained drops are to be shown."""
        return self._open.due

    def write(self, batch: Batch, source: Source | None, limit: int | None) -> None:
        """Write a line per loss, then a line per event."""
        self._open.update(batch)
        # Among several sources, a gap says whose it is.
        self._gaps({**gap, "source": batch.source.name} if self.several else gap for gap in gaps(batch.loss))
        if batch and source is not None:
            self.shown += self._events(batch, source, limit)

    def idle(self) -> None:
        """Show unexplained drops if it is time."""
        self._open.idle()

    def close(self, still_open: int) -> None:
        """Show the drops that stay unexplained."""
        self._open.show(still_open)

    def _gaps(self, gaps: Iterable[Record]) -> None:
        raise NotImplementedError

    def _events(self, batch: Batch, source: Source, limit: int | None) -> int:
        raise NotImplementedError


class LineSink(_Lines):
    """Text or JSON: one line per event, and one per loss."""

    def __init__(self, output: str, view_of: ViewOf) -> None:
        super().__init__()
        self._view_of = view_of
        self._gap = as_json if output == "json" else as_text

    def _gaps(self, gaps: Iterable[Record]) -> None:
        write_lines(map(self._gap, gaps))

    def _events(self, batch: Batch, source: Source, limit: int | None) -> int:
        view = self._view_of(source)
        if view is None:
            return 0
        terminal = sys.stdout.isatty()
        lines, count = view.lines(batch, limit, styled=terminal and not no_color())
        if terminal:
            write_all(lines.decode())
        elif lines:
            write_encoded(lines)
        return count


class CsvSink(_Lines):
    """The rows of one table as CSV, with a header. Losses are reported on stderr."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view
        write_csv(csv_head(view.only).encode() + b"\n")

    def _gaps(self, gaps: Iterable[Record]) -> None:
        for gap in gaps:
            report(f"--- gap: {gap_text(gap)} ---", color="red")

    def _events(self, batch: Batch, source: Source, limit: int | None) -> int:
        if source.name != self._view.source.name:
            return 0
        table = self._view.table(batch)
        table = table if limit is None else table.head(limit)
        written = 0
        for lines, count in csv_rows(self._view.source, table, terminal=sys.stdout.isatty()):
            write_csv(lines)
            written += count
        return written


class RecordingSink:
    """A capture, or a table for other programs."""

    def __init__(self, recording: Recording, only: str | None = None) -> None:
        self.recording = recording
        self._only = only

    @property
    def shown(self) -> int:
        """Messages or rows so far."""
        return self.recording.messages

    @property
    def due(self) -> float | None:
        """When the recording wants to write."""
        return self.recording.due

    def write(self, batch: Batch, source: Source | None, limit: int | None) -> None:
        """Write to the recording; a table takes the batches of its own source only."""
        if self._only is None or (source is not None and source.name == self._only):
            self.recording.write(batch, limit)

    def idle(self) -> None:
        """Write what is due."""
        self.recording.idle()

    def close(self, still_open: int) -> None:
        """Write the end."""
        self.recording.close()


def table_sink(
    file: str | BinaryIO,
    format: str,
    view: View,
    roll_bytes: int | None = None,
    roll_seconds: float | None = None,
) -> RecordingSink:
    """Write the one table of a view to one or several files. UsageError for several tables; MissingExtra."""
    numbered = checked_roll(roll_bytes, roll_seconds)
    recorder = TableRecorder(
        Target(file, format, numbered=numbered),
        view.only,
        view.table,
        about=about(view.source, view.table_name),
        roll_bytes=roll_bytes,
        roll_seconds=roll_seconds,
    )
    return RecordingSink(recorder, view.source.name)


def stdout_sink(output: str, feed: Feed, view: View | None, view_of: ViewOf) -> Sink:
    """The sink that writes this format to stdout."""
    if output == "pcapng":
        return RecordingSink(Recorder(sys.stdout.buffer, feed, "stdout"))
    if output not in OF_ONE_TABLE:
        sink = LineSink(output, view_of)
        sink.several = isinstance(feed, Merged)
        return sink
    if view is None:
        raise click.UsageError(
            f"{output} has the rows of one table, and the source is unknown: pass --source"
        )
    return CsvSink(view) if output == "csv" else table_sink(sys.stdout.buffer, output, view)


def write_lines(lines: Iterable[str], write: Callable[[str], None] = write_all) -> int:
    """Write and flush lines, up to CHUNK at a time. Return their number. BrokenPipeError."""
    lines = iter(lines)
    written = 0
    while some := list(islice(lines, CHUNK)):
        write("\n".join(some) + "\n")
        written += len(some)
    return written


def write_csv(lines: bytes) -> None:
    """Write lines of CSV: unaltered, except on a terminal. BrokenPipeError, KernelError."""
    if sys.stdout.isatty():
        write_all(lines.decode())
    else:
        write_bytes(lines)
