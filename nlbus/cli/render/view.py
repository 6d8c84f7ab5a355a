"""Views: the selected rows of tables, or undecoded messages, as records and lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from nlbus import Batch, Expression, Table
from nlbus._core.render.lines import merged
from nlbus.cli.render.interface_names import InterfaceNames
from nlbus.cli.render.record_lines import RecordLines
from nlbus.cli.render.records import as_json, as_text, events
from nlbus.cli.render.row_text import NL_NAMES, RowText, hidden
from nlbus.cli.render.table_text import Part, TableText, lines_in_order
from nlbus.cli.render.view_options import ViewOptions
from nlbus.kernel.interfaces import Interfaces
from nlbus.listener.events import Match, text_tests
from nlbus.schema.types import NL_COLUMNS, Column
from nlbus.sources import Source
from nlbus.sources.uevent import variables
from nlbus.table.names.beside import keys_of, with_names
from nlbus.table.names.facts import facts_names
from nlbus.table.query import Query, tables_with

if TYPE_CHECKING:
    from nlbus.filters import Wanted

OF_ONE_TABLE = ("csv", "arrow", "parquet")
COMMON = ("nl_time", "nl_op")  # precede the selected columns of live events

# Redundant in a record, or meaningless outside the batch.
LEFT_OUT = ("nl_row", "nl_time", "nl_origin", "nl_group")


class View:
    """Turns batches of a source into records, and records into lines. SchemaError, UnknownColumn."""

    def __init__(
        self, source: Source, view_options: ViewOptions, names: InterfaceNames | None = None
    ) -> None:
        self.source = source
        self._options = view_options
        self._match = Match(view_options.match)
        # Of a source without tables, --where is about the headers of messages: the subscriber selects them.
        others = view_options.tables or view_options.columns or view_options.match
        self._by_head = not source.schemas and view_options.where is not None and not others
        self._rest = not view_options.chooses or self._by_head
        self._names = names or InterfaceNames()
        self._query: Query | None = None
        if self._by_head:
            Query(source, None, view_options.where)  # raises for columns that it cannot compare
        elif (
            view_options.chooses
            or view_options.output in OF_ONE_TABLE
            or (source.schemas and not view_options.raw)
        ):
            keys = ["env"] if view_options.match and source.name == "uevent" else list(view_options.match)
            found = tables_with(
                source, view_options.tables, [*view_options.columns, *keys], view_options.where
            )
            columns = {
                name: wanted_columns(source, name, view_options.columns, view_options.complete, keys)
                for name in found
            }
            self._query = Query(source, columns, view_options.where, self._names.interfaces)
            self._query.learns = self._query.asks  # in the order of events: see lines_in_order
        # The groups of the selected tables; none: the default.
        self.groups = list(self._query.groups) if view_options.chooses and self._query else []
        self._words = RowText(source, view_options.columns, view_options.everything, self._names)
        self._texts: dict[tuple[str, bool], TableText] = {}
        self._records = RecordLines(source)
        self._keys_of: dict[int, tuple[tuple[Column, ...], tuple[str, ...]]] = {}  # by id

    @property
    def wanted(self) -> Wanted | None:
        """The rows that are shown, for Subscriber.narrow; None: all messages are."""
        if self._by_head:
            from nlbus.filters import HEADS  # noqa: PLC0415 - a snapshot needs none

            return {HEADS: [self._options.where]}
        if self._rest or self._query is None:
            return None
        wanted: dict[str, list[Expression | None]] = {}
        for name in self._query.tables:
            columns = Query(self.source).empty(name).columns
            tests = [] if self._options.where is None else [self._options.where]
            tests += text_tests(self.source, columns, self._options.match)
            wanted[name] = [reduce(and_, tests).resolved(columns) if tests else None]
        return wanted

    @property
    def asks_facts(self) -> bool:
        """Whether the options name columns of facts, which are read only then."""
        if self._query is None:
            return False
        for name in self._query.tables:
            where = self._query.condition(name)
            named = {*self._options.columns, *(where.columns if where is not None else ())}
            if not named.isdisjoint(facts_names(self._query.schema(name))):
                return True
        return False

    def present(self, wanted: bool, *, keyed: bool = False) -> bool | list[str]:
        """The value of snapshot= for `wanted`: the shown tables, or True for all tables of the groups.

        keyed: only shown tables with a key. UsageError if there are none.
        """
        if not wanted or not self.groups or not self._query:
            return wanted
        found = [name for name in self._query.order if not keyed or self._query.schema(name).key]
        if not found:
            raise click.UsageError("--repair: rows of these tables have no key to compare them by")
        return found

    def lines(self, batch: Batch, limit: int | None = None, *, styled: bool = False) -> tuple[bytes, int]:
        """A line per event, in the order of arrival, at most `limit`; and how many. styled: in colours."""
        self._names.update(lossy=bool(batch.loss))
        names = self._query.present(batch) if self._query else []
        tables = [(name, self._fitting(batch, name)) for name in names]
        tables = [(name, table) for name, table in tables if len(table)]
        parts: list[Part] = []
        if self._rest:
            parts += self._undecoded(batch, tables, limit, styled)
        if self._options.output == "json":
            parts += [self._as_json(batch, name, table) for name, table in tables]
        else:
            texts = [(self._text(name, table, styled), table) for name, table in tables]
            parts += lines_in_order(texts, self._names)
        if len(parts) == 1 and (limit is None or len(parts[0][0]) <= limit):
            return parts[0][1], len(parts[0][0])
        return merged(parts, -1 if limit is None else limit) if parts else (b"", 0)

    def _fitting(self, batch: Batch, name: str) -> Table:
        """The rows of a table that --where and --match want."""
        assert self._query is not None
        table = self._query.table(batch, name)
        if not self._options.match:
            return table
        rows = (prepared(self.source, row) for row in table.iter_rows(absent=False))
        return table.filter(np.fromiter(map(self._fits, rows), np.bool_, len(table)))

    def _undecoded(
        self, batch: Batch, tables: list[tuple[str, Table]], limit: int | None, styled: bool
    ) -> Iterator[Part]:
        """The messages without a row."""
        if sum(len(table) for _, table in tables) == len(batch) and not self._divides(tables):
            return
        rest = np.ones(len(batch), np.bool_)
        for _, table in tables:
            rest[table["nl_row"]] = False
        numbers = np.flatnonzero(rest).astype(np.uint32)[:limit]
        if not len(numbers):
            return
        line = as_json if self._options.output == "json" else as_text
        shown = [line(record) for record in events(self.source, batch.select(rest), limit)]
        lines = [f"{each if styled else click.unstyle(each)}\n".encode() for each in shown]
        yield numbers, b"".join(lines), np.cumsum([*map(len, lines)])

    def _divides(self, tables: list[tuple[str, Table]]) -> bool:
        """Whether a message may have several rows of one of these tables."""
        query = self._query
        return query is not None and any(
            getattr(query.schema(name), "each", None) is not None for name, _ in tables
        )

    def _as_json(self, batch: Batch, name: str, table: Table) -> Part:
        (chunk,) = table.chunks
        nsids = [i for i, column in enumerate(table.columns[: len(NL_COLUMNS)]) if column.name == "nl_nsid"]
        interfaces: Interfaces | None = self._names.interfaces
        if any(not chunk.absent(i) for i in nsids):  # names of several namespaces
            table = with_names(table, self._names.interfaces)
            interfaces = None
        lines = self._records.of(batch, name, table, self._keys(table), interfaces)
        return table["nl_row"], *lines.write(0, len(table))

    def _keys(self, table: Table) -> tuple[str, ...]:
        """The keys of a row's record."""
        known = self._keys_of.get(id(table.columns))
        if known is None or known[0] is not table.columns:
            columns = keys_of(table, self._options.columns)
            wanted = ["nl_op", "nl_nsid", *columns]
            if not columns:
                wanted = [column.name for column in table.columns if column.name not in LEFT_OUT]
            known = self._keys_of[id(table.columns)] = table.columns, tuple(wanted)
        return known[1]

    def _text(self, name: str, table: Table, styled: bool) -> TableText:
        key = name, styled
        if key not in self._texts:
            self._texts[key] = TableText(
                self.source, name, table.columns, self._words, self._names, events=True, styled=styled
            )
        return self._texts[key]

    @property
    def only(self) -> Table:
        """The one table, without rows. UsageError if there are several."""
        assert self._query is not None
        if len(self._query.tables) != 1:
            raise click.UsageError(
                f"{self._options.output} has the rows of one table: "
                f"--table {' or '.join(sorted(self._query.tables))}"
            )
        return self._ordered(self._query.empty(self.table_name))

    @property
    def table_name(self) -> str:
        """The name of the one table."""
        assert self._query is not None
        return self._query.tables[0]

    def table(self, batch: Batch) -> Table:
        """The rows of the one table in this batch."""
        assert self._query is not None
        self._names.update(lossy=bool(batch.loss))
        return self._ordered(self._fitting(batch, self.table_name))

    def _fits(self, row: dict[str, Any]) -> bool:
        return self._match(row["env"] if "env" in row and self.source.name == "uevent" else row)

    def _ordered(self, table: Table) -> Table:
        if not self._options.columns:
            return table
        return table.select(dict.fromkeys([*COMMON, *self._options.columns]))


def prepared(source: Source, row: dict[str, Any]) -> dict[str, Any]:
    """A row as shown: a uevent has its variables by name."""
    if source.name == "uevent" and "env" in row:
        row["env"] = variables(row["env"])
    return row


def wanted_columns(
    source: Source, table: str, columns: list[str], every: bool, keys: Sequence[str] = ()
) -> list[str] | None:
    """The columns of a table to decode, `keys` always included; None: all."""
    if not columns and every:
        return None
    names = [column.name for column in Query(source).empty(table).columns if column.name not in NL_NAMES]
    if columns:
        return [name for name in names if name in columns or name in keys]
    return [name for name in names if name in keys or not hidden(source.name, table, name)]
