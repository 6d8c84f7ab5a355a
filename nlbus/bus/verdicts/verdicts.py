"""The waiting packets of a subscriber, and the verdicts on them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nlbus._core.columns.waiting import HEAD, waiting
from nlbus.bus.batch import Batch
from nlbus.bus.verdicts.decision import Decision, Verdict, codes_of, numbers_of, payloads_of
from nlbus.bus.verdicts.queue import Queue
from nlbus.errors import NlbusError, SchemaError, kernel_error
from nlbus.kernel.netns import Netns, inside
from nlbus.table.loss import Loss
from nlbus.table.table import Table

if TYPE_CHECKING:
    from nlbus._core.receive.receiver import Receiver
    from nlbus._typing import Array, Structured
    from nlbus.kernel.groups import Groups
    from nlbus.sources import Source
    from nlbus.table.query import Query

AtClose = Literal["drop", "accept"]

LOOK_EVERY = 0.1  # seconds, at most so often: reading /proc takes as long as some packets
NUMBER = 0xFFFF  # of a queue: the kernel's, of our group


class Verdicts:
    """The waiting packets of a subscriber, and the requests that decide on them. From any thread.

    left: queues that were left. Their ids would begin anew, and older batches would decide on new packets.
    SchemaError.
    """

    def __init__(
        self,
        source: Source,
        receiver: Receiver,
        query: Query,
        at_close: AtClose,
        accept_all: bool,
        netns: Netns,
    ) -> None:
        assert source.answers is not None
        if at_close not in ("drop", "accept"):
            raise SchemaError(f"at_close={at_close!r}: 'drop' or 'accept'")
        self.left: frozenset[int] = frozenset()
        self._source = source
        self._answers = source.answers
        self._receiver = receiver
        self._query = query
        self._at_close = at_close
        self._accept_all = accept_all
        self._queues: dict[int, Queue] = {}
        self._lock = threading.Lock()
        self._counters = inside(netns, self._open)
        self._look = 0.0  # when to look at the counters next, time.monotonic()
        self._looked = time.time_ns()
        self._dropped = 0  # packets that found their queue full, as of the last look
        self._answered = self._requests = self._refused = 0

    # -- receiving --------------------------------------------------------------------------------

    def received(self, batch: Batch) -> Batch:
        """The batch without the kernel's refusals of verdicts; its packets now wait for one."""
        if batch.packets is not None or not len(batch):
            return batch
        heads, refused = waiting(batch.block, batch.selected, self._answers.packet)
        if refused:
            self._refused += refused
            batch = batch.take(batch.index[batch.index["type"] >= 0x10])
            heads, _ = waiting(batch.block, batch.selected, self._answers.packet)
        with self._lock:
            for group, here in _by_queue(heads):
                self._queue(group).add(heads["id"][here])
        if self._accept_all:
            self._decide(heads, np.full(len(heads), Verdict.ACCEPT, np.uint32), None, {})
        batch = self._with_drops(batch)
        batch.packets = heads
        return batch

    def _queue(self, number: int) -> Queue:
        if number not in self._queues:
            self._queues[number] = Queue(number, self._answers)
        return self._queues[number]

    def _with_drops(self, batch: Batch) -> Batch:
        """With the packets that the kernel has dropped since the last look, because too many waited."""
        if time.monotonic() < self._look:
            return batch
        self._look = time.monotonic() + LOOK_EVERY
        since, self._looked = self._looked, time.time_ns()
        dropped = self.counters()["queue_dropped"] - self._dropped
        if dropped <= 0:
            return batch
        self._dropped += dropped
        loss = Loss.of([("overrun", 0, dropped, True, since, self._looked)], batch.loss.open, False)
        return batch.take(batch.index, batch.loss + loss)

    # -- deciding ---------------------------------------------------------------------------------

    def decide(
        self, rows: Batch | Table, accept: Any, verdicts: Any, mark: Any, payload: Mapping[int, bytes] | None
    ) -> int:
        """See Subscriber.verdict."""
        heads, hidden = self._heads(rows)
        codes = codes_of(accept, verdicts, len(heads))
        marks = None if mark is None else numbers_of(mark, len(heads), "mark")
        payloads = {} if payload is None else payloads_of(payload, len(heads))
        self._receiver.check()
        answered = self._decide(heads, codes, marks, payloads)
        if len(hidden):
            answered += self._decide(hidden, np.full(len(hidden), Verdict.ACCEPT, np.uint32), None, {})
        return answered

    def _heads(self, rows: Batch | Table) -> tuple[Structured, Structured]:
        """The packets of the rows, and those that where= hides."""
        nothing = np.empty(0, HEAD)
        if isinstance(rows, Table):
            names = {column.name for column in rows.columns}
            if not {"queue", "id"} <= names:
                raise SchemaError("verdict: the table needs its columns queue and id")
            known = rows.valid("id")
            if not known.all():
                raise SchemaError("verdict: a row without an id is no packet that waits")
            heads = np.zeros(len(rows), HEAD)
            heads["group"], heads["id"] = rows["queue"], rows["id"]
            return heads, nothing
        if not isinstance(rows, Batch):
            raise SchemaError(f"verdict: a batch, or its table packet, not {type(rows).__name__}")
        if rows.query is not self._query:
            raise SchemaError("verdict: the batch is of another subscriber")
        found = rows.packets
        heads = waiting(rows.block, rows.selected, self._answers.packet)[0] if found is None else found
        if self._query.where is None:
            return heads, nothing
        shown = np.isin(heads["row"], rows.table(self._query.tables[0])["nl_row"])
        return heads[shown], heads[~shown]

    def _decide(
        self, heads: Structured, codes: Array, marks: Array | None, payloads: Mapping[int, bytes]
    ) -> int:
        """Send the verdicts; the number of packets that waited for one. KernelError."""
        answered = 0
        whole = Decision(heads["id"], codes, marks, payloads)
        with self._lock:
            for number, here in _by_queue(heads):
                queue = self._queue(number)
                decision = whole if isinstance(here, slice) else whole.only(np.flatnonzero(here))
                places = queue.places(decision.ids)
                if (places[:1] < 0).any() or not (places[1:] > places[:-1]).all():
                    places, which = np.unique(places, return_index=True)
                    known = places >= 0  # the others have had a verdict
                    places, decision = places[known], decision.only(which[known])
                if len(places):
                    datagrams, requests = queue.requests(places, decision)
                    self._send(datagrams)
                    queue.decided(places)
                    answered += len(places)
                    self._requests += requests
            self._answered += answered
        return answered

    def _send(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            try:
                self._receiver.send(datagram)
            except OSError as error:
                raise kernel_error(error.errno or 0, f"sending verdicts to {self._source.name}") from error

    # -- the end ----------------------------------------------------------------------------------

    def leave(self, groups: Groups) -> None:
        """Before queues are left. With at_close="accept", what waits passes, and what comes until then."""
        with self._lock:
            for group in groups:
                if self._at_close == "accept":
                    last = self._queue(group & NUMBER).accept_all()
                    self._send([self._answers.pass_all(group) + last])
                self._queues.pop(group & NUMBER, None)
            self.left |= groups

    def close(self, groups: Groups) -> None:
        """Before the sockets are closed."""
        with suppress(OSError, NlbusError):
            self.leave(groups)
        with self._lock:
            if self._counters >= 0:
                os.close(self._counters)
            self._counters = -1

    # -- what is going on -------------------------------------------------------------------------

    def _open(self) -> int:
        """The kernel's counters, of this namespace whoever reads them; -1: they are not shown."""
        try:
            return os.open(f"/proc/thread-self/net/{self._answers.counters}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return -1

    def counters(self) -> dict[str, int]:
        """The kernel's counters of our queues, added up; zeros if they are not shown."""
        found = {"queue_waiting": 0, "queue_dropped": 0, "queue_user_dropped": 0}
        with self._lock:
            text = b"" if self._counters < 0 else os.pread(self._counters, 1 << 20, 0)
        for line in text.splitlines():
            numbers = [int(word) for word in line.split()]
            if numbers[1] == self._receiver.portid:
                for name, at in zip(found, (2, 5, 6), strict=True):
                    found[name] += numbers[at]
        return found

    def stats(self) -> dict[str, int]:
        """Counters for Subscriber.stats."""
        ours = {"answered": self._answered, "requests": self._requests, "refused": self._refused}
        return ours | self.counters()


def _by_queue(heads: Structured) -> Iterator[tuple[int, Any]]:
    """Each queue, and which of these packets are of it: a slice of all, or a mask."""
    groups = heads["group"]
    if len(groups) and (groups == groups[0]).all():
        yield int(groups[0]), slice(None)
    else:
        for number in np.unique(groups).tolist():
            yield number, groups == number
