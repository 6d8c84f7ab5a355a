"""The reader that nlbus is measured by: what a user's loop does."""

from __future__ import annotations

from typing import Any

import numpy as np

from nlbus import Subscriber
from nlbus.bench.native.floor import Ears
from nlbus.kernel.truesize import truesize


def amount(ears: Ears, wanted: int, length: int) -> int:
    """As many datagrams of `length` bytes as wanted, if the buffer holds them."""
    return min(wanted, int(0.9 * ears.granted) // truesize(length))


class Reader:
    """Looks at every message and record of every batch, as arrays; `lost` is of the last `drain`."""

    def __init__(self, sub: Subscriber, dtype: np.dtype[Any] | None, messages: bool) -> None:
        self.sub, self.dtype, self.messages = sub, dtype, messages
        self.lost = 0

    def drain(self) -> int:
        """Read all that is queued. Events."""
        sub, dtype, messages = self.sub, self.dtype, self.messages
        seen = 0
        self.lost = 0
        while True:
            batch = sub.recv(0)
            if batch.loss:
                self.lost += batch.loss.events + batch.loss.datagrams
            if not len(batch):
                return seen
            if messages:
                rows = batch.messages
                assert len(rows) == len(batch)
            if dtype is not None:
                records = batch.records(dtype)
                assert len(records) == len(batch)
            elif messages:
                offsets, lengths = rows["offset"], rows["length"]
                assert len(offsets) == len(lengths) == len(batch)
            seen += len(batch)
