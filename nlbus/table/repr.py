"""The first rows of a table as text or HTML, for interactive use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

from nlbus import _text
from nlbus._text import html_table, html_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nlbus._typing import Array
    from nlbus.schema.types import Column

ROWS = 8
WIDTH = 110  # of a line
CELL = 30  # of a column, at most
HTML_COLUMNS = 20


class Previewed(Protocol):
    """A table, as far as a preview needs it."""

    @property
    def columns(self) -> Sequence[Column]:
        """Its columns."""
        ...

    def head(self, n: int, /) -> Self:
        """The first n rows."""
        ...

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        """Rows as dicts."""
        ...

    def __getitem__(self, name: str) -> Array: ...

    def __len__(self) -> int: ...


def preview(table: Previewed) -> str:
    """The first rows, a line break before each, with as many non-empty columns as fit."""
    columns, rows = _cells(table)
    lines = [""] * (rows + 1) if rows else []
    shown = 0
    for cells in columns:
        width = max(map(len, cells))
        if len(lines[0]) + width + 2 > WIDTH:
            break
        lines = [f"{line}  {cell:<{width}}" for line, cell in zip(lines, cells, strict=True)]
        shown += 1
    if not shown:
        return ""
    if len(columns) > shown:
        lines[0] += f"  + {len(columns) - shown} columns"
    if len(table) > rows:
        lines.append(f"  + {len(table) - rows} rows")
    return "".join(f"\n{line.rstrip()}" for line in lines)


def html(table: Previewed, summary: str) -> str:
    """The first rows as a table of HTML, for notebooks, with the first non-empty columns."""
    columns, rows = _cells(table)
    shown = columns[:HTML_COLUMNS]
    more = [
        f"+ {count} {what}"
        for count, what in ((len(columns) - len(shown), "columns"), (len(table) - rows, "rows"))
        if count > 0
    ]
    head, *body = zip(*shown, strict=True) if shown else [()]
    return "".join(
        [
            f"<div>{html_text(summary)}",
            html_table(head, body) if shown else "",
            f"<p>{', '.join(more)}</p>" if more else "",
            "</div>",
        ]
    )


def _cells(table: Previewed) -> tuple[list[list[str]], int]:
    """The non-empty columns of the first rows, each as its name and its cells, and the number of rows."""
    head = table.head(ROWS)
    rows = list(head.iter_rows())
    found = []
    # Columns that every table has are last.
    for column in sorted(table.columns, key=lambda column: column.name.startswith("nl_")):
        name = column.name
        values = [row[name] for row in rows]
        if column.display == "time" and not column.list:
            values = [None if value is None else time for value, time in zip(values, head[name], strict=True)]
        if any(value is not None for value in values):
            found.append([name, *map(_cell, values)])
    return found, len(rows)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    text = _text.escape(",".join(map(str, value)) if isinstance(value, list) else str(value))
    return text if len(text) <= CELL else text[: CELL - 1] + "…"
