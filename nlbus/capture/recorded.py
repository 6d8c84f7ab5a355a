"""What every recording can do, and what it tells of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from nlbus.bus.batch import Batch


class Recorded(NamedTuple):
    """What a recording holds; lost are events (bus), dropped datagrams, open those that no gap explains."""

    messages: int  # events on the bus, rows of a table
    batches: int
    bytes: int  # of the files
    lost: int
    dropped: int
    open: int
    files: int = 1


class Recording(Protocol):
    """Writes batches to files, in one format or another."""

    messages: int
    waiting: int  # of these, not yet written

    @property
    def recorded(self) -> Recorded:
        """What was written so far."""

    @property
    def due(self) -> float | None:
        """When `idle` is to be called, by time.monotonic; None: not before the next batch."""

    def write(self, batch: Batch, limit: int | None = None) -> None:
        """Write a batch that the feed has just yielded, its first `limit` messages at most."""

    def idle(self) -> None:
        """Do what is due."""

    def close(self) -> None:
        """Write the end, where the format has one."""
