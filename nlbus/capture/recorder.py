"""Recording the batches of a feed: as pcapng, which tshark reads, too, or as the rows of one table."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from nlbus._core.block import FRAMINGS
from nlbus._core.capture.packets import Packer
from nlbus.bus.merge import Merged
from nlbus.capture import pcapng
from nlbus.capture.recorded import Recorded, Recording
from nlbus.capture.suffixes import SUFFIXES, named_format, renamed
from nlbus.capture.tablefiles import Target
from nlbus.capture.tables import TableRecorder, about, checked_roll, chosen_table
from nlbus.errors import ClosedError, SchemaError, kernel_error
from nlbus.kernel.arguments import optional_seconds, whole

if TYPE_CHECKING:
    from nlbus.bus.batch import Batch
    from nlbus.bus.stream import Feed
    from nlbus.kernel.groups import Groups
    from nlbus.schema.topic import Topic
    from nlbus.sources import Source

MOST_INTERFACES = 4096  # a section

File = str | os.PathLike[str] | BinaryIO


def record(
    file: File,
    subscriber: Feed,
    seconds: float | None = None,
    count: int | None = None,
    *,
    table: str | Topic | None = None,
    roll_bytes: int | None = None,
    roll_seconds: float | None = None,
) -> Recorded:
    """Record everything that `subscriber` receives from now on, until it is closed or ends.

    A path that ends in .arrows or .parquet gets the rows of `table`, by pyarrow; without `table`, the
    subscriber's tables= must name one. Any other file gets all messages, as pcapng. seconds: the duration.
    count: the exact number of rows, or of messages (events on the bus). file: a path, which is overwritten,
    or, for pcapng, a file open for writing bytes.

    pcapng: each batch is written at once; whatever ends the process, the file is readable up to its last
    whole block. .arrows: rows are written within a second, and the file is always readable. .parquet: a file
    gets its name once it is complete; until then it is called NAME.part. roll_bytes, roll_seconds: a table
    goes to numbered files, NAME-000001.parquet and so on, each of about that many bytes, or ended that long
    after its first row.

    A loss of a subscriber with on_loss="raise" ends the recording with LossError.
    KernelError, SchemaError, MissingExtra, and what recv raises.
    """
    count = None if count is None else whole(count, "count", 0, sys.maxsize)
    limit = optional_seconds(seconds, "seconds")
    deadline = None if limit is None else time.monotonic() + limit
    with _recording(file, subscriber, table, roll_bytes, roll_seconds) as recording:
        while count is None or recording.messages < count:
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                break
            wake_at = min((at for at in (deadline, recording.due) if at is not None), default=None)
            try:
                batch = subscriber.recv(None if wake_at is None else max(0.0, wake_at - now))
            except ClosedError:
                break
            recording.write(batch, None if count is None else count - recording.messages)
    return recording.recorded


@contextmanager
def _recording(
    file: File, feed: Feed, table: str | Topic | None, roll_bytes: int | None, roll_seconds: float | None
) -> Iterator[Recording]:
    """The recording for this file, by its suffix; closed at the end."""
    numbered = checked_roll(roll_bytes, roll_seconds)
    path = os.fspath(file) if isinstance(file, (str, os.PathLike)) else None
    format = None if path is None else _format_of(path)
    if format is None:
        if table is not None or numbered:
            raise SchemaError(
                "a table, and numbered files, need .arrows or .parquet: pcapng has all messages in one file"
            )
        with _writable(file) as out:
            yield Recorder(out, feed, path or str(getattr(file, "name", "a file")))
        return
    name = chosen_table(feed, table)
    recorder = TableRecorder(
        Target(file, format, numbered=numbered),
        feed.empty(name),
        lambda batch: batch.table(name),
        about=about(feed.source, name),
        roll_bytes=roll_bytes,
        roll_seconds=roll_seconds,
    )
    try:
        yield recorder
    finally:
        recorder.close()


def _format_of(path: str) -> str | None:
    """The format of tables that this path names; None: a capture. SchemaError for any other format."""
    named = named_format(os.fsdecode(path))
    if named == "pcapng" or not named:
        return None
    if named in SUFFIXES.values() and Path(os.fsdecode(path)).suffix.lower() in SUFFIXES:
        return named
    rows = f"{renamed(path, '.arrows')} or {renamed(path, '.parquet')} for the rows of a table"
    raise SchemaError(
        f"{path} names a format that record() does not write: {renamed(path, '.pcapng')}, or {rows}"
    )


class Recorder:
    """Writes batches to a pcapng file. The header is written at once, so the file is always a capture."""

    def __init__(self, file: BinaryIO, feed: Feed, name: str) -> None:
        self.messages = self.waiting = 0
        self._batches = self._bytes = self._lost = self._dropped = self._open = 0
        self._file = file
        self._feed = feed
        self._name = name
        self._packers: dict[str, Packer] = {}  # by source
        self._first: dict[str, int] = {}  # the interface of the recording itself, in this section
        self._interfaces = 0  # in this section
        head = pcapng.section()
        for part in feed.feeds if isinstance(feed, Merged) else (feed,):
            if part.source is not None and part.source.name not in self._first:
                head += self._describe(part.source, part.groups)
        self._write(head)

    @property
    def recorded(self) -> Recorded:
        """The totals so far."""
        return Recorded(self.messages, self._batches, self._bytes, self._lost, self._dropped, self._open)

    @property
    def due(self) -> float | None:
        """None: each batch is written at once."""
        return None

    def idle(self) -> None:
        """Nothing is ever due."""

    def close(self) -> None:
        """Nothing to write: pcapng has no end marker."""

    def write(self, batch: Batch, limit: int | None = None) -> None:
        """Write and flush a batch that the feed has just yielded, at most its first `limit` messages.

        A batch without messages and losses leaves no trace, nor do the rows of repairs: a capture has what
        was received. KernelError.
        """
        if batch.made is not None or (not batch and not batch.loss):
            return
        if limit is not None and len(batch) > limit:
            batch = batch.select(np.arange(len(batch)) < limit)
        source = self._feed.source
        assert source is not None  # it has yielded a batch
        out = [] if source.name in self._first else [self._describe(source, self._feed.groups)]
        out.append(pcapng.losses(batch.loss, batch.time_ns, self._first[source.name]))
        block, selected, rows = batch.block, batch.selected, len(batch.index)
        packer = self._packers[source.name]
        start = 0
        while start < rows:
            stop, new = packer.learn(block, selected, start)
            if self._interfaces + len(new) > MOST_INTERFACES:
                out.append(self._begin_section(source))
                continue
            out += [pcapng.interface(source, pcapng.Origin(*origin)) for origin in new]
            packer.number(self._interfaces)
            self._interfaces += len(new)
            out.append(packer.pack(block, selected, start, stop))
            if stop < rows:
                # More senders than one section can name.
                out.append(self._begin_section(source))
            start = stop
        self._write(b"".join(out))
        self.messages += len(batch)
        self._batches += 1
        self._lost += batch.loss.events
        self._dropped += batch.loss.datagrams
        self._open = batch.loss.open

    def _begin_section(self, source: Source) -> bytes:
        """A section with the interface of this source's recording; others follow with their batches."""
        self._first.clear()
        self._interfaces = 0
        for packer in self._packers.values():
            packer.begin_section()
        return pcapng.section() + self._describe(source, self._feed.groups)

    def _describe(self, source: Source, groups: Groups) -> bytes:
        if source.name not in self._packers:
            self._packers[source.name] = Packer(FRAMINGS.index(source.framing), source.protocol)
        self._packers[source.name].number(self._interfaces)
        self._first[source.name] = self._interfaces
        self._interfaces += 1
        return pcapng.interface(source, pcapng.Origin(), groups)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise kernel_error(error.errno or 0, f"recording to {self._name}") from error
        self._bytes += len(data)


def _writable(file: File) -> AbstractContextManager[BinaryIO]:
    """The file; if it is opened here, unbuffered, since a write is a whole batch."""
    if not isinstance(file, (str, os.PathLike)):
        return nullcontext(file)
    try:
        return open(file, "wb", buffering=0)  # noqa: PTH123
    except OSError as error:
        raise kernel_error(error.errno or 0, f"opening {os.fspath(file)} to record") from error
