"""The first rows of a table as text, for an interactive interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nlbus._typing import Array
    from nlbus.schema.types import Column

ROWS = 8
WIDTH = 110  # of a line
CELL = 30  # of a column, at most


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
    head = table.head(ROWS)
    rows = list(head.iter_rows())
    lines = [""] * (len(rows) + 1) if rows else []
    shown = filled = 0
    # Columns that every table has are last.
    for column in sorted(table.columns, key=lambda column: column.name.startswith("nl_")):
        name = column.name
        values = [row[name] for row in rows]
        if column.display == "time" and not column.list:
            values = [None if value is None else time for value, time in zip(values, head[name], strict=True)]
        if all(value is None for value in values):
            continue
        cells = [name, *map(_cell, values)]
        filled += 1
        width = max(map(len, cells))
        if shown == filled - 1 and len(lines[0]) + width + 2 <= WIDTH:
            lines = [f"{line}  {cell:<{width}}" for line, cell in zip(lines, cells, strict=True)]
            shown += 1
    if not shown:
        return ""
    if filled > shown:
        lines[0] += f"  + {filled - shown} columns"
    if len(table) > len(rows):
        lines.append(f"  + {len(table) - len(rows)} rows")
    return "".join(f"\n{line.rstrip()}" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= CELL else text[: CELL - 1] + "…"
