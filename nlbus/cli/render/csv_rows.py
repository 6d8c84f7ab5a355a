"""Rows of tables as CSV (RFC 4180, lines end in LF)."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from nlbus import Table
from nlbus._text import escape_value
from nlbus.cli.render.records import json_text
from nlbus.cli.render.view import prepared
from nlbus.sources import Source


def csv_head(table: Table) -> str:
    """The names of the columns."""
    return _line(column.name for column in table.columns)


def csv_rows(source: Source, table: Table, *, terminal: bool = False) -> Iterator[str]:
    """One record per row: empty for no value, times in UTC, lists and variables as JSON.

    Text stays as it is, with surrogates for bytes that are not UTF-8. So a record may hold line ends between
    quotes. For a `terminal` text is escaped.
    """
    replaced: dict[str, Sequence[str]] = {
        column.name: np.datetime_as_string(table[column.name], timezone="UTC").tolist()
        for column in table.columns
        if column.display == "time" and not column.list
    }
    for i, row in enumerate(table.iter_rows()):
        shown = prepared(source, row)
        for name, cells in replaced.items():
            if shown[name] is not None:
                shown[name] = cells[i]
        yield _line(_cell(value, terminal) for value in shown.values())


def _line(cells: Iterable[object]) -> str:
    text = io.StringIO()
    # The writer quotes the characters of its line end: both must be quoted, as either ends a record for
    # readers.
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n")


def _cell(value: object, terminal: bool) -> object:
    if isinstance(value, list | dict | bool):
        return json_text(value)
    if isinstance(value, str) and terminal:
        return escape_value(value)
    return value.hex() if isinstance(value, bytes) else value
