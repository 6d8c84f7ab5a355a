"""Losses and their times, as exactly as the kernel reports them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from nlbus._core.receive.ledger import CAUSES, LOSS_ROW

if TYPE_CHECKING:
    from nlbus._typing import Structured

LossRow = tuple[str, int, int, bool, int, int]  # as Loss.rows has them
ROWS = np.dtype(
    [
        ("cause", "U7"), ("stream", "<u8"), ("count", "<u8"), ("exact", "?"),
        ("earliest", "<i8"), ("latest", "<i8"),
    ]
)  # fmt: skip


class Loss:
    """The losses that a batch revealed; falsy if there are none.

    `events` were lost on the bus, exactly. `datagrams` were dropped by the kernel, each with one event or
    more (kernel and raw sources). `open` counts datagrams of the bus that the kernel dropped and that no gap
    explains yet: the end of a stream whose publisher was killed stays open. `rows` has a row for each:
    cause "gap" (count is events, stream is the stream's instance), "overrun" (count is datagrams, dropped or
    cut, stream is 0) or "unbuilt" (the kernel had no memory to build an event, or more than one: count is 1),
    exact, earliest and latest: it happened between these two times, in ns UTC.
    """

    __slots__ = ("_raw", "grew", "open")

    def __init__(self, raw: bytes = b"", open: int = 0, grew: bool = False) -> None:
        self._raw = raw
        self.open = open
        self.grew = grew

    @classmethod
    def of(cls, rows: Iterable[LossRow], open: int, grew: bool) -> Loss:
        """The loss with these rows, each as `rows` has it."""
        found = list(rows)
        raw = np.zeros(len(found), LOSS_ROW)
        raw[:] = [
            (stream, count, earliest, latest, CAUSES.index(cause), exact)
            for cause, stream, count, exact, earliest, latest in found
        ]
        return cls(raw.tobytes(), open, grew)

    def __bool__(self) -> bool:
        return bool(self._raw) or self.grew

    def _sum(self, cause: str) -> int:
        if not self._raw:
            return 0
        rows = np.frombuffer(self._raw, LOSS_ROW)
        return sum(rows["count"][rows["cause"] == CAUSES.index(cause)].tolist())

    @property
    def events(self) -> int:
        """Events lost on the bus."""
        return self._sum("gap")

    @property
    def datagrams(self) -> int:
        """Datagrams that the socket dropped or cut, with at least one event each."""
        return self._sum("overrun")

    @property
    def unbuilt(self) -> int:
        """How often the kernel reported events that it could not build."""
        return self._sum("unbuilt")

    @property
    def rows(self) -> Structured:
        """A structured array: cause, stream, count, exact, earliest, latest (ns UTC)."""
        raw = np.frombuffer(self._raw, LOSS_ROW)
        rows = np.empty(len(raw), ROWS)
        for name in ("stream", "count", "exact", "earliest", "latest"):
            rows[name] = raw[name]
        rows["cause"] = np.array(CAUSES)[raw["cause"]]
        return rows

    def __add__(self, later: Loss) -> Loss:
        return Loss(self._raw + later._raw, later.open, self.grew or later.grew)

    def __repr__(self) -> str:
        known = f"events={self.events}, datagrams={self.datagrams}, unbuilt={self.unbuilt}"
        return f"Loss({known}, open={self.open})"

    def __str__(self) -> str:
        parts = [
            f"{count} {what}{'s' * (count != 1)} {how}"
            for count, what, how in (
                (self.events, "event", "lost"),
                (self.datagrams, "datagram", "dropped"),
                (self.unbuilt, "time", "the kernel could not build an event"),
                (self.open, "dropped datagram", "not explained yet"),
            )
            if count
        ]
        return ", ".join(parts) or "nothing lost"
