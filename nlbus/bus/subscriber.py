"""Subscriber: batches from the bus, from the kernel, or from any netlink protocol."""

from __future__ import annotations

import sys
import time
import warnings
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from nlbus._core.block import HEADER_BYTES
from nlbus.bus import membership as handshake
from nlbus.bus.batch import Batch
from nlbus.bus.pause import Aside
from nlbus.bus.snapshot import Snapshots
from nlbus.bus.sockets import Opening, Trust, buffer_sizes, option_values, trusted
from nlbus.bus.stats import explanation, figures, transport_name
from nlbus.bus.stream import Feed, OnLoss, log
from nlbus.bus.transport import Transport, expect, expected_no_more
from nlbus.errors import LossError, NlbusError, SchemaError, kernel_error
from nlbus.kernel.arguments import optional_seconds, whole
from nlbus.kernel.groups import MASK_GROUPS, Groups
from nlbus.kernel.netns import Netns, inside
from nlbus.schema.topic import Topic
from nlbus.sources import GroupsLike, Source, find, group_names, help_with, located, resolve_groups
from nlbus.table.loss import Loss
from nlbus.table.query import Reading, Tables
from nlbus.table.table import Table

if TYPE_CHECKING:
    from nlbus._core.block import Block
    from nlbus.table.expressions import Expression

DEFAULT_EVENT_BYTES = 64
NO_LOSS = Loss()


class Subscriber(Feed):
    """Listens to groups of a source and yields batches.

    source: one of `nlbus.sources()`. groups: numbers, names or Groups; None: those of the tables, else the
    source's default. topics: their groups too (bus only). tables: what `batch.table` and `batch.rows` shall
    decode, names, or a dict of names to the columns wanted; None: every table. where: an expression of
    `field`; tables have only the rows for which it is true (messages, counts and losses stay).

    snapshot: True, or the names of tables: first come all objects of them that there are, as batches of
    `origin` "snapshot", the last one `complete`; then what has happened since the groups were joined.
    After each loss on a source of the kernel all come again that there are then, as "resync". A key that one
    of these lacks is gone: see State. None of it counts in `stats()`, or in what max_memory bounds.

    netns: listen in this network namespace, a name of `ip netns`, a path, a descriptor or a pid; any number
    of them on one thread. all_nsid: hear, beside it, the network namespaces that have an id in it; the column
    nsid says which (needs CAP_NET_BROADCAST). options: of the source.

    transport: on the bus, "usersock", "module" (nlbus.ko), or "auto": both, the module once it is loaded.
    Later, it is joined by a recv that waits, at once, or by the next one; and before a publisher of this
    process uses it. reliable: let publishers with reliable=True wait for us while our buffer is full (through
    the module only): who does not read stalls them all.

    buffer_events: the kernel's receive buffer holds at least so many events sent one by one, of the topics'
    size or 64 bytes; a warning says if the kernel grants less. None: 64 MiB, and up to 256 MiB after
    overruns, if the kernel grants them. max_memory: what batches may hold before recv raises ArenaFull, in
    bytes (and one batch more). trust: the uids to believe where processes publish, "any", or None for our
    own and root. on_loss: "log" (logger "nlbus", at most once a second), "raise" LossError (the next recv
    then returns the batch), "ignore".

    One thread receives at a time (BusyError); join, leave and close may come from any other. PermissionDenied
    says what is needed; UnknownSource, SchemaError and KernelError what is wrong.
    """

    def __init__(
        self,
        source: str = "bus",
        groups: GroupsLike | None = None,
        *,
        topics: Iterable[Topic] = (),
        tables: Tables = None,
        where: Expression | None = None,
        snapshot: bool | Iterable[str] = False,
        netns: Netns = None,
        all_nsid: bool = False,
        options: Mapping[str, float] | None = None,
        trust: Trust = None,
        transport: Transport = "auto",
        reliable: bool = False,
        buffer_events: int | None = None,
        max_memory: int = 256 << 20,
        on_loss: OnLoss = "log",
    ) -> None:
        super().__init__(on_loss)
        self._source = inside(netns, lambda: located(find(source), f"listening to {source}"))
        self._topics = tuple(topics)
        self._reading = Reading(self._source, tables, where)
        self._groups = self._resolve(groups, chosen=tables is not None)
        self._snapshots: Snapshots | None = None
        if snapshot:
            if all_nsid:
                raise SchemaError("snapshot with all_nsid: what there is, is told of one namespace only")
            chosen = () if tables is None else self._reading.tables
            named = chosen if isinstance(snapshot, bool) else snapshot
            self._snapshots = Snapshots(self._reading, named, self._groups, netns)
        self._options = option_values(self._source, options)
        max_memory = whole(max_memory, "max_memory", 0, sys.maxsize)
        buffer_bytes, buffer_limit = buffer_sizes(buffer_events, self._event_bytes())
        self._opening = Opening(
            source=self._source,
            transport=transport,
            reliable=reliable,
            netns=netns,
            all_nsid=all_nsid,
            trust=trusted(self._source, trust),
            buffer_bytes=buffer_bytes,
            buffer_limit=buffer_limit,
        )
        self._aside = Aside()
        self._receiver = self._opening.receiver(self._groups, max_memory, self._aside.parked)
        self._backlog: deque[Batch] = deque()  # received while joining or leaving, not yet looked at
        self._answers = 0  # of the kernel's to handshakes: they were received, but are no events
        self._held: Batch | None = None  # LossError was raised for it; the next recv returns it
        self._stale = False  # something was lost, and no snapshot has made up for it yet
        self._covered = 0  # batches of the backlog that are from before such a snapshot
        self._shake_hands()
        if self._receiver.expecting:
            expect(self)
        self._tell_what_there_is()
        granted = self._receiver.sockets[0].buffer()[1]
        if buffer_events is not None and granted < buffer_bytes:
            warnings.warn(
                f"the kernel grants a receive buffer of {granted} bytes, {buffer_events} events need "
                f"{buffer_bytes}: raise net.core.rmem_max, or run with CAP_NET_ADMIN in the first "
                "user namespace",
                RuntimeWarning,
                stacklevel=2,
            )

    # -- receiving --------------------------------------------------------------------------------

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
            if self._stale:
                self._resync()
            if self._held is not None or self._backlog:
                return self._take_waiting()
            try:
                block = self._receiver.receive(timeout)
            except OSError as error:
                raise kernel_error(error.errno or 0, f"receiving from {self._source.name}") from error
            if block is not None:
                return (
                    self._deliver(self._batch(block)) if block.lossy else Batch(block, NO_LOSS, self._reading)
                )
            if self._receiver.arrived:
                self._join_module()
            self._aside.pass_by(self._receiver, self._has_unread)
            if deadline is not None:
                timeout = max(0.0, deadline - time.monotonic())

    def _take_waiting(self) -> Batch:
        self._receiver.check()
        batch, self._held = self._held, None
        told, covered = batch is not None, self._covered > 0
        if batch is None:
            batch = self._backlog.popleft()
            self._covered -= covered
        if not self._backlog:
            self._receiver.unsignal()
            if self._backlog:  # by another thread, meanwhile
                self._receiver.signal()
        return batch if told else self._deliver(batch, covered)

    def _deliver(self, batch: Batch, covered: bool = False) -> Batch:
        if self._snapshots is not None and not covered and (batch.loss.datagrams or batch.loss.unbuilt):
            self._stale = True
            self._receiver.signal()
        if batch.loss and self._on_loss != "ignore":
            if self._on_loss == "raise":
                self._held = batch
                self._receiver.signal()
                raise LossError(f"{self._source.name}: {batch.loss}", batch.loss)
            self._log(self._source.name, batch.loss)
        return batch

    # -- what there is ----------------------------------------------------------------------------

    def _tell_what_there_is(self) -> None:
        """At the start, before what has come since the groups were joined."""
        if self._snapshots is None:
            return
        try:
            self._backlog.extendleft(reversed(self._snapshots.take(resync=False)))
        except BaseException:
            self._receiver.close()
            raise
        self._receiver.signal()

    def _resync(self) -> None:
        """After a loss: first what was queued until now, which is older than what there is."""
        assert self._snapshots is not None
        with self._consumer_aside():
            self._backlog.extend(map(self._batch, self._receiver.drain()))
            self._covered = len(self._backlog)
            self._backlog.extend(self._snapshots.take(resync=True))
            self._stale = False

    # -- membership -------------------------------------------------------------------------------

    @property
    def source(self) -> Source:
        """The source that this subscriber listens to."""
        return self._source

    @property
    def groups(self) -> Groups:
        """The groups that this subscriber belongs to now."""
        return self._groups

    def join(self, groups: GroupsLike) -> None:
        """Join further groups, from any thread. PermissionDenied, UnknownSource, SchemaError, ClosedError."""
        self._change(resolve_groups(self._source, groups) - self._groups, join=True)

    def leave(self, groups: GroupsLike) -> None:
        """Leave groups, from any thread; what was sent to them until now is still delivered."""
        self._change(resolve_groups(self._source, groups) & self._groups, join=False)

    def _change(self, groups: Groups, join: bool) -> None:
        with self._consumer_aside():
            try:
                for group in groups:
                    self._join(group) if join else self._leave(group)
            except NlbusError:
                raise
            except OSError as error:
                raise self._opening.refused(error, "joining" if join else "leaving", groups) from error
            finally:
                self._receiver.set_members(Groups(*(g for g in self._groups if g <= MASK_GROUPS)).mask)
                if groups and not join and self._source.framing == "bus":
                    # What was queued until now is of streams that are about to be forgotten.
                    self._backlog.extend(map(self._batch, self._receiver.drain()))
                    self._receiver.forget()

    def _join(self, group: int) -> None:
        if self._source.membership:
            self._receiver.change(group, join=True)
        if self._source.handshake:
            try:
                handshake.join(self._receiver, self._reading, group, self._options, self._keep)
            except BaseException:
                if self._source.membership:
                    self._receiver.change(group, join=False)
                raise
        self._groups |= {group}
        self._prepare_goodbye(self._groups)

    def _leave(self, group: int) -> None:
        if self._source.handshake:
            handshake.leave(self._receiver, self._reading, group, self._keep)
        if self._source.membership:
            self._receiver.change(group, join=False)
        self._groups -= {group}
        self._prepare_goodbye(self._groups)

    def _join_module(self) -> None:
        """nlbus.ko was loaded: hear what comes through it, too, from now on."""
        with self._consumer_aside():
            if not self._receiver.expecting:
                return  # another thread was faster
            try:
                if not self._opening.join_module(self._receiver, self._groups):
                    return
            except (NlbusError, OSError) as error:
                log.warning("%s; what is published through the module is not heard", error)
            self._receiver.expect(None)
            expected_no_more(self)

    def _prepare_goodbye(self, groups: Groups) -> None:
        """What the kernel is told at the end: of the groups that it granted, each once. It counts."""
        if self._source.handshake:
            leave = self._source.handshake.leave
            self._receiver.goodbye = tuple(leave(group, 0) for group in groups)

    def _keep(self, batches: list[Batch], answers: int) -> None:
        self._backlog.extend(batches)
        self._answers += answers

    def _shake_hands(self) -> None:
        """At the start, with the groups that we are members of already."""
        if self._source.handshake is None:
            return
        granted = Groups()
        try:
            for group in self._groups:
                handshake.join(self._receiver, self._reading, group, self._options, self._keep)
                granted |= {group}
                self._prepare_goodbye(granted)
        except BaseException:
            self._receiver.close()
            raise
        if self._backlog:
            self._receiver.signal()

    def _consumer_aside(self) -> AbstractContextManager[None]:
        """Nobody receives meanwhile; whoever was at it goes on afterwards."""
        return self._aside.consumer_of(self._receiver, self._has_unread)

    def _has_unread(self) -> bool:
        return bool(self._backlog) or self._held is not None or self._stale

    # -- waiting, the end -------------------------------------------------------------------------

    def fileno(self) -> int:
        """One descriptor for select, poll, epoll and event loops: readable while recv(timeout=0) has news."""
        try:
            return self._receiver.fileno()
        except OSError as error:
            number = error.errno or 0
            action = f"opening what waits for {self._source.name}"
            raise kernel_error(number, action, help_with(self._source, number)) from error

    def close(self) -> None:
        """From any thread: whoever receives wakes up with ClosedError. Closing twice is fine."""
        self._receiver.close()
        self._log_rest(self._source.name)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._receiver.closed

    # -- what is going on -------------------------------------------------------------------------

    @property
    def transport(self) -> str:
        """How events come: "usersock" or "module" on the bus, "netlink" elsewhere.

        "auto" is "module" once nlbus.ko was joined; what comes by USERSOCK is heard beside it.
        """
        return transport_name(self._receiver.sockets[-1], self._source)

    def stats(self) -> dict[str, Any]:
        """Counters since the start, by name; of both sockets, where there are two.

        delivered: events (messages elsewhere). lost: events, exactly (bus). dropped: datagrams, by the
        socket's counter. open: those of them that no gap explains yet. malformed, foreign, untrusted, copies,
        truncated: what came and was not delivered, and why. unbuilt: times that the kernel told of events it
        could not build (route, netfilter, generic netlink). buffer_used, buffer_size, buffer_peak: bytes of
        truesize, now, granted, and about the most ever queued; buffer_grown: times that overruns made
        the buffer larger. memory: bytes that batches hold. streams (bus): portid (0 is the kernel), uid,
        instance, groups (a mask), delivered, lost, next_seq, next_dgram, time_ns and transport of each.
        ClosedError.
        """
        with self._consumer_aside():
            self._receiver.check()
            live = (batch for batch in tuple(self._backlog) if batch.origin == "live")
            waiting = sum(map(len, live)) + (0 if self._held is None else len(self._held))
            return figures(self._receiver, self._source, waiting + self._answers)

    def explain(self) -> str:
        """What was opened and what the kernel granted, in words."""
        self._receiver.check()
        return explanation(self._receiver, self._opening, self._groups, self._event_bytes())

    def __repr__(self) -> str:
        names = ", ".join(group_names(self._source, self._groups))
        return f"<Subscriber {self._source.name} ({names}){' closed' if self.closed else ''}>"

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that batches are read as: those that were asked for, or all of the source."""
        return self._reading.tables

    def _empty(self, name: str | Topic) -> Table:
        return self._reading.empty(name)

    # -- opening ----------------------------------------------------------------------------------

    def _resolve(self, groups: GroupsLike | None, chosen: bool) -> Groups:
        if self._topics and self._source.framing != "bus":
            raise SchemaError(f"topics are of the bus, not of {self._source.name}")
        wanted = Groups()
        for topic in self._topics:
            wanted = wanted | topic.groups
        if groups is None and chosen:
            groups = self._reading.groups
        if groups is None and wanted:
            return wanted
        return wanted | resolve_groups(self._source, groups)

    def _event_bytes(self) -> int:
        size = max((topic.dtype.itemsize for topic in self._topics), default=DEFAULT_EVENT_BYTES)
        return size + (HEADER_BYTES if self._source.framing == "bus" else 0)

    def _batch(self, block: Block) -> Batch:
        return Batch(block, Loss(block.losses, block.open, block.grew), self._reading)
