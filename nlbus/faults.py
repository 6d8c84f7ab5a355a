"""Faults for tests: a feed whose datagrams are dropped, cut, doubled or reordered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from nlbus.bus.batch import Batch
from nlbus.bus.stream import Feed, OnLoss
from nlbus.kernel.arguments import number, optional_seconds
from nlbus.kernel.groups import Groups
from nlbus.table.loss import Loss

if TYPE_CHECKING:
    from nlbus._typing import Structured
    from nlbus.schema.topic import Topic
    from nlbus.sources import Source
    from nlbus.table.chunks import Mask
    from nlbus.table.loss import LossRow
    from nlbus.table.table import Table

Stream = tuple[int, int, int]  # portid, instance, groups


class Faulty(Feed):
    """A feed with faults, which are the same for the same seed and the same batches.

    drop, cut, duplicate, reorder: the probability of each fault, 0 to 1, per message, or per batch of events
    on the bus. They are reported as a Subscriber reports a kernel that did the same:

    - dropped: on the bus `open`, until the stream's next batch makes it a gap, exactly; elsewhere an overrun
      between the batch before and this one.
    - cut: not delivered, and counted as `truncated` of stats; on the bus a gap, too.
    - doubled: delivered twice; on the bus once, and counted as `copies`.
    - reordered: after its next neighbour. Not within a stream of the bus, whose readers would refuse it.

    The feed's own losses stay; open it with on_loss="ignore". Closing this closes it. SchemaError.
    """

    def __init__(
        self,
        feed: Feed,
        *,
        seed: int = 0,
        drop: float = 0.0,
        cut: float = 0.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        on_loss: OnLoss = "log",
    ) -> None:
        super().__init__(on_loss)
        chances = {"drop": drop, "cut": cut, "duplicate": duplicate, "reorder": reorder}
        self._chances = {name: number(p, name, 0, 1, "a probability") for name, p in chances.items()}
        self.live = feed.live
        self._feed = feed
        self._random = np.random.default_rng(seed)
        self._missing: dict[Stream, tuple[int, int]] = {}  # of the bus: events, dropped datagrams, since ...
        self._heard: dict[Stream, int] = {}  # ... the stream was heard last, in ns UTC
        self._before: int | None = None  # when the last batch came
        self._counts = {"delivered": 0, "lost": 0, "dropped": 0, "open": 0, "truncated": 0, "copies": 0}

    def recv(self, timeout: float | None = None) -> Batch:
        """The next batch, with its faults. LossError (on_loss="raise"), and what the feed's recv raises."""
        if (held := self._take_held()) is not None:
            return held
        limit = optional_seconds(timeout, "timeout")
        deadline = None if limit is None else time.monotonic() + limit
        while True:
            batch = self._feed.recv(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if not batch and not batch.loss:
                return batch
            faulty = self._with_faults(batch)
            if faulty or faulty.loss:  # else all of it was cut: as if nothing had come
                return self._report(faulty, "faults" if self.source is None else self.source.name)

    def _with_faults(self, batch: Batch) -> Batch:
        rows = batch.index
        chance = {name: self._random.random(len(rows)) < p for name, p in self._chances.items()}
        gone = chance["drop"] | chance["cut"]
        self._counts["truncated"] += int((chance["cut"] & ~chance["drop"]).sum())
        on_bus = batch.on_bus
        losses, grew = (
            self._gaps(rows, chance["drop"], gone, batch.time_ns)
            if on_bus
            else (self._overrun(int(chance["drop"].sum()), batch.time_ns), False)
        )
        order = np.flatnonzero(~gone)
        twice = chance["duplicate"][order]
        if on_bus:
            self._counts["copies"] += int(twice.sum())
        else:
            order = np.repeat(order, np.where(twice, 2, 1))
        kept = rows[self._reordered(order, chance["reorder"], rows if on_bus else None)]
        still_open = batch.loss.open + self._counts["open"]
        faulty = batch.take(kept, batch.loss + Loss.of(losses, still_open, grew))
        self._counts["delivered"] += len(faulty) - len(batch)
        self._before = batch.time_ns
        return faulty

    def _overrun(self, count: int, time_ns: int) -> list[LossRow]:
        self._counts["dropped"] += count
        earliest = time_ns if self._before is None else self._before
        return [("overrun", 0, count, False, earliest, time_ns)] if count else []

    def _gaps(self, rows: Structured, dropped: Mask, gone: Mask, time_ns: int) -> tuple[list[LossRow], bool]:
        """What becomes known of streams by this batch, and whether there is more in doubt than before."""
        gaps: list[LossRow] = []
        grew = False
        columns = (rows[name].tolist() for name in ("portid", "instance", "groups", "count"))
        marks = dropped.tolist(), gone.tolist()
        for portid, instance, groups, count, by_kernel, lost in zip(*columns, *marks, strict=True):
            stream = portid, instance, groups
            if by_kernel:
                self._counts["open"] += 1
                self._counts["dropped"] += 1
                grew = True
            # A stream begins with what is heard of it first: nothing explains what was dropped before.
            if lost and stream in self._heard:
                events, datagrams = self._missing.get(stream, (0, 0))
                self._missing[stream] = events + count, datagrams + by_kernel
            elif not lost:
                events, datagrams = self._missing.pop(stream, (0, 0))
                if events:
                    self._counts["open"] -= datagrams
                    self._counts["lost"] += events
                    gaps.append(("gap", instance, events, True, self._heard[stream], time_ns))
                self._heard[stream] = time_ns
        return gaps, grew

    def _reordered(self, order: Any, late: Mask, rows: Structured | None) -> Any:
        order = order.tolist()
        at = 0
        while at + 1 < len(order):
            first, second = order[at], order[at + 1]
            if late[first] and (rows is None or _stream(rows[first]) != _stream(rows[second])):
                order[at : at + 2] = second, first
                at += 1
            at += 1
        return np.array(order, np.intp)

    # -- the rest is the feed's ---------------------------------------------------------------------

    @property
    def source(self) -> Source | None:
        """The source of the feed."""
        return self._feed.source

    @property
    def groups(self) -> Groups:
        """The groups of the feed."""
        return self._feed.groups

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables of the feed."""
        return self._feed.tables

    def empty(self, name: str | Topic) -> Table:
        """A table of the feed without rows."""
        return self._feed.empty(name)

    def stats(self) -> dict[str, Any]:
        """The feed's counters, with what the faults have changed."""
        stats = self._feed.stats()
        return stats | {name: stats.get(name, 0) + count for name, count in self._counts.items()}

    def explain(self) -> str:
        """The feed, and its faults."""
        faults = ", ".join(f"{name} {chance:g}" for name, chance in self._chances.items() if chance)
        return f"{self._feed.explain()}\nfaults: {faults or 'none'}"

    def close(self) -> None:
        """Close the feed, too."""
        self._feed.close()
        self._log_rest("faults" if self.source is None else self.source.name)


def _stream(row: Any) -> Stream:
    return row["portid"], row["instance"], row["groups"]
