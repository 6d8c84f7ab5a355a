"""The headers of messages as columns: what `where=` compares where a source has no tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nlbus.errors import UnknownColumn
from nlbus.schema.types import Column
from nlbus.sources import Source, did_you_mean

if TYPE_CHECKING:
    from nlbus._typing import Array
    from nlbus.table.chunks import Mask
    from nlbus.table.received import Received


def _columns(**types: str) -> dict[str, Column]:
    return {
        name: Column(
            name=name,
            dtype=np.dtype(type),
            type=f"{type[0]}{8 * int(type[1])}",
            nullable=False,
            flags={1 << i: str(i + 1) for i in range(32)} if name == "groups" else None,
        )
        for name, type in types.items()
    }


# As in `batch.messages` and, on the bus, of each nlbus_batch.
BUS = _columns(
    type="u4",
    groups="u4",
    fingerprint="u8",
    portid="u4",
    uid="u4",
    count="u4",
    record_size="u4",
    instance="u8",
)
MESSAGES = _columns(type="u2", flags="u2", seq="u4", portid="u4", group="u4", length="u4")
GENERIC = MESSAGES | _columns(cmd="u1", version="u1")  # struct genlmsghdr


def head_columns(source: Source) -> dict[str, Column]:
    """The columns of the headers of a source's messages."""
    if source.framing == "bus":
        return BUS
    return GENERIC if source.kernel_name == "NETLINK_GENERIC" else MESSAGES


class Heads:
    """The headers of received messages, for Expression.mask."""

    families = None
    interfaces = None

    def __init__(self, source: Source, received: Received | None = None) -> None:
        self._columns = head_columns(source)
        self._received = received

    @property
    def columns(self) -> Sequence[Column]:
        """All of them."""
        return tuple(self._columns.values())

    def column(self, name: str) -> Column:
        """The column of this name. UnknownColumn."""
        if name not in self._columns:
            known = ", ".join(self._columns)
            hint = did_you_mean(name, self._columns)
            raise UnknownColumn(f"no column {name!r}{hint}: of messages without a table there are {known}")
        return self._columns[name]

    def valid(self, name: str) -> Mask:
        """Marks all: each message has a header. UnknownColumn."""
        return np.ones(len(self[name]), np.bool_)

    def __getitem__(self, name: str) -> Array:
        column = self.column(name)
        if self._received is None:
            return np.empty(0, column.dtype)
        index = self._received.index
        if name not in ("cmd", "version"):
            return index[name]
        found = np.zeros(len(index), np.uint8)
        whole = index["length"] >= 4
        found[whole] = self._received.data[index["offset"][whole] + ("cmd", "version").index(name)]
        return found
