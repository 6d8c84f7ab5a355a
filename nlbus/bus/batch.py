"""A batch: the result of one receive, as arrays and tables."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from nlbus._core.block import FRAMINGS
from nlbus._core.columns.blocks import compact, from_datagrams
from nlbus._text import html_table, html_text
from nlbus.errors import SchemaError
from nlbus.kernel.groups import Groups
from nlbus.sources import Source, find
from nlbus.table.loss import Loss
from nlbus.table.query import Query
from nlbus.table.received import LIVE, Received
from nlbus.table.repr import html

if TYPE_CHECKING:
    import numpy.typing as npt

    from nlbus._core.block import Block
    from nlbus._typing import Array, Structured
    from nlbus.schema.topic import Topic
    from nlbus.sources import Source
    from nlbus.table.received import Wanted
    from nlbus.table.table import Table

U4 = np.dtype("<u4")
EVENTS = 8  # that a notebook shows


class Batch(Received):
    """The result of one receive: events on the bus, messages elsewhere.

    Arrays that a batch returns are read-only views of the memory it was received in, or copies where that
    memory is scattered. A view keeps the memory alive: `copy` what you keep. `time_ns` is UTC at receive.
    `complete` marks the last batch of a snapshot, see `origin`; a live batch never has it.
    """

    __slots__ = ("_ends", "complete", "counts", "packets", "query")
    counts: dict[str, int]

    def __init__(
        self,
        block: Block,
        loss: Loss,
        query: Query,
        selected: Structured | None = None,
        origin_code: int = LIVE,
    ) -> None:
        super().__init__(block, loss, selected, origin_code)
        self.query = query  # the tables, columns and condition that it is read with
        self.complete = False
        self._ends: Array | None = None
        # HEAD of _core/columns/waiting, of packets that wait for a verdict; None: nobody has looked.
        self.packets: Structured | None = None

    @classmethod
    def of_block(cls, block: Block, query: Query) -> Batch:
        """The batch of a block that was received, with its losses."""
        return cls(block, Loss(block.losses, block.open, block.grew), query)

    @classmethod
    def from_datagrams(cls, source: str | Source, datagrams: Iterable[bytes], *, group: int = 0) -> Batch:
        """The batch that a subscriber of `source` would make of these datagrams, without a kernel.

        For tests. `group` is the one through which they came, 0 for unknown. `counts` reports malformed and
        foreign datagrams and repeated batches; for a live batch see Subscriber.stats. SchemaError for
        anything but bytes.
        """
        query = Query(find(source))
        kind = FRAMINGS.index(query.source.framing)
        block, counts = from_datagrams(kind, _datagrams(datagrams), group, 0)
        batch = cls(block, Loss(block.losses), query)
        batch.counts = counts
        return batch

    def __repr__(self) -> str:
        what = "events" if self.on_bus else "messages"
        return f"<Batch of {len(self)} {what}{f', {self.loss}' if self.loss else ''}>"

    def _repr_html_(self) -> str:
        parts = [html_text(repr(self))]
        if self.on_bus:
            events = self.events[:EVENTS]
            names = events.dtype.names or ()
            parts.append(html_table(names, [[str(cell) for cell in event] for event in events.tolist()]))
        else:
            found = {name: self.table(name) for name in self.query.tables}
            parts += [html(table, f"{name}: {len(table)}") for name, table in found.items() if len(table)]
        return f"<div>{''.join(parts)}</div>"

    @property
    def source(self) -> Source:
        """The source that it came from."""
        return self.query.source

    def table(self, name: str | Topic) -> Table:
        """The messages of one kind as a Table, a row per message in order of arrival; a topic's events too.

        The columns are those of `nlbus.schema`, or the topic's fields, and before them nl_row (the number of
        the message in `messages`, or of the event in `events`), nl_time (UTC at receive, or when published),
        nl_op, nl_origin, nl_group and nl_nsid. SchemaError for a table that the source lacks.
        """
        return self.query.table(self, name)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of all tables as dicts of Python values, in message order; nl_table names the table."""
        return self.query.rows(self, absent=True)

    def payload(self, i: int) -> bytes:
        """Event i of the bus, or the payload of message i elsewhere. IndexError."""
        length = len(self)
        if not -length <= i < length:
            raise IndexError(f"event {i} of a batch of {length}")
        i %= length
        if not self.on_bus:
            row = self.index[i]
            return self._bytes(int(row["offset"]), int(row["length"]))
        if self._ends is None:
            self._ends = np.cumsum(self.index["count"], dtype=np.int64)
        at = int(np.searchsorted(self._ends, i, side="right"))
        row = self.index[at]
        j = i - int(self._ends[at]) + int(row["count"])
        offset, size = int(row["offset"]), int(row["record_size"])
        if row["offsets_at"] < 0:
            return self._bytes(offset + j * size, size)
        start, end = np.frombuffer(self.data, U4, 2, int(row["offsets_at"]) + 4 * j).tolist()
        return self._bytes(offset + start, end - start)

    def _left_out(self, wanted: Wanted) -> None:
        if self.query.misfit is not None:
            self.query.misfit(self, wanted)

    def _bytes(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length].tobytes()

    def select(self, which: Groups | Iterable[int] | npt.NDArray[np.bool_]) -> Batch:
        """The batch of the events (messages) that a bool array marks, or that went to these groups."""
        index = self.index
        if isinstance(which, np.ndarray) and which.dtype == np.bool_:
            if which.shape != (len(self),):
                raise SchemaError(f"select: a mask of shape {which.shape} for {len(self)} events")
            return self.take(_runs(index, which) if self.on_bus else index[which])
        if self.on_bus:
            return self.take(index[index["groups"] & np.uint32(Groups.of(which).mask) != 0])
        return self.take(index[np.isin(index["group"], list(Groups.of(which)))])

    def take(self, index: Structured, loss: Loss | None = None) -> Batch:
        """The batch of these rows of `index`, in any order, with this loss; None: the same loss."""
        return self._like(self.block, index, loss)

    def without_loss(self) -> Batch:
        """The same batch without its loss, for what remains of a batch whose loss was reported."""
        return self._like(self.block, self.selected, Loss())

    def copy(self) -> Batch:
        """The same batch in memory of its own, no larger than needed."""
        return self._like(compact(self.block, self.selected))

    def _like(self, block: Block, selected: Structured | None = None, loss: Loss | None = None) -> Batch:
        loss = self.loss if loss is None else loss
        batch = Batch(block, loss, self.query, selected, self.origin_code)
        batch.complete = self.complete
        batch.facts = self.facts
        return batch


def _datagrams(datagrams: Iterable[bytes]) -> list[bytes]:
    try:
        if isinstance(datagrams, str | bytes | bytearray | memoryview):
            raise TypeError("one datagram is no list of them")
        # bytes(5) would be five zeros.
        return [each if type(each) is bytes else memoryview(each).tobytes() for each in datagrams]
    except TypeError as error:
        wanted = "from_datagrams: a list of datagrams, each of them bytes, not"
        raise SchemaError(f"{wanted} {reprlib.repr(datagrams)}") from error


def _runs(table: Structured, marked: npt.NDArray[np.bool_]) -> Structured:
    """The batches of the bus, cut into runs of marked events."""
    edges = np.diff(marked, prepend=False, append=False)
    ends = np.cumsum(table["count"], dtype=np.int64)
    starts = ends - table["count"]
    # A run ends with its marks, and with its batch.
    inner = starts[1:][marked[starts[1:]] & marked[starts[1:] - 1]]
    bounds = np.sort(np.concatenate([np.flatnonzero(edges), inner, inner]))
    begin, end = bounds[::2], bounds[1::2]
    rows = table[np.searchsorted(ends, begin, side="right")].copy()
    skipped = begin - starts[np.searchsorted(ends, begin, side="right")]
    fixed = rows["offsets_at"] < 0
    rows["count"] = end - begin
    rows["first_seq"] += skipped.astype(np.uint64)
    rows["offset"] += np.where(fixed, skipped * rows["record_size"], 0)
    rows["length"] = np.where(fixed, rows["count"].astype(np.int64) * rows["record_size"], rows["length"])
    rows["offsets_at"] += np.where(fixed, 0, 4 * skipped)
    rows["times_at"] += np.where(rows["times_at"] < 0, 0, 4 * skipped)
    return rows
