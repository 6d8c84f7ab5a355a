"""A few rows of a table as text, for whoever looks at it in an interpreter."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nlbus.table.table import Table

ROWS = 8
WIDTH = 110  # of a line
CELL = 30  # of a column, at most


def preview(table: Table) -> str:
    """The first rows, each with its line break before it; of the columns those with values, what fits."""
    head = table.head(ROWS)
    rows = list(head.iter_rows())
    lines = [""] * (len(rows) + 1) if rows else []
    shown = told = 0
    # What every table has comes last.
    for column in sorted(table.columns, key=lambda column: column.name.startswith("nl_")):
        name = column.name
        values = [row[name] for row in rows]
        if column.display == "time" and not column.list:
            values = [None if value is None else time for value, time in zip(values, head[name], strict=True)]
        if all(value is None for value in values):
            continue
        cells = [name, *map(_cell, values)]
        told += 1
        width = max(map(len, cells))
        if shown == told - 1 and len(lines[0]) + width + 2 <= WIDTH:
            lines = [f"{line}  {cell:<{width}}" for line, cell in zip(lines, cells, strict=True)]
            shown += 1
    if not shown:
        return ""
    if told > shown:
        lines[0] += f"  + {told - shown} columns"
    if len(table) > len(rows):
        lines.append(f"  + {len(table) - len(rows)} rows")
    return "".join(f"\n{line.rstrip()}" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= CELL else text[: CELL - 1] + "…"
