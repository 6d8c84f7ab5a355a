"""The tables of a source and the columns of a table, for `nlbus sources SOURCE [TABLE]`."""

import json
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence

import click

from nlbus import schema
from nlbus.schema.types import Column
from nlbus.sources import Source

NAMES_WIDTH = 30  # at least, for the names of values
NARROWEST = 80


def tables(source: Source, output: str) -> Iterator[str]:
    """One line per table: its name, its key, what it holds."""
    if output == "json":
        for each in source.schemas:
            columns = schema(source.name, each.name).columns
            yield json.dumps(
                {
                    "name": each.name,
                    "about": each.about,
                    "key": list(each.key),
                    "groups": list(each.groups),
                    "columns": len(columns),
                    "snapshot": each.dump is not None,
                }
            )
        return
    width = max(map(len, ("TABLE", *source.tables))) + 2
    edge = max(shutil.get_terminal_size().columns, NARROWEST)
    yield click.style(f"{'TABLE':{width}}SNAPSHOT  ABOUT, AND THE KEY OF A ROW", bold=True)
    indent = " " * (width + 10)
    for each in source.schemas:
        dumped = "yes" if each.dump is not None else "no"
        words = textwrap.wrap(each.about, edge, initial_indent=indent, subsequent_indent=indent) or [indent]
        yield f"{each.name:{width}}{dumped:10}{words[0].lstrip()}"
        yield from words[1:]
        key = f"key {', '.join(each.key)}" if each.key else "no key: each row is an event of its own"
        for line in textwrap.wrap(key, edge, initial_indent=indent, subsequent_indent=indent):
            yield click.style(line, dim=True)


def columns(source: Source, table: str, output: str) -> Iterator[str]:
    """One line per column: name, type, unit, nullable, the kernel's name, names of values."""
    found = schema(source.name, table)
    if output == "json":
        for column in found.columns:
            yield json.dumps(_record(column, column.name in found.key))
        return
    rows = [("COLUMN", "TYPE", "UNIT", "NULL", "KERNEL", "VALUES")]
    for column in found.columns:
        names = _names(column)
        shown = "" if column.display == column.type else column.display
        unit = column.unit or shown or "-"
        name = f"{column.name}{'*' * (column.name in found.key)}"
        null = "null" if column.nullable else "-"
        rows.append((name, _type(column), unit, null, column.attribute or "-", names))
    yield from _aligned(rows)


def _record(column: Column, key: bool) -> dict[str, object]:
    return {
        "name": column.name,
        "type": column.type,
        "dtype": column.storage if column.storage != "fixed" else str(column.dtype),
        "list": column.list,
        "unit": column.unit,
        "enum": _numbered(column.enum),
        "flags": _numbered(column.flags),
        "nullable": column.nullable,
        "attribute": column.attribute,
        "display": column.display,
        "key": key,
    }


def _numbered(names: Mapping[int, str] | None) -> dict[str, str] | None:
    return None if names is None else {str(number): name for number, name in names.items()}


def _type(column: Column) -> str:
    kind = "enum " if column.enum is not None else "flags " if column.flags is not None else ""
    return f"{kind}{column.type}{'[]' * column.list}"


def _names(column: Column) -> str:
    return " ".join((column.enum or column.flags or {}).values())


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Aligned cells; the last one is cut at the edge of the terminal."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    edge = max(shutil.get_terminal_size().columns, NARROWEST)
    room = max(edge - sum(width + 2 for width in widths[:-1]), NAMES_WIDTH)
    for i, row in enumerate(rows):
        last = row[-1] if len(row[-1]) <= room else row[-1][: room - 1] + "…"
        cells = [f"{cell:<{width}}" for cell, width in zip(row[:-1], widths, strict=False)]
        line = "  ".join([*cells, last]).rstrip()
        yield click.style(line, bold=True) if i == 0 else line
