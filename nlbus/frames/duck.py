"""`duckdb_view`: a table as a view of DuckDB, which reads it anew in each query."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nlbus._typing import UNNAMED
from nlbus.bus.stream import Feed
from nlbus.errors import extra
from nlbus.frames.reading import Reading
from nlbus.kernel.netns import Netns
from nlbus.schema.topic import Topic
from nlbus.table.arrow import Exported
from nlbus.table.chunks import BATCH_ROWS, Chunk, gathered

if TYPE_CHECKING:
    from nlbus.sources import Source
    from nlbus.table.expressions import Expression


def duckdb_view(
    con: Any,
    name: str,
    source: str | Source | os.PathLike[str] | Feed,
    table: str | Topic | None = None,
    *,
    columns: Iterable[str] | None = None,
    where: Expression | str | None = None,
    seconds: float | None = None,
    text: bool = True,
    netns: Netns = None,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """Make a table a view `name` of a DuckDB connection; each query reads it anew. Returns its relation.

    DuckDB asks an Arrow stream for all its rows and columns: so say here which `columns` are wanted, and
    `where` (an expression of `field`, or in words) which rows. They are decoded alone and, where the kernel
    can filter, sent alone. The rest is as of `scan`; a query of events takes their `seconds`.

    MissingExtra, UnknownSource, SchemaError; a query wraps what reading raises in an error of DuckDB.
    """
    extra("duckdb", "duckdb_view()")
    reading = Reading(source, table, where=where, seconds=seconds, netns=netns, options=options)
    names = None if columns is None else [*columns]
    con.register(name, _Anew(reading, names, text))
    return con.view(name)


class _Anew:
    """Each stream is a reading of its own."""

    def __init__(self, reading: Reading, columns: list[str] | None, text: bool) -> None:
        self._reading = reading
        self._columns = columns
        self._text = text
        self._schema = reading.empty(columns).columns

    def __arrow_c_schema__(self) -> object:
        return Exported(self._schema, (), text=self._text).__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = UNNAMED) -> object:
        exported = Exported(self._schema, self._chunks(), text=self._text, gather=False)
        return exported.__arrow_c_stream__(requested_schema)

    def _chunks(self) -> Iterator[Chunk]:
        for table in self._reading.tables(self._columns):
            yield from gathered(table.chunks, BATCH_ROWS)
