"""Where events go: lines of text, JSON or CSV, or a recording. Losses go there too, or are told on stderr."""

import sys
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import BinaryIO, Protocol

import click

from nlbus import Batch
from nlbus.bus.stream import Feed
from nlbus.capture import Recorder, Recording
from nlbus.capture.tablefiles import Target
from nlbus.capture.tables import TableRecorder, about, checked_roll
from nlbus.cli.render import records
from nlbus.cli.render.csv_rows import csv_head, csv_rows
from nlbus.cli.render.view import OF_ONE_TABLE, View
from nlbus.cli.shared.stdout import write_all
from nlbus.sources import Source

QUIET = 0.5  # seconds until dropped datagrams that nothing explains are told
CHUNK = 128  # lines a write, at most

Viewed = Callable[[Source], View | None]  # None: nothing of this source is to be shown


class Sink(Protocol):
    """Takes batches. BrokenPipeError where nobody reads them any more."""

    @property
    def shown(self) -> int:
        """Events so far."""

    @property
    def due(self) -> float | None:
        """When `idle` is to be called, by time.monotonic; None: not before the next batch."""

    def write(self, batch: Batch, source: Source | None, limit: int | None) -> None:
        """Its losses, and its events, the first `limit` at most."""

    def idle(self) -> None:
        """Do what is due."""

    def close(self, still_open: int) -> None:
        """It is over, with so many dropped datagrams that nothing explains."""


class _Open:
    """Dropped datagrams that no gap explains: told when there was no news of them for a while."""

    def __init__(self, tell: Callable[[records.Record], None]) -> None:
        self.due: float | None = None
        self._tell = tell
        self._count = self._told = 0
        self._since = 0  # in ns UTC

    def heard(self, batch: Batch) -> None:
        if batch.time_ns - self._since > QUIET * 1e9:
            self.tell()
        if batch.loss.open != self._count:
            self._since = batch.time_ns
            self.due = time.monotonic() + QUIET
        self._count = batch.loss.open
        self._told = min(self._told, self._count)

    def idle(self) -> None:
        if self.due is not None and time.monotonic() >= self.due:
            self.tell()

    def tell(self, count: int | None = None) -> None:
        self._count = self._count if count is None else count
        self.due = None
        if self._count > self._told:
            self._tell(records.open_gap(self._count))
            self._told = self._count


class _Lines:
    """Lines on stdout: what both kinds of them have in common."""

    def __init__(self) -> None:
        self.shown = 0
        self._open = _Open(lambda gap: self._gaps([gap]))

    @property
    def due(self) -> float | None:
        """When what is open is to be told."""
        return self._open.due

    def write(self, batch: Batch, source: Source | None, limit: int | None) -> None:
        """What was lost, then a line an event."""
        self._open.heard(batch)
        self._gaps(records.gaps(batch.loss))
        if batch and source is not None:
            self.shown += write_lines(self._events(batch, source, limit))

    def idle(self) -> None:
        """Tell what is open, if it is time."""
        self._open.idle()

    def close(self, still_open: int) -> None:
        """Tell what is open in the end."""
        self._open.tell(still_open)

    def _gaps(self, gaps: Iterable[records.Record]) -> None:
        raise NotImplementedError

    def _events(self, batch: Batch, source: Source, limit: int | None) -> Iterable[str]:
        raise NotImplementedError


class LineSink(_Lines):
    """Text or JSON, an event a line; losses are lines, too."""

    def __init__(self, output: str, viewed: Viewed) -> None:
        super().__init__()
        self._viewed = viewed
        self._gap = records.as_json if output == "json" else records.as_text

    def _gaps(self, gaps: Iterable[records.Record]) -> None:
        write_lines(map(self._gap, gaps))

    def _events(self, batch: Batch, source: Source, limit: int | None) -> Iterable[str]:
        view = self._viewed(source)
        return () if view is None else map(view.line, view.records(batch, limit))


class CsvSink(_Lines):
    """The rows of one table, a line each, after their names. Losses are told on stderr."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view
        write_lines([csv_head(view.only)])

    def _gaps(self, gaps: Iterable[records.Record]) -> None:
        for gap in gaps:
            click.echo(f"nlbus: {records.as_text(gap)}", err=True)

    def _events(self, batch: Batch, source: Source, limit: int | None) -> Iterable[str]:
        if source.name != self._view.source.name:
            return ()
        table = self._view.table(batch)
        return csv_rows(self._view.source, table if limit is None else table.head(limit))


class RecordingSink:
    """A capture, or a table for other programs."""

    def __init__(self, recording: Recording, only: str | None = None) -> None:
        self.recording = recording
        self._only = only

    @property
    def shown(self) -> int:
        """Messages, or rows."""
        return self.recording.messages

    @property
    def due(self) -> float | None:
        """When the recording wants to write."""
        return self.recording.due

    def write(self, batch: Batch, source: Source | None, limit: int | None) -> None:
        """Into the recording; of one source, where it is a table."""
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
    """The one table of a view, into a file or several. UsageError if there are more tables; MissingExtra."""
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


def stdout_sink(output: str, feed: Feed, view: View | None, viewed: Viewed) -> Sink:
    """What writes to stdout in this format."""
    if output == "pcapng":
        return RecordingSink(Recorder(sys.stdout.buffer, feed, "stdout"))
    if output not in OF_ONE_TABLE:
        return LineSink(output, viewed)
    if view is None:
        raise click.UsageError(
            f"{output} has the rows of one table: nothing says of which source; give --source"
        )
    return CsvSink(view) if output == "csv" else table_sink(sys.stdout.buffer, output, view)


def write_lines(lines: Iterable[str]) -> int:
    """Write and flush them, many at a time if they are there already. How many it were. BrokenPipeError."""
    lines = iter(lines)
    written = 0
    while some := list(islice(lines, CHUNK)):
        write_all("\n".join(some) + "\n")
        written += len(some)
    return written
