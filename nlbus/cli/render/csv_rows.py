"""Rows of tables as CSV (RFC 4180, lines end in LF), and as objects of JSON."""

from collections.abc import Iterator, Sequence

from nlbus import Table
from nlbus._core.render.lines import Lines
from nlbus.cli.render.styles import csv_line, fields
from nlbus.sources import Source
from nlbus.table.values import chunk_cells

ROWS = 4096  # that are written at once: a few milliseconds


def csv_head(table: Table) -> str:
    """The names of the columns."""
    return csv_line(column.name for column in table.columns)


def csv_rows(source: Source, table: Table, *, terminal: bool = False) -> Iterator[tuple[bytes, int]]:
    """Lines, and how many: empty for no value, times in UTC, lists and variables as JSON.

    Text stays as it is, also bytes that are not UTF-8. So a record may hold line ends between quotes. For a
    `terminal` text is escaped.
    """
    form = "csv on a terminal" if terminal else "csv"
    all_of_them = tuple(range(len(table.columns)))
    for chunk in table.chunks:
        shown = fields(form, source, table.columns, chunk_cells(table.columns, chunk), all_of_them)
        yield from _written(Lines(shown, len(chunk), b"", b"\n", 1, len(all_of_them) == 1), len(chunk))


def json_rows(source: Source, table: Table, names: Sequence[str]) -> Iterator[tuple[bytes, int]]:
    """Lines of an object each, and how many: those of these columns that have a value, in this order."""
    places = {column.name: i for i, column in enumerate(table.columns)}
    shown = tuple(places[name] for name in dict.fromkeys(names))
    for chunk in table.chunks:
        found = fields("json", source, table.columns, chunk_cells(table.columns, chunk), shown)
        lines = Lines(found, len(chunk), b"{", b"}\n", 2)
        yield from _written(lines, len(chunk))


def _written(lines: Lines, count: int) -> Iterator[tuple[bytes, int]]:
    for first in range(0, count, ROWS):
        last = min(first + ROWS, count)
        yield lines.write(first, last)[0], last - first
