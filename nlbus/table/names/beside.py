"""Tables with the names of interfaces beside their indices."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from nlbus._core.columns.readable import repeated
from nlbus.kernel.interfaces import OURS, Interfaces
from nlbus.schema.types import Column, Values
from nlbus.schema.words import name_key
from nlbus.table.chunks import Chunk, Mask, Picked
from nlbus.table.names.conditions import NL_NSID, distinct_names
from nlbus.table.values import raw_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nlbus._typing import Array
    from nlbus.table.table import Table


def with_names(table: Table, names: Interfaces) -> Table:
    """The table with the name of each interface beside its index: ifname beside ifindex, oifname beside oif.

    Rows without an index, or of an interface whose name is unknown, have no name. Lists stay without.
    """
    present = {column.name for column in table.columns}
    indices = [
        i
        for i, column in enumerate(table.columns)
        if column.display == "interface" and not column.list and name_key(column.name) not in present
    ]
    if not indices or not len(table):
        return table
    names.update()
    columns, order = list[Column](), list[int]()
    for i, column in enumerate(table.columns):
        columns.append(column)
        order.append(i)
        if i in indices:
            columns.append(_name_column(column.name, column.attribute))
            order.append(len(table.columns) + indices.index(i))
    beside = (_names_beside(chunk, table.columns, indices, names) for chunk in table.chunks)
    return table.with_chunks(columns, [Picked(chunk, order) for chunk in beside])


def keys_of(table: Table, columns: Sequence[str]) -> list[str]:
    """These columns, each index of an interface with the column of its name behind it, if there is one."""
    own = {column.name: column for column in table.columns}
    found = list[str]()
    for name in columns:
        found.append(name)
        if name in own and own[name].display == "interface" and name_key(name) in own:
            found.append(name_key(name))
    return found


@cache
def _name_column(column: str, attribute: str) -> Column:
    return Column(
        name=name_key(column), dtype=np.dtype("V1"), type="string", storage="text", attribute=attribute
    )


class Beside:
    """A chunk with these columns beside its own; None for one without values."""

    def __init__(
        self, chunk: Chunk, width: int, columns: Sequence[Column], others: Sequence[Values | None]
    ) -> None:
        self._chunk = chunk
        self._width = width
        self._columns = columns
        self._others = others

    def __len__(self) -> int:
        return len(self._chunk)

    @property
    def damaged(self) -> Mask:
        """Marks the damaged rows of the chunk."""
        return self._chunk.damaged

    @property
    def families(self) -> Array | None:
        """Those of the chunk."""
        return self._chunk.families

    def absent(self, i: int) -> bool:
        """Whether it is known that column i has no values."""
        if i < self._width:
            return self._chunk.absent(i)
        made = self._others[i - self._width]
        return made is None or (made.valid is not None and not made.valid.any())

    def values(self, i: int) -> Values:
        """Column i."""
        if i < self._width:
            return self._chunk.values(i)
        return self._others[i - self._width] or no_values(self._columns[i - self._width], len(self))


def no_values(column: Column, rows: int) -> Values:
    """A column in which no row has a value."""
    valid = np.zeros(rows, np.bool_)
    if column.list or column.storage != "fixed":
        items = raw_column([]) if column.list else None
        return Values(
            None if column.list else np.empty(0, np.uint8), valid, np.zeros(rows + 1, np.int32), items
        )
    return Values(np.zeros(rows, column.dtype), valid)


def _names_beside(chunk: Chunk, columns: Sequence[Column], places: Sequence[int], names: Interfaces) -> Chunk:
    nsid = next((i for i, column in enumerate(columns) if column.name == NL_NSID), None)
    nsids = None
    if nsid is not None and not chunk.absent(nsid):
        values = chunk.values(nsid)
        assert values.values is not None
        nsids = values.values if values.valid is None else np.where(values.valid, values.values, OURS)
    made = [None if chunk.absent(i) else _names_of(chunk.values(i), nsids, names) for i in places]
    named = [_name_column(columns[i].name, columns[i].attribute) for i in places]
    return Beside(chunk, len(columns), named, made)


def _names_of(values: Values, nsids: Array | None, names: Interfaces) -> Values:
    assert values.values is not None
    found, places = distinct_names(values.values, nsids, names.known)
    known = np.array([name is not None for name in found], np.bool_)[places]
    valid = known if values.valid is None else known & values.valid
    texts = raw_column([(name or "").encode(errors="surrogateescape") for name in found])
    assert texts.values is not None
    assert texts.offsets is not None
    codes = places.astype(np.int32)
    data, offsets = repeated(codes, texts.values, texts.offsets)
    return Values(data, valid, offsets)
