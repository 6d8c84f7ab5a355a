"""Rows of tables as CSV."""

import csv
import io
import json
from collections.abc import Iterable, Iterator

import numpy as np

from nlbus import Table
from nlbus.cli.render.view import prepared
from nlbus.sources import Source


def csv_head(table: Table) -> str:
    """The names of the columns."""
    return _line(column.name for column in table.columns)


def csv_rows(source: Source, table: Table) -> Iterator[str]:
    """A line a row: nothing where there is no value, times in UTC, lists and variables as JSON."""
    times = {
        column.name: np.datetime_as_string(table[column.name], timezone="UTC")
        for column in table.columns
        if column.display == "time" and not column.list
    }
    for i, row in enumerate(table.iter_rows()):
        shown = prepared(source, row)
        for name, texts in times.items():
            if shown[name] is not None:
                shown[name] = str(texts[i])
        yield _line(_cell(value) for value in shown.values())


def _line(cells: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, list | dict | bool):
        return json.dumps(value, default=bytes.hex)
    return value.hex() if isinstance(value, bytes) else value
