"""Changes: a batch of ready rows, which nobody sent: what a repair found out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import time_ns
from typing import TYPE_CHECKING

import numpy as np

from nlbus._core.block import FRAMINGS
from nlbus._core.columns.blocks import from_datagrams
from nlbus.bus.batch import Batch
from nlbus.errors import SchemaError
from nlbus.kernel.groups import Groups
from nlbus.schema.types import Values
from nlbus.table.chunks import stored
from nlbus.table.loss import Loss
from nlbus.table.table import Table

if TYPE_CHECKING:
    import numpy.typing as npt

    from nlbus._typing import Structured
    from nlbus.table.query import Query


class Changes(Batch):
    """The differences between what was known and what the kernel has: rows with nl_op new, change or del.

    `origin` is "repair", or "resync" after a loss. It has tables and rows, but no messages: nothing was
    received. Its length is the number of rows, which nl_row counts through all tables.
    """

    __slots__ = ()
    made: Mapping[str, Table]

    def __init__(self, query: Query, made: Mapping[str, Table], origin_code: int) -> None:
        kind = FRAMINGS.index(query.source.framing)
        block, _ = from_datagrams(kind, [], 0, 0, time_ns())
        super().__init__(block, Loss(), query, origin_code=origin_code)
        self.made = _numbered(made)

    def __len__(self) -> int:
        return sum(map(len, self.made.values()))

    def select(self, which: Groups | Iterable[int] | npt.NDArray[np.bool_]) -> Batch:
        """The batch of the rows that a bool array marks, by their nl_row. Groups: no row came through one,
        each may have: all rows."""
        if not (isinstance(which, np.ndarray) and which.dtype == np.bool_):
            return self
        if which.shape != (len(self),):
            raise SchemaError(f"select: a mask of shape {which.shape} for {len(self)} rows")
        made = {name: table.filter(which[table["nl_row"]]) for name, table in self.made.items()}
        changes = Changes(self.query, made, self.origin_code)
        changes.complete = self.complete
        return changes

    def take(self, index: Structured, loss: Loss | None = None) -> Batch:
        """The same rows: there are no messages to choose from."""
        return self

    def without_loss(self) -> Batch:
        """The same batch: it has no loss."""
        return self

    def copy(self) -> Batch:
        """The same batch: it owns its rows."""
        return self

    def __repr__(self) -> str:
        found = ", ".join(f"{len(table)} {name}" for name, table in self.made.items())
        return f"<Changes of origin {self.origin}: {found or 'none'}>"


def _numbered(tables: Mapping[str, Table]) -> dict[str, Table]:
    """The tables with their rows numbered through all of them."""
    found = {}
    first = 0
    for name, table in tables.items():
        chunks = []
        place = [column.name for column in table.columns].index("nl_row")
        for chunk in table.chunks:
            numbers = Values(np.arange(first, first + len(chunk), dtype=np.uint32))
            first += len(chunk)
            chunks.append(stored(chunk, table.columns, len(chunk)).with_column(place, numbers))
        found[name] = Table(table.columns, chunks)
    return found
