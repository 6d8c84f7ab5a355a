"""Recording: what a feed yields, as a pcapng file that tshark reads too."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from nlbus._core.packets import Packer
from nlbus.batch import FRAMINGS
from nlbus.capture import pcapng
from nlbus.errors import ClosedError, SchemaError, kernel_error
from nlbus.groups import integer

if TYPE_CHECKING:
    from nlbus.batch import Batch
    from nlbus.feed import Feed
    from nlbus.sources import Source

File = str | os.PathLike[str] | BinaryIO


class Recorded(NamedTuple):
    """What a recording holds; lost are events (bus), dropped datagrams, open those that no gap explains."""

    messages: int  # events on the bus
    batches: int
    bytes: int  # of the file
    lost: int
    dropped: int
    open: int


def record(file: File, subscriber: Feed, seconds: float | None = None, count: int | None = None) -> Recorded:
    """Record what `subscriber` receives from now on, until it is closed or ends.

    seconds: for so long. count: exactly so many messages (events on the bus). file: a path, which is
    overwritten, or a file open for writing bytes. Each batch is written at once: whatever ends the process,
    the file can be read up to its last whole block. Batches of a subscriber with on_loss="raise" that lost
    something end the recording by LossError. KernelError, SchemaError, and what recv raises.
    """
    if count is not None and integer(count, "count") < 0:
        raise SchemaError(f"count={count}: at least 0")
    deadline = None if seconds is None else time.monotonic() + seconds
    name = os.fspath(file) if isinstance(file, (str, os.PathLike)) else getattr(file, "name", "a file")
    with _writable(file) as out:
        recorder = Recorder(out, subscriber, str(name))
        while count is None or recorder.messages < count:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            try:
                batch = subscriber.recv(left)
            except ClosedError:
                break
            recorder.write(batch, None if count is None else count - recorder.messages)
        return recorder.recorded


class Recorder:
    """Writes batches to a file, which is begun at once: it is a capture even without packets."""

    def __init__(self, file: BinaryIO, feed: Feed, name: str) -> None:
        self.messages = 0
        self._batches = self._bytes = self._lost = self._dropped = self._open = 0
        self._file = file
        self._feed = feed
        self._name = name
        self._source: Source | None = None
        self._packer: Packer  # of that source
        head = pcapng.section()
        if feed.source is not None:
            head += self._describe(feed.source)
        self._write(head)

    @property
    def recorded(self) -> Recorded:
        """What was written so far."""
        return Recorded(self.messages, self._batches, self._bytes, self._lost, self._dropped, self._open)

    def write(self, batch: Batch, limit: int | None = None) -> None:
        """Write a batch that the feed has just yielded, its first `limit` messages at most; flushed.

        A batch without messages and losses leaves no trace. KernelError.
        """
        if not batch and not batch.loss:
            return
        if limit is not None and len(batch) > limit:
            batch = batch.select(np.arange(len(batch)) < limit)
        source = self._feed.source
        assert source is not None  # it has yielded a batch
        out = []
        if self._source is None:
            out.append(self._describe(source))
        elif self._source != source:
            out += [pcapng.section(), self._describe(source)]
        out.append(pcapng.losses(batch.loss, batch.time_ns))
        block, selected, rows = batch._block, batch._selected, len(batch._table)
        start = 0
        while start < rows:
            stop, new = self._packer.learn(block, selected, start)
            out += [pcapng.interface(source, pcapng.Origin(*origin)) for origin in new]
            out.append(self._packer.pack(block, selected, start, stop))
            if stop < rows:
                # More senders than a section can name.
                self._packer.begin_section()
                out += [pcapng.section(), self._interface(source)]
            start = stop
        self._write(b"".join(out))
        self.messages += len(batch)
        self._batches += 1
        self._lost += batch.loss.events
        self._dropped += batch.loss.datagrams
        self._open = batch.loss.open

    def _describe(self, source: Source) -> bytes:
        self._source = source
        self._packer = Packer(FRAMINGS.index(source.framing), source.protocol)
        return self._interface(source)

    def _interface(self, source: Source) -> bytes:
        return pcapng.interface(source, pcapng.Origin(), self._feed.groups)

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
    """The file, unbuffered if it is opened here: a write then is a whole batch."""
    if not isinstance(file, (str, os.PathLike)):
        return nullcontext(file)
    try:
        return open(file, "wb", buffering=0)  # noqa: PTH123
    except OSError as error:
        raise kernel_error(error.errno or 0, f"opening {os.fspath(file)} to record") from error
