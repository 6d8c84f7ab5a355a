"""`scan`: a table as a LazyFrame of polars, which asks only for the rows and columns that a query needs."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlbus.bus.stream import Feed
from nlbus.errors import SchemaError, extra
from nlbus.frames.predicates import pushed
from nlbus.frames.reading import Reading, Watch
from nlbus.kernel.netns import Netns
from nlbus.schema.topic import Topic
from nlbus.sources import Source
from nlbus.table.arrow import Exported

if TYPE_CHECKING:
    from nlbus.table.expressions import Expression
    from nlbus.table.table import Table


def scan(
    source: str | Source | os.PathLike[str] | Feed,
    table: str | Topic | None = None,
    *,
    where: Expression | str | None = None,
    seconds: float | None = None,
    text: bool = True,
    netns: Netns = None,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """A table as a polars LazyFrame. Each `collect` reads it anew, and only what the query needs.

    source: the name of a source: its current objects, or with `seconds` the events of so many seconds. Or a
    capture file, an Arrow or Parquet recording, a Subscriber or a Capture (to its end, or for `seconds`).
    table: None for the only one. where: a condition beside the query's, an expression of `field` or in words.
    text: as of Table.to_arrow. options: further keywords of the Subscriber.

    Only the columns that the query uses are decoded. Its conditions filter rows while they are decoded and,
    where the kernel can, before they are sent; `explain()` of the frame shows both, `plans()` what was done.
    `head(5)` ends the reading of events. The network namespace is that of the caller of scan.

    MissingExtra, UnknownSource, SchemaError; `collect` also raises what reading raises.
    """
    polars = extra("polars", "scan()")
    if not isinstance(source, Feed) and (recording := _recording(polars, source)) is not None:
        if where is not None or seconds is not None:
            raise SchemaError("where= and seconds= are of sources: filter the frame of a recording")
        return recording
    reading = Reading(source, table, where=where, seconds=seconds, netns=netns, options=options)
    return polars.io.plugins.register_io_source(
        _Scan(polars, reading, text),
        schema=_frame(polars, reading.empty(), text).schema,
        validate_schema=True,
        explain_name="NLBUS",
        explain_detail=reading.describe() + ("" if reading.where is None else f", where {reading.where}"),
    )


def _recording(polars: Any, source: str | Source | os.PathLike[str]) -> Any:
    """The LazyFrame of an Arrow or Parquet file, None for another one."""
    if isinstance(source, Source):
        return None
    suffix = Path(source).suffix
    if suffix == ".parquet":
        return polars.scan_parquet(source)
    if suffix == ".arrow":
        return polars.scan_ipc(source)
    if suffix == ".arrows":
        return _arrow_stream(polars, Path(source))
    return None


def _arrow_stream(polars: Any, path: Path) -> Any:
    """The LazyFrame of an Arrow stream, which polars itself reads at once only."""

    def read(
        columns: list[str] | None, predicate: Any, limit: int | None, batch_size: int | None
    ) -> Iterator[Any]:
        yield _finished(polars.read_ipc_stream(path, columns=columns), columns, predicate, limit)

    schema = polars.read_ipc_stream(path, n_rows=0).schema
    return polars.io.plugins.register_io_source(
        read, schema=schema, validate_schema=True, explain_name="ARROW STREAM", explain_detail=str(path)
    )


@dataclass
class Plan(Watch):
    """What one reading of a scan was asked for, and what it did.

    columns: those that were decoded, beside nl_... ones; None: all. where: the condition that was checked
    while decoding, and by the kernel where it can. rest: what polars checked alone. limit: rows wanted. how:
    what the Subscriber explained, with the kernel's part. messages: as many arrived (of a snapshot: rows).
    rows: as many were made; yielded: as many polars got.
    """

    source: str
    columns: list[str] | None
    where: Expression | None
    rest: str
    limit: int | None
    how: str = ""
    messages: int = 0
    rows: int = 0
    yielded: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def listening(self, how: str) -> None:
        """Keep it."""
        self.how = how

    def note(self, table: Table, messages: int) -> None:
        """Count a table that was made, and the messages it was made of."""
        with self._lock:
            self.messages += messages
            self.rows += len(table)

    def __str__(self) -> str:
        columns = (
            "all columns" if self.columns is None else f"columns {', '.join(self.columns) or 'of nlbus'}"
        )
        return "\n".join(
            [
                f"{self.source}: {columns}",
                f"decoded where {'true' if self.where is None else self.where}",
                *([f"left to polars: {self.rest}"] if self.rest else []),
                *([f"at most {self.limit} rows"] if self.limit is not None else []),
                *(f"  {line}" for line in self.how.splitlines()),
                f"{self.messages} messages, {self.rows} rows made, {self.yielded} given to polars",
            ]
        )


_watching: list[list[Plan]] = []


@contextmanager
def plans() -> Iterator[list[Plan]]:
    """Within this context, collect the plans of all scans that are read, in any thread."""
    found: list[Plan] = []
    _watching.append(found)
    try:
        yield found
    finally:
        # By identity: equal lists are others.
        _watching[:] = [each for each in _watching if each is not found]


class _Scan:
    """Reads for polars. Engines repair nothing: so filter, cut and cast here, whatever was pushed down."""

    def __init__(self, polars: Any, reading: Reading, text: bool) -> None:
        self._polars = polars
        self._reading = reading
        self._text = text

    def __call__(
        self, columns: list[str] | None, predicate: Any, limit: int | None, batch_size: int | None
    ) -> Iterator[Any]:
        """The frames. polars cuts before it filters, if it wants both."""
        where, rest = None, "" if predicate is None else str(predicate)
        if predicate is not None and limit is None and self._reading.pushes:
            where, whole = pushed(predicate, self._reading.empty(), text=self._text)
            rest = "" if whole else rest
        needed = None
        if columns is not None:
            roots = [] if predicate is None else predicate.meta.root_names()
            needed = [name for name in dict.fromkeys([*columns, *roots]) if not name.startswith("nl_")]
        plan = Plan(self._reading.describe(), needed, self._both(where), rest, limit)
        for watching in [*_watching]:
            watching.append(plan)
        return self._frames(plan, columns, needed, where, predicate)

    def _both(self, where: Expression | None) -> Expression | None:
        own = self._reading.where
        return own if where is None else where if own is None else own & where

    def _frames(
        self,
        plan: Plan,
        columns: list[str] | None,
        needed: list[str] | None,
        where: Expression | None,
        predicate: Any,
    ) -> Iterator[Any]:
        left = plan.limit
        for table in self._reading.tables(needed, where, plan.limit, plan):
            frame = _finished(_frame(self._polars, table, self._text), columns, predicate, left)
            left = None if left is None else max(left - len(table), 0)
            plan.yielded += len(frame)
            yield frame


def _finished(frame: Any, columns: list[str] | None, predicate: Any, limit: int | None) -> Any:
    """The rows and columns that were asked for."""
    if limit is not None:
        frame = frame.head(limit)
    if predicate is not None:
        frame = frame.filter(predicate)
    return frame if columns is None else frame.select(columns)


def _frame(polars: Any, table: Table, text: bool) -> Any:
    return polars.DataFrame(Exported(table.columns, table.chunks, text=text))
