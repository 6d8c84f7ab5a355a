"""Feed: one batch after the other, of a Subscriber or a capture; ArrowStream: its rows, while they come."""

from __future__ import annotations

import logging
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from nlbus._typing import UNNAMED
from nlbus.bus.windows import Window, windows
from nlbus.errors import ClosedError, LossError, NlbusError, SchemaError
from nlbus.kernel import arguments
from nlbus.kernel.arguments import whole
from nlbus.table.chunks import BATCH_ROWS, Chunk, gathered
from nlbus.table.loss import Loss
from nlbus.table.query import Query
from nlbus.table.table import Table, add_to

if TYPE_CHECKING:
    from nlbus.bus.batch import Batch
    from nlbus.kernel.groups import Groups
    from nlbus.schema.topic import Topic
    from nlbus.sources import Source
    from nlbus.table.arrow import Exported
    from nlbus.table.expressions import Expression

log = logging.getLogger("nlbus")

LOG_EVERY = 1.0  # seconds
GATHER_SECONDS = 0.02  # that a row of an ArrowStream may wait for others

OnLoss = Literal["log", "raise", "ignore"]


class Feed(ABC):
    """Batches of a source, one after the other. `with` closes it; iteration ends at close or at the end.

    on_loss: "log" (logger "nlbus", at most once a second), "raise" LossError (the next recv then returns the
    batch), "ignore". SchemaError for anything else.
    """

    live = True  # time passes without batches; in a capture it passes only from batch to batch

    def __init__(self, on_loss: OnLoss) -> None:
        if on_loss not in ("log", "raise", "ignore"):
            raise SchemaError(f"on_loss={on_loss!r}: 'log', 'raise' or 'ignore'")
        self._on_loss = on_loss
        self._logged = 0.0
        self._unlogged = Loss()
        self._collected: dict[str | Topic, list[Table]] = {}  # of each collect() that was interrupted
        self._held: Batch | None = None  # LossError was raised for it; the next recv returns it

    @property
    @abstractmethod
    def source(self) -> Source | None:
        """The source of the batches; None while that is unknown."""

    @property
    @abstractmethod
    def groups(self) -> Groups:
        """The groups that it listens to."""

    @abstractmethod
    def recv(self, timeout: float | None = None) -> Batch:
        """The next batch; an empty one when `timeout` seconds are up. ClosedError at the end."""

    @abstractmethod
    def stats(self) -> dict[str, Any]:
        """Counters since the start, by name."""

    @abstractmethod
    def explain(self) -> str:
        """The open sockets or files, in words."""

    def fileno(self) -> int:
        """A descriptor that is readable while recv(timeout=0) has news. NlbusError if there is none."""
        raise NlbusError(f"{self!r} has no descriptor to wait for")

    @abstractmethod
    def close(self) -> None:
        """End it; later recv raises ClosedError."""

    def batches(self, timeout: float | None = None, stop_after: int | None = None) -> Iterator[Batch]:
        """Batches until none came for `timeout` seconds, or `stop_after` events were yielded, or `close`.

        stop_after counts events, and ends after the batch that reaches it. For a time, see `collect` and
        `windows`, which take seconds. SchemaError, and what recv raises.
        """
        limit = None if stop_after is None else whole(stop_after, "stop_after", 0, sys.maxsize)
        return self._until_silent(arguments.optional_seconds(timeout, "timeout"), limit)

    def _until_silent(self, timeout: float | None, stop_after: int | None) -> Iterator[Batch]:
        seen = 0
        while stop_after is None or seen < stop_after:
            try:
                batch = self.recv(timeout)
            except ClosedError:
                return
            if not batch and not batch.loss and not batch.complete:
                if timeout is not None:
                    return
                continue
            seen += len(batch)
            yield batch

    def collect(self, name: str | Topic, seconds: float | None = None, rows: int | None = None) -> Table:
        """All rows of a table that arrive in `seconds`, or until there are at least `rows`, or to the end.

        Its `loss` is everything lost meanwhile, among other messages, too. SchemaError, what recv raises:
        then, as after Ctrl-C, the next call with this name has the rows so far.
        """
        limit = arguments.optional_seconds(seconds, "seconds")
        rows = None if rows is None else whole(rows, "rows", 0, sys.maxsize)
        deadline = None if limit is None else time.monotonic() + limit
        tables = self._collected.setdefault(name, [])
        found = sum(map(len, tables))
        while rows is None or found < rows:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            batch = table = None
            try:
                batch = self.recv(left)
                table = batch.table(name)
                add_to(tables, table)
            except ClosedError:
                break
            except BaseException:
                if batch is not None and not (tables and tables[-1] is table):
                    self._put_back(batch)
                raise
            found += len(table)
        collected = Table.concat(tables or [self.empty(name)])
        del self._collected[name]
        return collected

    def stream(
        self,
        name: str | Topic | None = None,
        *,
        seconds: float | None = None,
        rows: int | None = None,
        text: bool = True,
    ) -> ArrowStream:
        """The rows of a table, while they arrive, for polars, pyarrow, DuckDB and other readers of Arrow.

        name: None for the only table of this feed. It ends after `seconds`, after `rows`, at `close` or at
        the end of a capture. text: as of Table.to_arrow. SchemaError.
        """
        limit = None if rows is None else whole(rows, "rows", 0, sys.maxsize)
        table = self._named(name)
        wait = arguments.optional_seconds(seconds, "seconds")
        return ArrowStream(self, lambda batch: batch.table(table), self.empty(table), wait, limit, text=text)

    def _named(self, name: str | Topic | None) -> str | Topic:
        if name is not None:
            return name
        if len(self.tables) == 1:
            return self.tables[0]
        of = "a capture of an unknown source" if self.source is None else self.source.name
        raise SchemaError(f"which table of {of}? stream(name), one of {', '.join(self.tables) or 'none'}")

    def __arrow_c_schema__(self) -> object:
        return self.stream().__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = UNNAMED) -> object:
        return self.stream().__arrow_c_stream__(requested_schema)

    def _put_back(self, batch: Batch) -> None:
        """Let the next recv return this batch, which an earlier one returned. For the consumer."""
        self._held = batch

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that batches are decoded to: those that were named, or all of the source."""
        return () if self.source is None else self.source.tables

    @property
    def where(self) -> Expression | None:
        """The condition that rows must meet; None for none."""
        return None

    def empty(self, name: str | Topic) -> Table:
        """A table of this name without rows. SchemaError."""
        if self.source is None:
            raise SchemaError(f"no table {name!r}: its source is unknown")
        return Query(self.source).empty(name)

    def windows(self, name: str | Topic, seconds: float) -> Iterator[Window]:
        """The rows of a table in consecutive windows of `seconds`, until the end; quiet windows are empty.

        Windows end at whole multiples of `seconds` of UTC; the first begins now (a capture's with its first
        batch), and the last ends where the feed does. A row is in the window in which it was received. If
        the clock is set back, a window stays open until it catches up. SchemaError, what recv raises.
        """
        return windows(self, name, seconds)

    def __iter__(self) -> Iterator[Batch]:
        try:
            while True:
                yield self.recv()
        except ClosedError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _report(self, batch: Batch, name: str) -> Batch:
        """Return the batch, its loss logged; with on_loss="raise" hold it and raise LossError."""
        if batch.loss and self._on_loss == "raise":
            self._held = batch
            raise LossError(f"{name}: {batch.loss}", batch.loss)
        if batch.loss and self._on_loss == "log":
            self._log(name, batch.loss)
        return batch

    def _take_held(self) -> Batch | None:
        """The batch that LossError was raised for, if no recv has returned it yet."""
        batch, self._held = self._held, None
        return batch

    def _log(self, name: str, loss: Loss) -> None:
        self._unlogged += loss
        if time.monotonic() - self._logged >= LOG_EVERY:
            self._log_rest(name)

    def _log_rest(self, name: str) -> None:
        """Log the losses that came too soon after the last line; also at the end."""
        loss, self._unlogged = self._unlogged, Loss()
        if loss:
            self._logged = time.monotonic()
            log.warning("%s: %s", name, loss)


class ArrowStream:
    """The rows of a table of a feed, for readers of Arrow's C stream, batch by batch while they arrive.

    Each reading begins where the last one ended, and takes `seconds` or `rows` again. `loss` is what was lost
    while rows were read, `rows` their number; both may be read meanwhile, from any thread. What recv raises
    ends a reading, after the rows before it, with an error of the reading library that has the same text.
    """

    def __init__(
        self,
        feed: Feed,
        read: Callable[[Batch], Table],
        empty: Table,
        seconds: float | None,
        limit: int | None,
        *,
        text: bool = True,
    ) -> None:
        self.loss = Loss()
        self.rows = 0
        self._feed = feed
        self._read = read
        self._empty = empty
        self._seconds = seconds
        self._limit = limit
        self._text = text

    def __arrow_c_schema__(self) -> object:
        return self._exported(()).__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = UNNAMED) -> object:
        return self._exported(self._chunks()).__arrow_c_stream__(requested_schema)

    def _exported(self, chunks: Iterable[Chunk]) -> Exported:
        from nlbus.table.arrow import Exported  # noqa: PLC0415 - most streams are read without it

        return Exported(self._empty.columns, chunks, text=self._text, gather=False)

    def tables(self) -> Iterator[Table]:
        """The same rows as tables, none of them empty: what has arrived, up to thousands of rows.

        What recv raises, after the rows before it.
        """
        deadline = None if self._seconds is None else time.monotonic() + self._seconds
        left = sys.maxsize if self._limit is None else self._limit
        error: BaseException | None = None
        ended = False
        while left > 0 and not ended:
            tables: list[Table] = []
            found = 0
            gathered_until = None  # rows wait for others that are queued, but not for long
            while found < min(left, BATCH_ROWS):
                now = time.monotonic()
                if deadline is not None and now >= deadline:
                    ended = True
                    break
                if gathered_until is not None and now >= gathered_until:
                    break
                timeout = 0 if found else None if deadline is None else deadline - now
                try:
                    batch = self._feed.recv(timeout)
                except BaseException as raised:
                    error, ended = raised, True
                    break
                table = self._cut(batch, left - found)
                if found and not batch and not batch.loss and not len(table):
                    break
                self.loss += table.loss
                self.rows += len(table)
                found += len(table)
                tables.append(table)
                if found and gathered_until is None:
                    gathered_until = now + GATHER_SECONDS
            left -= found
            if found:
                yield Table.concat(tables)
        if error is not None and not isinstance(error, ClosedError):
            raise error

    def _chunks(self) -> Iterator[Chunk]:
        for table in self.tables():
            yield from gathered(table.chunks, BATCH_ROWS)

    def _cut(self, batch: Batch, limit: int) -> Table:
        """The first rows of the batch; the feed gets the messages behind them back."""
        table = self._read(batch)
        if len(table) <= limit or not len(batch):  # a batch without messages cannot be divided
            return table
        last = table["nl_row"][limit - 1]  # with all rows of this message
        table = table.head(int(np.searchsorted(table["nl_row"], last, side="right")))
        behind = np.arange(len(batch)) > last
        self._feed._put_back(batch.select(behind).without_loss())
        return table

    def __repr__(self) -> str:
        return f"<ArrowStream of {self._feed!r}: {self.rows} rows so far, {self.loss}>"
