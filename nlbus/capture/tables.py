"""Recording the rows of one table as an Arrow stream or as Parquet, in one file or several."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nlbus.capture.recorded import Recorded
from nlbus.capture.tablefiles import TableFile, Target, need_pyarrow
from nlbus.errors import SchemaError
from nlbus.kernel import arguments
from nlbus.kernel.arguments import whole
from nlbus.table.loss import Loss
from nlbus.table.table import Table

if TYPE_CHECKING:
    from nlbus.bus.batch import Batch
    from nlbus.bus.stream import Feed
    from nlbus.schema.topic import Topic
    from nlbus.sources import Source

# How many rows may wait for others, and for how many seconds. Parquet is unreadable before its end anyway.
WAIT_ROWS = {"arrow": 1 << 13, "parquet": 1 << 15}
WAIT_SECONDS = {"arrow": 1.0, "parquet": None}
JOINED = 64  # tables joined at a time: joining thousands with hundreds of columns takes seconds


class TableRecorder:
    """Writes the rows of a table, batch by batch.

    empty: the table without rows. read: returns the table of a batch. A new file begins once the current one
    has about `roll_bytes`, or `roll_seconds` after its first row. Losses are noted as JSON under the key
    nlbus.loss: with the rows they came with (Arrow: custom metadata), or for the whole file (Parquet).
    MissingExtra, KernelError.
    """

    def __init__(
        self,
        target: Target,
        empty: Table,
        read: Callable[[Batch], Table],
        *,
        about: dict[str, str],
        roll_bytes: int | None = None,
        roll_seconds: float | None = None,
    ) -> None:
        self._pyarrow: Any = need_pyarrow(f"recording to {target.name}")
        self.messages = 0
        self._batches = self._bytes = 0
        self._target = target
        self._read = read
        self._roll_bytes = roll_bytes
        self._roll_seconds = roll_seconds
        self._schema = self._pyarrow.schema(empty).with_metadata(about)
        self._lost = _Lost()
        self._file: TableFile | None = None
        self._file_lost = _Lost()
        self._tables: list[Table] = []  # waiting, with few rows each
        self._joined: list[Any] = []  # earlier ones, joined, as pyarrow tables
        self.waiting = 0
        self._waiting_lost = _Lost()
        self._write_at: float | None = None  # by time.monotonic
        self._roll_at: float | None = None
        if not target.numbered:
            self._begin()

    @property
    def recorded(self) -> Recorded:
        """The totals so far; messages are rows."""
        size = self._bytes + (0 if self._file is None else self._file.size)
        lost = self._lost
        return Recorded(
            self.messages, self._batches, size, lost.events, lost.datagrams, lost.open, self._target.files
        )

    @property
    def due(self) -> float | None:
        """When to call `idle`, by time.monotonic; None: not before the next batch."""
        return min((at for at in (self._write_at, self._roll_at) if at is not None), default=None)

    def write(self, batch: Batch, limit: int | None = None) -> None:
        """Write the rows of a batch, at most its first `limit`. KernelError, and what reading raises."""
        self.idle()  # first: a row that arrives after the deadline belongs to the next file
        table = self._read(batch)
        if limit is not None and len(table) > limit:
            table = table.head(limit)
        self._lost.add(table.loss)
        if len(table) or table.loss:
            self._tables.append(table)
            self.waiting += len(table)
            for lost in (self._waiting_lost, self._file_lost):
                lost.add(table.loss)
            self.messages += len(table)
            self._batches += 1
            wait = WAIT_SECONDS[self._target.format]
            if self._write_at is None and wait is not None:
                self._write_at = time.monotonic() + wait
            if self._roll_at is None and self._roll_seconds is not None:
                self._roll_at = time.monotonic() + self._roll_seconds
            if len(self._tables) >= JOINED:
                self._join()
            if self.waiting >= WAIT_ROWS[self._target.format]:
                self._flush()

    def idle(self) -> None:
        """Do the work that is due."""
        now = time.monotonic()
        if self._roll_at is not None and now >= self._roll_at:
            self._end()
        elif self._write_at is not None and now >= self._write_at:
            self._flush()

    def close(self) -> None:
        """Write the waiting rows, and end the file. KernelError."""
        self._end()

    def _begin(self) -> TableFile:
        self._file = self._target.begin(self._schema)
        return self._file

    def _join(self) -> None:
        if self._tables:
            self._joined.append(self._pyarrow.table(Table.concat(self._tables)))
            self._tables = []

    def _flush(self) -> None:
        self._write_at = None
        self._join()
        if not self._joined:
            return
        rows, lost = self._pyarrow.concat_tables(self._joined).combine_chunks(), self._waiting_lost
        self._joined, self.waiting, self._waiting_lost = [], 0, _Lost()
        file = self._file or self._begin()
        try:
            file.write(rows, lost.notes())
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._target.failed(error) from error
        if self._roll_bytes is not None and file.size >= self._roll_bytes:
            self._end()

    def _end(self) -> None:
        self._roll_at = None
        self._flush()
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close(self._file_lost.notes() if self._target.format == "parquet" else {})
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._target.failed(error) from error
        finally:
            self._target.end()
            self._file_lost = _Lost()
        self._bytes += file.size


class _Lost:
    """The sum of losses and the span of their times (ns UTC), in constant memory."""

    def __init__(self) -> None:
        self.events = self.datagrams = self.unbuilt = self.open = 0
        self._between: tuple[int, int] | None = None

    def add(self, loss: Loss) -> None:
        self.open = loss.open
        if not loss:
            return
        self.events += loss.events
        self.datagrams += loss.datagrams
        self.unbuilt += loss.unbuilt
        rows = loss.rows
        if len(rows):
            earliest, latest = int(rows["earliest"].min()), int(rows["latest"].max())
            before = self._between or (earliest, latest)
            self._between = min(before[0], earliest), max(before[1], latest)

    def notes(self) -> dict[str, str]:
        counts = {name: getattr(self, name) for name in ("events", "datagrams", "unbuilt", "open")}
        if not any(counts.values()):
            return {}
        if self._between is not None:
            counts |= {"earliest": self._between[0], "latest": self._between[1]}
        return {"nlbus.loss": json.dumps(counts)}


def checked_roll(size: int | None, seconds: float | None) -> bool:
    """Whether there will be numbered files. SchemaError for invalid bounds."""
    if size is not None:
        whole(size, "roll_bytes", 1, sys.maxsize)
    if seconds is not None:
        arguments.seconds(seconds, "roll_seconds", above_zero=True)
    return size is not None or seconds is not None


def chosen_table(feed: Feed, table: str | Topic | None) -> str | Topic:
    """The table to record: the named one, or the only one. SchemaError."""
    if table is not None:
        return table
    names = feed.tables
    if len(names) == 1:
        return names[0]
    source = "a capture of an unknown source" if feed.source is None else feed.source.name
    raise SchemaError(f"which table of {source}? table= one of {', '.join(names) or 'none'}")


def about(source: Source | None, table: str | Topic) -> dict[str, str]:
    """The metadata in the schema of a file."""
    name = table if isinstance(table, str) else table.name
    return {"nlbus.source": "" if source is None else source.name, "nlbus.table": name}
