"""Reading captures like a Subscriber."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from nlbus.bus.batch import Batch
from nlbus.bus.stream import Feed, OnLoss
from nlbus.capture.batches import Batches
from nlbus.errors import BusyError, ClosedError, NlbusError
from nlbus.kernel.arguments import optional_seconds
from nlbus.kernel.groups import Groups
from nlbus.sources import Source, group_names


def open_capture(
    file: str | os.PathLike[str] | BinaryIO, source: str | None = None, *, on_loss: OnLoss = "log"
) -> Capture:
    """Open a capture file or pipe, to read it like a Subscriber. See Capture."""
    return Capture(file, source, on_loss=on_loss)


class Capture(Feed):
    """The batches of a capture file, plain or gzip: pcapng by nlbus, or pcapng or pcap of an nlmon device.

    A capture of nlbus returns the batches, losses and times as they were received. In other captures, the
    protocol in the packets determines the source, portid and group are 0 because the file lacks them, and
    packets with the same timestamp are one batch. nlmon sees both directions and each copy: requests to the
    kernel are left out (`requests` of stats), and a message to several sockets appears several times.

    source: only packets of this source; a raw source takes all of its protocol. on_loss: as of a Subscriber.
    Messages are in the byte order of the host that recorded them; those of another count as malformed.
    CaptureError for a file that is not a capture or holds no netlink; a damaged one first yields everything
    before the damage. KernelError, UnknownSource.
    """

    live = False

    def __init__(
        self,
        file: str | os.PathLike[str] | BinaryIO,
        source: str | None = None,
        *,
        on_loss: OnLoss = "log",
    ) -> None:
        super().__init__(on_loss)
        self._batches = Batches(file, source)
        self._name = self._batches.input.name
        self._consuming = threading.Lock()
        self._closed = False
        self._counts = {"delivered": 0, "lost": 0, "dropped": 0, "open": 0}

    # -- receiving --------------------------------------------------------------------------------

    def recv(self, timeout: float | None = None) -> Batch:
        """The next batch; never an empty one without losses. `timeout` has no effect: only the file is read.

        ClosedError at the end of the capture, or once closed; CaptureError at damage, once everything before
        it was delivered; SchemaError, BusyError, LossError (on_loss="raise").
        """
        optional_seconds(timeout, "timeout")
        with self._consumer():
            if (held := self._take_held()) is not None:
                return held
            batch = self._batches.next()
            if batch is None:
                raise ClosedError(f"{self._name}: end of capture")
            self._counts["delivered"] += len(batch)
            self._counts["open"] = batch.loss.open
            if batch.loss:
                self._counts["lost"] += batch.loss.events
                self._counts["dropped"] += batch.loss.datagrams
            return self._report(batch, self._name)

    @contextmanager
    def _consumer(self) -> Iterator[None]:
        if not self._consuming.acquire(blocking=False):
            raise BusyError("another thread is reading: one consumer per capture")
        try:
            if self._closed:
                raise ClosedError("already closed")
            yield
        finally:
            if self._closed:
                self._batches.input.close()
            self._consuming.release()

    def fileno(self) -> int:
        """Raise NlbusError: a capture has no descriptor, its recv never waits."""
        raise NlbusError("a capture has no descriptor to wait for: its recv does not wait, so just call it")

    def close(self) -> None:
        """Close it, from any thread. Closing twice is fine."""
        self._closed = True
        if self._consuming.acquire(blocking=False):
            self._batches.input.close()
            self._consuming.release()
        self._log_rest(self._name)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    # -- status -----------------------------------------------------------------------------------

    @property
    def source(self) -> Source | None:
        """The source of the newest batch; before the first, that of the file, or None if unknown."""
        return self._batches.source

    @property
    def groups(self) -> Groups:
        """The groups that the recorder had joined, as far as read; empty if unknown."""
        return self._batches.groups

    def stats(self) -> dict[str, Any]:
        """Counters by name, as far as read.

        delivered, lost, dropped, open, malformed, foreign, copies, truncated, datagrams (packets) and bytes:
        as for a Subscriber. requests: packets to the kernel, which nlmon captures too. skipped: packets of
        other link types or other sources.
        """
        scan = self._batches.scan
        return self._counts | {
            "datagrams": scan.packets, "bytes": scan.bytes, "copies": scan.copies,
            "malformed": scan.malformed, "foreign": scan.foreign, "truncated": scan.truncated,
            "requests": scan.requests, "skipped": scan.skipped,
        }  # fmt: skip

    def explain(self) -> str:
        """The file and its source, in words."""
        source = self.source
        lines = [f"capture {self._name}, by {self._batches.wrote or 'an unknown program'}"]
        if source is not None:
            names = ", ".join(group_names(source, self._batches.groups)) or "not known"
            lines += [f"source {source.name}: {source.kernel_name} ({source.protocol})", f"groups {names}"]
        return "\n".join([*lines, f"read up to byte {self._batches.input.offset}"])

    def __repr__(self) -> str:
        return (
            f"<Capture {self._name} at byte {self._batches.input.offset}{' closed' if self.closed else ''}>"
        )
