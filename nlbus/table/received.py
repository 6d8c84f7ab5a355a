"""The rows of one receive as arrays: messages, events, records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nlbus._core.block import FRAMINGS, MSG_BATCH
from nlbus._core.columns.arrays import view
from nlbus._core.columns.records import EVENT, MESSAGE, SEGMENT, events_of, payloads_of, records_of
from nlbus.errors import SchemaError
from nlbus.kernel.groups import Groups
from nlbus.schema.topic import Topic
from nlbus.schema.types import ORIGINS

if TYPE_CHECKING:
    import numpy.typing as npt

    from nlbus._core.block import Block
    from nlbus._typing import Bytes, Structured
    from nlbus.kernel.interfaces import Interfaces
    from nlbus.table.loss import Loss
    from nlbus.table.table import Table

BUS = FRAMINGS.index("bus")
LIVE, SNAPSHOT, RESYNC, REPAIR = ORIGINS
U1 = np.dtype("u1")


class Wanted(NamedTuple):
    """The events that `records` was to return: their dtype, their type and fingerprint or None for any, and
    their groups or 0 for any."""

    dtype: np.dtype[Any]
    type: int | None
    fingerprint: int | None
    groups: int


class Received:
    """All rows of a block, or a selection of them, with their origin and their loss.

    `index` has a row per message (MESSAGE), or per nlbus_batch on the bus (SEGMENT). Its offsets are trusted.
    """

    __slots__ = ("_length", "block", "facts", "loss", "made", "misfits", "origin_code", "selected", "told")

    def __init__(
        self, block: Block, loss: Loss, selected: Structured | None = None, origin_code: int = LIVE
    ) -> None:
        self.block = block
        self.loss = loss
        self.selected = selected  # a selection of the rows of `index`; None: all
        self.origin_code = origin_code
        self.misfits = 0
        self.facts: dict[int, tuple[Any, ...]] | None = None  # of objects, by their numbers: see schema.Facts
        self.told: Interfaces | None = None  # learned the names that its links have
        self.made: Mapping[str, Table] | None = None  # tables without messages, see Changes
        if selected is None:
            self._length = block.events
        else:
            selected.flags.writeable = False
            self._length = int(selected["count"].sum()) if block.kind == BUS else len(selected)

    def __len__(self) -> int:
        return self._length

    @property
    def on_bus(self) -> bool:
        """Whether these are events of the bus."""
        return self.block.kind == BUS

    @property
    def time_ns(self) -> int:
        """UTC in ns when the receive returned; 0 for datagrams that were given as bytes."""
        return self.block.time_ns

    @property
    def origin(self) -> str:
        """One of "live", "snapshot" (as snapshot=True began), "resync" (after a loss), "repair"."""
        return ORIGINS[self.origin_code]

    @property
    def data(self) -> Bytes:
        """The memory that offsets count from, uint8. Bytes between messages are undefined."""
        return view(self.block, U1, self.block.extent, 0)

    @property
    def index(self) -> Structured:
        """A row per message, or per nlbus_batch on the bus: MESSAGE or SEGMENT."""
        if self.selected is not None:
            return self.selected
        block = self.block
        return view(block, SEGMENT if block.kind == BUS else MESSAGE, block.rows, block.rows_at)

    @property
    def messages(self) -> Structured:
        """A row per message: offset and length of the payload in `data`, type, flags, seq, portid, ...

        portid is the sender's as the kernel reports it, 0 for the kernel itself. group is the one through
        which the message came. nsid is -1 for this network namespace. On the bus a message is one
        nlbus_batch, and offset and length are those of its events.
        """
        index = self.index
        if not self.on_bus:
            return index
        rows = np.zeros(len(index), MESSAGE)
        for name in ("offset", "length", "portid", "group"):
            rows[name] = index[name]
        rows["type"] = MSG_BATCH
        rows["nsid"] = -1
        rows.flags.writeable = False
        return rows

    @property
    def events(self) -> Structured:
        """A row per event of the bus: seq, time_ns (UTC), groups (mask), type, portid, uid."""
        if not self.on_bus:
            return np.empty(0, EVENT)
        return events_of(self.block, self.selected, self._length)

    def records(
        self, dtype: npt.DTypeLike | Topic, type: int | None = None, groups: Any = None
    ) -> Structured:
        """Events of the bus, or payloads elsewhere, as a read-only array of `dtype`.

        dtype may be a Topic: then only its type and schema count. type and groups select further.
        Selected events of another size or schema are left out and counted in `misfits`. Records that are
        contiguous, or at equal distances, are not copied. SchemaError for a dtype with objects.
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
        if self.on_bus:
            mask = groups.mask if groups else 0
            records, self.misfits = records_of(self.block, self.selected, dtype, type, fingerprint, mask)
            if self.misfits:
                self._left_out(Wanted(dtype, type, fingerprint, mask))
        else:
            records, self.misfits = payloads_of(self.block, self.selected, dtype, type, groups)
        return records

    def _left_out(self, wanted: Wanted) -> None:
        """Called when `records` has left out events of another size or schema."""
