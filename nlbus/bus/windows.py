"""Windows: a table in pieces of equal time, each with bounds of its losses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np

from nlbus.errors import ClosedError, SchemaError
from nlbus.kernel import arguments
from nlbus.table.loss import Loss
from nlbus.table.table import Table, add_to

if TYPE_CHECKING:
    from nlbus._typing import Structured
    from nlbus.bus.batch import Batch
    from nlbus.schema.topic import Topic
    from nlbus.table.chunks import Mask


class Batches(Protocol):
    """A Feed, as far as windows need it."""

    live: bool

    def recv(self, timeout: float | None = None) -> Batch:
        """The next batch."""
        ...

    def empty(self, name: str | Topic) -> Table:
        """A table without rows."""
        ...


class Window(Table):
    """The rows that were received from `start` on and before `end`, both in ns UTC.

    `loss` has every loss that may fall into the window and was known when the window ended. A loss whose
    interval spans a bound is in both windows. A loss that becomes known later is in the window that is open
    then; its `earliest` shows when it may have happened.
    """

    def __init__(self, table: Table, start: int, end: int, loss: Loss) -> None:
        super().__init__(table.columns, table.chunks, loss, table.unknown, table.malformed)
        self.start = start
        self.end = end

    @property
    def lost(self) -> tuple[int, int]:
        """The number lost in this window, at least and at most: events of the bus, elsewhere datagrams."""
        rows = self.loss.rows
        inside = (rows["earliest"] >= self.start) & (rows["latest"] <= self.end)
        return sum(rows["count"][inside].tolist()), sum(rows["count"].tolist())


def windows(feed: Batches, name: str | Topic, seconds: float) -> Iterator[Window]:
    """See Feed.windows."""
    span = round(arguments.seconds(seconds, "windows: seconds", above_zero=True) * 1e9)
    if span < 1:
        raise SchemaError(f"windows: seconds={seconds}: above 0, at least a nanosecond")
    return _windows(feed, name, span)


def _windows(feed: Batches, name: str | Topic, span: int) -> Iterator[Window]:
    start = time.time_ns() if feed.live else None
    now = start or 0
    tables: list[Table] = []
    loss = Loss()
    while True:
        left = None
        if feed.live and start is not None:
            left = min(max(0.0, (_next(start, span) - time.time_ns()) / 1e9), span / 1e9)
        try:
            batch = feed.recv(left)
        except ClosedError:
            break
        now = batch.time_ns if batch or batch.loss else time.time_ns()
        start = now if start is None else start
        rows = batch.loss.rows
        undated = np.ones(len(rows), np.bool_)
        while now >= (end := _next(start, span)):
            here = _between(rows, start, end)
            undated &= ~here
            table = Table.concat(tables or [feed.empty(name)])
            yield Window(table, start, end, loss + Loss.of(rows[here].tolist(), loss.open, False))
            start, tables, loss = end, [], Loss(open=loss.open)
        here = _between(rows, start, end) | undated
        loss += Loss.of(rows[here].tolist(), batch.loss.open, batch.loss.grew)
        add_to(tables, batch.table(name))
    if start is not None:
        end = min(_next(start, span), max(time.time_ns() if feed.live else now + 1, start + 1))
        yield Window(Table.concat(tables or [feed.empty(name)]), start, end, loss)


def _next(start: int, span: int) -> int:
    """The end of the window that holds this time: windows of all sources end together."""
    return start - start % span + span


def _between(rows: Structured, start: int, end: int) -> Mask:
    """Marks the losses that may have happened between these times."""
    between: Mask = (rows["earliest"] < end) & (rows["latest"] >= start)
    return between
