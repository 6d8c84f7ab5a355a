"""Namespaces that end: their rows go, though the kernel announces none of these losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from nlbus.table.query import Query

if TYPE_CHECKING:
    from nlbus._typing import Array
    from nlbus.bus.batch import Batch
    from nlbus.bus.state.objects import Objects
    from nlbus.sources import Source


class Ends:
    """Finds the messages about the end of a network namespace that all_nsid=True hears."""

    def __init__(self, source: Source) -> None:
        self._columns = {each.name: each.manners.ends for each in source.schemas if each.manners.ends}
        self._query = Query(source, self._columns) if self._columns else None
        self._foreign = False  # whether a message of another namespace ever came

    def parts(self, batch: Batch) -> Iterator[tuple[Batch, list[int]]]:
        """The batch in order: parts of it, each with the namespaces that end after it."""
        ended = []
        if self._query is not None:
            self._foreign = self._foreign or bool((batch.index["nsid"] >= 0).any())
            ended = [*self._ended(self._query, batch)] if self._foreign else []
        if not ended:
            yield batch, []
            return
        message = np.arange(len(batch))
        begin = 0
        for row, nsid in sorted(ended):
            yield batch.select((message >= begin) & (message <= row)), [nsid]
            begin = row + 1
        yield batch.select(message >= begin), []

    def _ended(self, query: Query, batch: Batch) -> Iterator[tuple[int, int]]:
        """The messages about an end, by number, and the namespace's number here."""
        for name in query.present(batch):
            # Others' numbers, in messages that come from elsewhere, mean nothing here.
            table = query.table(batch, name)
            column = self._columns[name]
            marks = (table["nl_op"] == 2) & table.valid(column) & ~table.valid("nl_nsid")
            yield from zip(table["nl_row"][marks].tolist(), table[column][marks].tolist(), strict=True)


def leave(objects: Objects, nsid: int) -> None:
    """Remove the rows of a namespace."""
    table = objects.table()
    marks: Array = (table["nl_nsid"] == nsid) & table.valid("nl_nsid")
    objects.remove(objects.numbers()[marks])
