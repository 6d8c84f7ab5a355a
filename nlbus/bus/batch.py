"""A batch: what one receive brought, as arrays."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from nlbus._core.block import FRAMINGS
from nlbus._core.columns.arrays import view
from nlbus._core.columns.blocks import compact, from_datagrams
from nlbus._core.columns.records import EVENT, MESSAGE, SEGMENT, events_of, payloads_of, records_of
from nlbus.errors import SchemaError
from nlbus.kernel.groups import Groups
from nlbus.schema.topic import Topic
from nlbus.schema.types import ORIGINS
from nlbus.sources import find
from nlbus.table.decoded import LIVE
from nlbus.table.loss import Loss
from nlbus.table.query import Reading

if TYPE_CHECKING:
    import numpy.typing as npt

    from nlbus._core.block import Block
    from nlbus._typing import Array, Bytes, Structured
    from nlbus.table.table import Table

BUS = FRAMINGS.index("bus")
NLBUS_MSG_BATCH = 0x10
U1 = np.dtype("u1")
U4 = np.dtype("<u4")


class Batch:
    """What one receive brought: events on the bus, messages elsewhere.

    Arrays that a batch hands out are read-only views of the memory it was received in, or copies where that
    is scattered. Views keep the memory alive; use `copy` for what you keep. `time_ns` is UTC at receive.
    `complete`: the last batch of a snapshot, see `origin`; never a live one.
    """

    __slots__ = (
        "_block", "_ends", "_len", "_origin", "_reading", "_selected",
        "complete", "counts", "loss", "misfits",
    )  # fmt: skip
    counts: dict[str, int]

    def __init__(
        self,
        block: Block,
        loss: Loss,
        reading: Reading,
        selected: Structured | None = None,
        origin: int = LIVE,
    ) -> None:
        self._block = block
        self._reading = reading
        self._selected = selected  # rows, where these are not all of the block's
        self._len = block.events
        self.loss = loss
        self.misfits = 0
        self._origin = origin
        self.complete = False
        self._ends: Array | None = None

    @classmethod
    def from_datagrams(cls, source: str, datagrams: Iterable[bytes], *, group: int = 0) -> Batch:
        """The batch that a subscriber of `source` would make of these datagrams, without a kernel.

        For tests. `group` is by which they came, 0 for unknown. `counts` says what was malformed or foreign,
        and which batches came twice; a live batch has no counts: see Subscriber.stats. SchemaError for what
        is not bytes.
        """
        reading = Reading(find(source))
        kind = FRAMINGS.index(reading.source.framing)
        block, counts = from_datagrams(kind, _datagrams(datagrams), group, 0)
        batch = cls(block, Loss(block.losses), reading)
        batch.counts = counts
        return batch

    def __len__(self) -> int:
        return self._len

    def __repr__(self) -> str:
        what = "events" if self._is_bus else "messages"
        return f"<Batch of {self._len} {what}{f', {self.loss}' if self.loss else ''}>"

    @property
    def time_ns(self) -> int:
        """UTC in ns when the receive returned; 0 for datagrams that were given as bytes."""
        return self._block.time_ns

    @property
    def origin(self) -> str:
        """One of "live", "snapshot" (what there was when snapshot=True began), "resync" (after a loss)."""
        return ORIGINS[self._origin]

    @property
    def _is_bus(self) -> bool:
        return self._block.kind == BUS

    @property
    def data(self) -> Bytes:
        """The memory that offsets count from, uint8. Bytes between messages mean nothing."""
        return view(self._block, U1, self._block.extent, 0)

    @property
    def _table(self) -> Structured:
        """A row a message, or a row a batch on the bus: MESSAGE or SEGMENT."""
        if self._selected is not None:
            return self._selected
        block = self._block
        return view(block, SEGMENT if block.kind == BUS else MESSAGE, block.rows, block.rows_at)

    @property
    def messages(self) -> Structured:
        """A row a message: offset and length of its payload in `data`, type, flags, seq, portid, group, nsid.

        portid is the sender's by the kernel's word, 0 for the kernel itself. group is that by which it
        came. nsid is -1 where it is this namespace. On the bus a message is one nlbus_batch, and offset and
        length are those of its events.
        """
        table = self._table
        if not self._is_bus:
            return table
        rows = np.zeros(len(table), MESSAGE)
        for name in ("offset", "length", "portid", "group"):
            rows[name] = table[name]
        rows["type"] = NLBUS_MSG_BATCH
        rows["nsid"] = -1
        rows.flags.writeable = False
        return rows

    @property
    def events(self) -> Structured:
        """A row an event of the bus: seq, time_ns (UTC), groups (mask), type, portid, uid."""
        if not self._is_bus:
            return np.empty(0, EVENT)
        return events_of(self._block, self._selected, self._len)

    def records(
        self, dtype: npt.DTypeLike | Topic, type: int | None = None, groups: Any = None
    ) -> Structured:
        """Events of the bus, or payloads elsewhere, as a read-only array of `dtype`.

        dtype may be a Topic: then only its type and schema count. type and groups choose further. Whatever
        was chosen and has another size or schema is left out, and counted in `misfits`. No copy is made
        where the records lie in one piece, or at equal distances. SchemaError for a dtype with objects.
        """
        fingerprint = None
        if isinstance(dtype, Topic):
            fingerprint = dtype.fingerprint
            type = dtype.type if type is None else type
            dtype = dtype.dtype
        dtype = dtype if isinstance(dtype, np.dtype) else np.dtype(dtype)
        if dtype.hasobject or dtype.itemsize == 0:
            raise SchemaError(f"records of {dtype}: only fixed-size types without objects can lie in a batch")
        if groups is not None:
            groups = Groups.of(groups)
            if not groups:
                self.misfits = 0
                return np.empty(0, dtype)
        if self._is_bus:
            mask = groups.mask if groups else 0
            records, self.misfits = records_of(self._block, self._selected, dtype, type, fingerprint, mask)
        else:
            records, self.misfits = payloads_of(self._block, self._selected, dtype, type, groups)
        return records

    def table(self, name: str | Topic) -> Table:
        """The messages of one kind as a Table, a row each, in the order they came; events of a topic as well.

        A row's columns are those of `nlbus.schema`, or the topic's fields, and before them nl_row (the
        message's number in `messages`, the event's in `events`), nl_time (UTC at receive, or when published),
        nl_op, nl_origin, nl_group and nl_nsid. SchemaError for a table that the source lacks.
        """
        return self._reading.table(self, name)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of all tables as dicts of Python values, in message order; nl_table names the table."""
        return self._reading.rows(self)

    def payload(self, i: int) -> bytes:
        """Event i of the bus, or the payload of message i elsewhere. IndexError."""
        if not -self._len <= i < self._len:
            raise IndexError(f"event {i} of a batch of {self._len}")
        i %= self._len
        if not self._is_bus:
            row = self._table[i]
            return self._bytes(int(row["offset"]), int(row["length"]))
        if self._ends is None:
            self._ends = np.cumsum(self._table["count"], dtype=np.int64)
        at = int(np.searchsorted(self._ends, i, side="right"))
        row = self._table[at]
        j = i - int(self._ends[at]) + int(row["count"])
        offset, size = int(row["offset"]), int(row["record_size"])
        if row["offsets_at"] < 0:
            return self._bytes(offset + j * size, size)
        start, end = np.frombuffer(self.data, U4, 2, int(row["offsets_at"]) + 4 * j).tolist()
        return self._bytes(offset + start, end - start)

    def _bytes(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length].tobytes()

    def select(self, which: Groups | Iterable[int] | npt.NDArray[np.bool_]) -> Batch:
        """The batch of those events (messages) that a bool array marks, or that went to these groups."""
        table = self._table
        if isinstance(which, np.ndarray) and which.dtype == np.bool_:
            if which.shape != (self._len,):
                raise SchemaError(f"select: a mask of shape {which.shape} for {self._len} events")
            rows = _runs(table, which) if self._is_bus else table[which]
        elif self._is_bus:
            rows = table[table["groups"] & np.uint32(Groups.of(which).mask) != 0]
        else:
            rows = table[np.isin(table["group"], list(Groups.of(which)))]
        return self._picked(rows)

    def _picked(self, rows: Structured) -> Batch:
        """The batch of these rows of `_table`, in any order."""
        rows.flags.writeable = False  # their offsets are trusted
        batch = self._with(self._block, rows)
        batch._len = int(rows["count"].sum()) if self._is_bus else len(rows)
        return batch

    def copy(self) -> Batch:
        """The same batch in memory of its own, no larger than needed."""
        return self._with(compact(self._block, self._selected))

    def _with(self, block: Block, rows: Structured | None = None) -> Batch:
        """What is true of this batch, of another block or some rows."""
        batch = Batch(block, self.loss, self._reading, rows, self._origin)
        batch.complete = self.complete
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
    """The batches of the bus cut into those runs of events that are marked."""
    edges = np.diff(marked, prepend=False, append=False)
    ends = np.cumsum(table["count"], dtype=np.int64)
    starts = ends - table["count"]
    # A run ends where the mark does, and where its batch does.
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
