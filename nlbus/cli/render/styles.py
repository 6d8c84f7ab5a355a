"""How the values of columns are written as JSON and CSV."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nlbus._core.render.cells import Cells
from nlbus._core.render.style import Style
from nlbus._text import escape_value
from nlbus.cli.render.records import json_text
from nlbus.cli.render.times import Clock, iso_time
from nlbus.schema.types import Column
from nlbus.sources import Source
from nlbus.sources.uevent import variables

MOST_STYLES = 4096
MOST_PLANS = 256

Field = bytes | tuple[bytes, Style, Cells | None, bytes | None]  # of Lines

_styles: dict[tuple[str, int, bool, bool], tuple[Column, Style]] = {}


def style(form: str, column: Column, pairs: bool = False) -> Style:
    """How this column is written in this form. pairs: it has variables of a uevent."""
    # By identity, as for `kind_of`.
    key = form, id(column), pairs, Clock.local
    found = _styles.get(key)
    if found is None:
        if len(_styles) >= MOST_STYLES:
            _styles.clear()
        found = _styles[key] = column, _style(form, column, pairs)
    return found[1]


def _style(form: str, column: Column, pairs: bool) -> Style:
    if form == "json":
        encode = (lambda words: json_text(variables(words))) if pairs else json_text
        return Style("json", encode, pairs=pairs)
    if column.display == "time" and not column.list:
        return Style(form, lambda value: iso_time(column, value), by_number=True)
    terminal = form != "csv"
    return Style(
        form,
        lambda value: csv_line([_cell(value, terminal), ""])[:-1],
        inner=style("json", column, pairs) if column.list else None,
    )


def csv_line(cells: Iterable[object]) -> str:
    """Cells as a record (RFC 4180), without its line end."""
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


class _Plan(NamedTuple):
    """What `fields` has to know of columns. It keeps them, whose identity is its key."""

    columns: tuple[Column, ...]
    shown: list[tuple[int, bytes, Style, bytes | None]]


_plans: dict[tuple[str, bool, str, int, tuple[int, ...]], _Plan] = {}


def fields(
    form: str,
    source: Source,
    columns: tuple[Column, ...],
    every: Sequence[Cells | None],
    shown: tuple[int, ...],
) -> list[Field]:
    """The shown columns of a chunk as fields of Lines; every: its cells."""
    # By identity, as for `kind_of`.
    key = form, Clock.local, source.name, id(columns), shown
    plan = _plans.get(key)
    if plan is None or plan.columns is not columns:
        if len(_plans) >= MOST_PLANS:
            _plans.clear()
        plan = _plans[key] = _Plan(columns, [_field(form, source, columns, i) for i in shown])
    found: list[Field] = []
    for i, before, written, none in plan.shown:
        if every[i] is not None or none is not None:
            found.append((before, written, every[i], none))
    return found


def _field(
    form: str, source: Source, columns: tuple[Column, ...], i: int
) -> tuple[int, bytes, Style, bytes | None]:
    column = columns[i]
    found = style(form, column, column.name == "env" and source.name == "uevent")
    if form == "json":
        return i, f", {json_text(column.name)}: ".encode(), found, None
    return i, b",", found, b"," if len(columns) > 1 else b',""'
