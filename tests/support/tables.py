"""Tables built by hand from lists of Python values, close to those of Table.iter_rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nlbus.schema.types import Column, Values
from nlbus.table.chunks import Stored
from nlbus.table.loss import Loss
from nlbus.table.table import Table


def column(name: str, dtype: str = "u4", **more: Any) -> Column:
    return Column(name=name, dtype=np.dtype(dtype), type=dtype, **more)


def text(name: str, **more: Any) -> Column:
    return column(name, "V1", storage="text", **more)


def binary(name: str, **more: Any) -> Column:
    return column(name, "V1", storage="bytes", **more)


def address(name: str, **more: Any) -> Column:
    return column(name, "V16", display="address", **more)


def values_of(column: Column, cells: Sequence[Any], *, listed: bool | None = None) -> Values:
    """Cells as Values: None is absent; non-numeric columns also take raw bytes."""
    there = np.array([cell is not None for cell in cells], np.bool_)
    valid = None if there.all() else there
    if column.list if listed is None else listed:
        lists = [cell or [] for cell in cells]
        items = values_of(column, [item for each in lists for item in each], listed=False)
        return Values(None, valid, offsets_of(lists), items)
    if column.storage == "fixed":
        filled = [np.zeros((), column.dtype)[()] if cell is None else cell for cell in cells]
        return Values(np.array(filled, column.dtype), valid)
    raw = [cell.encode() if isinstance(cell, str) else cell or b"" for cell in cells]
    return Values(np.frombuffer(b"".join(raw), np.uint8), valid, offsets_of(raw))


def offsets_of(cells: Sequence[Any]) -> Any:
    return np.cumsum([0, *map(len, cells)]).astype(np.int32)


def table_of(columns: Sequence[Column], *chunks: Sequence[Sequence[Any]], loss: Loss | None = None) -> Table:
    """Each chunk is a list of rows."""
    made = []
    for rows in chunks:
        made.append(
            Stored(len(rows), [values_of(each, [row[i] for row in rows]) for i, each in enumerate(columns)])
        )
    return Table(columns, made, loss or Loss())


def one(column: Column, *chunks: Sequence[Any]) -> Table:
    """A table of one column."""
    return table_of([column], *([[cell] for cell in cells] for cells in chunks))
