"""Reception: from blocks of the receiver to the batches that recv returns, repairs and resyncs among them."""

from __future__ import annotations

import time
from abc import abstractmethod
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from nlbus.bus.batch import Batch
from nlbus.bus.state.tracker import Dumped
from nlbus.bus.stream import Feed, log
from nlbus.errors import LossError, kernel_error
from nlbus.kernel.arguments import optional_seconds
from nlbus.table.loss import Loss
from nlbus.table.received import RESYNC

if TYPE_CHECKING:
    from nlbus._core.block import Block
    from nlbus._core.receive.receiver import Receiver
    from nlbus.bus.inbox import Inbox
    from nlbus.bus.pause import Pause
    from nlbus.bus.snapshot import Snapshots
    from nlbus.bus.state.tracker import Tracker
    from nlbus.bus.stats import Strangers
    from nlbus.bus.verdicts.verdicts import Verdicts
    from nlbus.sources import Source
    from nlbus.table.query import Query

NO_LOSS = Loss()


class Reception(Feed):
    """The receiving half of a Subscriber."""

    _source: Source
    _query: Query
    _receiver: Receiver
    _inbox: Inbox
    _pause: Pause
    _snapshots: Snapshots | None
    _tracker: Tracker | None
    _verdicts: Verdicts | None
    _facts: bool  # facts about processes are read at receipt
    _unwrapped: Block | None  # received, but memory ran out
    _strangers: Strangers

    @abstractmethod
    def _join_module(self) -> None:
        """Listen to nlbus.ko, too, now that it is loaded."""

    def recv(self, timeout: float | None = None) -> Batch:
        """The next batch; an empty one when `timeout` seconds are up. 0 only looks, None waits for ever.

        SchemaError, ClosedError, BusyError, ArenaFull, LossError (on_loss="raise"), KernelError,
        KeyboardInterrupt.
        """
        deadline = None
        if timeout is not None and timeout != 0:
            timeout = optional_seconds(timeout, "timeout")
            deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if self._inbox.stale:
                self._resync()
            if self._tracker is not None and self._tracker.due and not self._inbox:
                self._repair(self._tracker)
            if self._held is not None or self._inbox:
                if (batch := self._take_waiting()) is not None:
                    return batch
                continue
            if self._unwrapped is not None:
                self._receiver.check()
                self._inbox.unsignal()
                if (batch := self._wrapped(self._unwrapped)) is not None:
                    return batch
                continue
            try:
                block = self._receiver.receive(timeout)
            except OSError as error:
                raise kernel_error(error.errno or 0, f"receiving from {self._source.name}") from error
            if self._receiver.strangers != self._strangers.known:
                self._strangers.look(self._receiver)
            if block is not None:
                batch = self._wrapped(block)
                if batch is not None and (batch or batch.loss or not self._query.by_head or not block.rows):
                    return batch
                if timeout != 0:
                    timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
                continue  # nothing of it was wanted
            if self._receiver.arrived:
                self._join_module()
            self._pause.wait(self._receiver, self._has_unread)
            if deadline is not None:
                timeout = max(0.0, deadline - time.monotonic())

    def _wrapped(self, block: Block) -> Batch | None:
        """The batch of a block. If memory runs out, or Ctrl-C comes between, the next recv has the block."""
        self._unwrapped = block
        try:
            batch = self._batch(block) if block.lossy else self._wanted(Batch(block, NO_LOSS, self._query))
        except BaseException:
            self._receiver.signal()
            raise
        self._unwrapped = None
        if self._verdicts is not None and not batch and not batch.loss and block.rows:
            return None  # answers to us
        lossy = bool(batch.loss) if self._verdicts is not None else block.lossy
        return self._deliver(batch) if lossy or self._tracker is not None else batch

    def _take_waiting(self) -> Batch | None:
        """The batch whose loss was raised, else the oldest of the inbox; None for one without news."""
        self._receiver.check()
        if (held := self._take_held()) is not None:
            self._inbox.unsignal()
            return held
        batch, covered = self._inbox.take()
        if self._verdicts is not None and not isinstance(batch, Dumped):
            batch = self._waiting(self._verdicts, batch)
        if isinstance(batch, Dumped):
            assert self._tracker is not None
            try:
                changes = self._tracker.settle(batch)
            except BaseException:
                self._tracker.lost()  # what it found is gone: look again
                self._receiver.signal()
                raise
            return changes if changes or changes.complete else None
        return self._deliver(batch, covered)

    def _put_back(self, batch: Batch) -> None:
        super()._put_back(batch)
        self._receiver.signal()

    def _deliver(self, batch: Batch, covered: bool = False) -> Batch | None:
        """Apply on_loss; a loss that no snapshot covers calls for one. None: the user need not see it."""
        if self._tracker is not None:
            heard = len(batch)
            batch = self._tracked(self._tracker, batch)
            self._inbox.answers += heard - len(batch)
            if heard and not batch and not batch.loss and not batch.complete:
                return None
        if self._snapshots is not None and not covered and (batch.loss.datagrams or batch.loss.unbuilt):
            if self._tracker is not None:
                self._tracker.lost()
            else:
                self._inbox.stale = True
                self._receiver.signal()
        try:
            return self._report(batch, self._source.name)
        except LossError:
            self._receiver.signal()  # the batch waits for the next recv
            raise

    def _tracked(self, tracker: Tracker, batch: Batch) -> Batch:
        """The batch as far as it is for the user, after the State has it."""
        try:
            tracker.follow(batch)
        except (MemoryError, KeyboardInterrupt):
            if not tracker.state.complete:
                tracker.lost()
            self._inbox.put_first([batch])
            self._receiver.signal()
            raise
        except Exception:
            # The user gets the batch; the state is made true by a dump.
            log.exception("%s: the state cannot take a batch and is compared anew", self._source.name)
            tracker.lost()
        return batch.select(self.groups) if tracker.groups - self.groups and batch.origin == "live" else batch

    def _resync(self) -> None:
        """After a loss: first what is queued now, which is older than the snapshot, then the snapshot."""
        assert self._snapshots is not None
        with self._paused():
            self._inbox.put(self._drain())
            self._inbox.put_snapshot(map(self._wanted, self._snapshots.take(resync=True)))

    def _repair(self, tracker: Tracker) -> None:
        """Dump what is doubtful; first what is queued now, which is older."""
        with self._paused():
            self._inbox.put(self._drain())
            found = tracker.dump()
            if found.origin_code == RESYNC:
                self._inbox.put_snapshot([found])
            else:
                self._inbox.put([found])

    def _drain(self) -> list[Batch]:
        """What is queued now. KernelError: the next call, or the next recv, has it all."""
        try:
            return [*map(self._batch, self._receiver.drain())]
        except OSError as error:
            raise kernel_error(error.errno or 0, f"receiving from {self._source.name}") from error

    def _batch(self, block: Block) -> Batch:
        return self._wanted(Batch.of_block(block, self._query))

    def _wanted(self, batch: Batch) -> Batch:
        """The messages of the batch whose headers `where` selects, if it is about these."""
        if self._facts:
            self._query.read_facts(batch)
        if self._verdicts is not None:
            return self._waiting(self._verdicts, batch)
        if not self._query.by_head:
            return batch
        rows = self._query.heads(batch)
        return batch if rows.all() else batch.take(batch.index[rows])

    def _waiting(self, verdicts: Verdicts, batch: Batch) -> Batch:
        """The batch, whose packets are known to wait, less what the kernel answered to us."""
        heard = len(batch)
        batch = verdicts.received(batch)
        self._inbox.answers += heard - len(batch)
        return batch

    # -- pausing ----------------------------------------------------------------------------------

    def _paused(self) -> AbstractContextManager[None]:
        """Keep the consumer out of recv."""
        return self._pause.of(self._receiver, self._has_unread)

    def _has_unread(self) -> bool:
        unread = bool(self._inbox or self._unwrapped) or self._held is not None or self._inbox.stale
        return unread or self._due

    @property
    def _due(self) -> bool:
        """Whether it is time for a repair."""
        return self._tracker is not None and self._tracker.due
