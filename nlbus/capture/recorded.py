"""The interface of every recording, and its totals."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from nlbus.bus.batch import Batch


class Recorded(NamedTuple):
    """The totals of a recording: lost events (bus), dropped datagrams, open ones that no gap explains."""

    messages: int  # or events of the bus, or rows of a table
    batches: int
    bytes: int  # of all files
    lost: int
    dropped: int
    open: int
    files: int = 1


class Recording(Protocol):
    """Writes batches to files."""

    messages: int
    waiting: int  # messages not written yet

    @property
    def recorded(self) -> Recorded:
        """The totals so far."""

    @property
    def due(self) -> float | None:
        """When to call `idle`, by time.monotonic; None: not before the next batch."""

    def write(self, batch: Batch, limit: int | None = None) -> None:
        """Write a batch that the feed has just yielded, at most its first `limit` messages."""

    def idle(self) -> None:
        """Do the work that is due."""

    def close(self) -> None:
        """Write the end, if the format has one."""
