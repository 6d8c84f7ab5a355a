"""Subscriber: batches from the bus, from the kernel, or from any netlink protocol."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nlbus.bus import transport as ways
from nlbus.bus.inbox import Inbox
from nlbus.bus.membership import Membership
from nlbus.bus.options import Trust, buffer_of, chosen_groups, option_values, trusted
from nlbus.bus.pause import Pause
from nlbus.bus.reception import Reception
from nlbus.bus.snapshot import Snapshots
from nlbus.bus.sockets import Opener
from nlbus.bus.state.state import State
from nlbus.bus.state.tracker import Tracker
from nlbus.bus.stats import Strangers, explanation, figures, transport_name
from nlbus.bus.stream import OnLoss, log
from nlbus.bus.transport import Transport
from nlbus.bus.verdicts.verdicts import AtClose, Verdicts
from nlbus.errors import NlbusError, SchemaError, kernel_error
from nlbus.filters import HEADS, Wanted
from nlbus.filters.sources import Narrowing
from nlbus.kernel.arguments import whole
from nlbus.kernel.groups import MASK_GROUPS, Groups
from nlbus.kernel.interfaces import LiveInterfaces
from nlbus.kernel.netns import Netns, inside
from nlbus.schema.topic import Topic
from nlbus.sources import GroupsLike, Source, find, group_names, help_with, located, resolve_groups
from nlbus.table.loss import Loss
from nlbus.table.query import Query, Tables
from nlbus.table.table import Table

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from nlbus._core.block import Block
    from nlbus.bus.batch import Batch
    from nlbus.table.expressions import Expression

NO_LOSS = Loss()


class Subscriber(Reception):
    """Listens to groups of a source and yields batches.

    source: one of `nlbus.sources()`, or a spec of `nlbus.ynl.load`. groups: numbers, names or Groups; None:
    those of the tables, else the source's default. topics: adds their groups (bus only). tables: those that
    `batch.table` and `batch.rows` decode: names, or a dict of names to the columns wanted; None: every one.
    where: an expression of `field`; tables keep only the rows for which it is true. As far as it can, the
    kernel does
    not even queue other messages, and none of tables that `tables` does not name: they wake nobody, take no
    room and are in no batch and no counter. kernel_filter=False: all messages come, as they always do with
    snapshot=. `explain` shows who checks what. Of a source without tables, `where` selects messages by their
    headers: type, flags, cmd (generic netlink) ...; on the bus by type, groups, fingerprint, portid, uid ...
    On the bus a filter other than by groups turns gaps of streams into `filtered` events; losses are then
    counted in datagrams, as on other sources.

    snapshot: True, or the names of tables: their current objects are delivered first, as batches of `origin`
    "snapshot", the last one `complete`; then every change since the groups were joined. Snapshots count
    neither in `stats()` nor against max_memory.

    repair: what the kernel changes without a message, or tells in part, is asked for and delivered as batches
    of origin "repair": Changes, with rows new, change and del but no messages. After a loss, the differences
    come as "resync". `state` has the current objects. None: with snapshot=, if all of its tables have keys.
    False: after a loss all current objects are delivered again, as "resync"; a key missing from them is gone.
    audit: compare everything each so many seconds, for changes of which no message gives a hint (see
    docs/state.md).

    netns: listen in this network namespace: a name of `ip netns`, a path, a descriptor or a pid; any number
    of them on one thread. all_nsid: also hear the network namespaces that have an id in this one; the column
    nsid names them (needs CAP_NET_BROADCAST). options: of the source.

    transport: on the bus, "usersock", "module" (nlbus.ko), or "auto": both, the module once it is loaded. A
    waiting recv joins the module at once, otherwise the next recv does, and in any case before a publisher of
    this process uses it. reliable: publishers with reliable=True wait while our buffer is full (through the
    module only): a subscriber that does not read stalls them all.

    buffer_events: the kernel's receive buffer holds at least so many events sent one by one, of the topics'
    size or 64 bytes; a warning reports a smaller grant. None: 64 MiB, and up to 256 MiB after overruns, as
    far as the kernel grants them. max_memory: bytes that batches may hold before recv raises ArenaFull (and
    one batch more). trust: the uids whose messages are believed where processes publish, "any", or None for
    our own uid and root. on_loss: "log" (logger "nlbus", at most once a second), "raise" LossError (the next
    recv then returns the batch), "ignore".

    at_close, accept_all: for packets that wait for a verdict (nfqueue). What waits when the subscriber closes
    or leaves the queue is dropped, or with at_close="accept" passes. accept_all: every packet is accepted as
    soon as it is received.

    One thread receives at a time (BusyError); join, leave and close may come from any thread.
    PermissionDenied names the missing privilege; UnknownSource, SchemaError and KernelError name the fault.
    """

    def __init__(
        self,
        source: str | Source = "bus",
        groups: GroupsLike | None = None,
        *,
        topics: Iterable[Topic] = (),
        tables: Tables = None,
        where: Expression | None = None,
        kernel_filter: bool = True,
        snapshot: bool | Iterable[str] = False,
        repair: bool | None = None,
        audit: float | None = None,
        netns: Netns = None,
        all_nsid: bool = False,
        options: Mapping[str, float] | None = None,
        trust: Trust = None,
        transport: Transport = "auto",
        reliable: bool = False,
        buffer_events: int | None = None,
        max_memory: int = 256 << 20,
        on_loss: OnLoss = "log",
        at_close: AtClose = "drop",
        accept_all: bool = False,
    ) -> None:
        super().__init__(on_loss)
        topics = tuple(topics)
        self._source = inside(netns, lambda: located(find(source), f"listening to {source}"))
        if self._source.answers is None and (accept_all or at_close != "drop"):
            raise SchemaError(f"at_close= and accept_all= are for nfqueue: no packet of {source} waits")
        self._interfaces = LiveInterfaces(netns, all_nsid=all_nsid)
        self._query = Query(self._source, tables, where, self._interfaces)
        members = chosen_groups(self._source, groups, topics, None if tables is None else self._query)
        self._snapshots = Snapshots.wanted(
            snapshot, self._query, tables is not None, members, netns, all_nsid, repair is True
        )
        self._tracker = Tracker.wanted(repair, self._snapshots, self._source, audit)
        hints = Groups() if self._tracker is None else self._tracker.groups - members  # not for the user
        values = option_values(self._source, options)
        self._facts = bool(values.get("facts")) or self._query.asks_facts
        max_memory = whole(max_memory, "max_memory", 0, sys.maxsize)
        self._opener = Opener(
            source=self._source,
            transport=transport,
            reliable=reliable,
            netns=netns,
            all_nsid=all_nsid,
            trust=trusted(self._source, trust),
            buffer=buffer_of(self._source, topics, buffer_events),
            narrowing=Narrowing(),
        )
        # A packet that is not even received would wait for its verdict for ever.
        if where is not None and kernel_filter and self._snapshots is None and not self._source.answers:
            wanted = {name: [where] for name in self._query.tables or (HEADS,)}
            self._opener.narrowing = Narrowing(self._source, wanted, others=tables is None)
        self._pause = Pause()
        self._receiver = self._opener.receiver(members | hints, max_memory, self._pause.parked)
        self._strangers = Strangers(self._opener, topics)
        self._query.misfit = self._strangers.misfit
        self._unwrapped: Block | None = None  # received, but memory ran out
        self._verdicts: Verdicts | None = None
        if self._source.answers is not None:
            answers = (self._source, self._receiver, self._query, at_close, accept_all, netns)
            self._or_close(lambda: setattr(self, "_verdicts", Verdicts(*answers)))
        tracker = self._tracker
        self._inbox = Inbox(self._receiver, lambda: tracker is not None and tracker.due)
        self._membership = Membership(self._receiver, self._query, values, self._inbox)
        self._membership.narrow(self._opener.narrowing.tables)
        if self._tracker is not None:
            self._tracker.wake = self._receiver.signal
        self._or_close(lambda: self._membership.start(members))
        if self._receiver.expecting:
            ways.expect(self._join_module)
        self._or_close(self._put_snapshot)
        self._warn_of_small_buffer(buffer_events)

    # -- opening ----------------------------------------------------------------------------------

    def _or_close(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException:
            self._receiver.close()
            raise

    def _put_snapshot(self) -> None:
        """The current objects, before the events that have come since the groups were joined."""
        if self._snapshots is not None:
            every = self._tracker is not None  # the State has all rows
            self._inbox.put_first(map(self._wanted, self._snapshots.take(resync=False, every=every)))
            self._receiver.signal()

    def _warn_of_small_buffer(self, events: int | None) -> None:
        granted = self._receiver.sockets[0].buffer()[1]
        if events is not None and granted < self._opener.buffer.size:
            warnings.warn(
                f"the kernel grants a receive buffer of {granted} bytes, {events} events need "
                f"{self._opener.buffer.size}: raise net.core.rmem_max, or run with CAP_NET_ADMIN in the "
                "first user namespace",
                RuntimeWarning,
                stacklevel=3,
            )

    # -- membership -------------------------------------------------------------------------------

    @property
    def source(self) -> Source:
        """The source that this subscriber listens to."""
        return self._source

    @property
    def state(self) -> State:
        """The current objects, as of the last batch that recv returned: of a subscriber with snapshot=True.

        SchemaError for any other.
        """
        if self._tracker is None:
            raise SchemaError("no state: pass snapshot=True, of tables with a key, and not repair=False")
        return self._tracker.state

    @property
    def where(self) -> Expression | None:
        """The condition that rows must meet; None for none."""
        return self._query.where

    @property
    def groups(self) -> Groups:
        """The groups that this subscriber belongs to now."""
        return self._membership.groups

    def join(self, groups: GroupsLike) -> None:
        """Join further groups, from any thread. PermissionDenied, UnknownSource, SchemaError, ClosedError."""
        self._change(resolve_groups(self._source, groups) - self.groups, join=True)

    def leave(self, groups: GroupsLike) -> None:
        """Leave groups, from any thread; what was sent to them until now is still delivered."""
        self._change(resolve_groups(self._source, groups) & self.groups, join=False)

    def _change(self, groups: Groups, join: bool) -> None:
        with self._paused():
            if self._verdicts is not None and join and self._verdicts.left & groups:
                raise SchemaError("a queue that was left begins anew with its ids: use another Subscriber")
            if self._verdicts is not None and not join:
                self._verdicts.leave(groups)
            try:
                for group in groups:
                    needed = self._tracker is not None and group in self._tracker.groups
                    self._membership.join(group) if join else self._membership.leave(group, listen=needed)
            except NlbusError:
                raise
            except OSError as error:
                raise self._opener.refused(error, "joining" if join else "leaving", groups) from error
            finally:
                self._receiver.set_members(Groups(*(g for g in self.groups if g <= MASK_GROUPS)).mask)
                if groups and not join and self._source.framing == "bus":
                    # Queued events belong to streams that are about to be forgotten.
                    self._inbox.put(self._drain())
                    self._receiver.forget()

    def narrow(self, wanted: Wanted) -> None:
        """Receive only messages that may have a wanted row: of these tables, for which one of the expressions
        is true (None: any row). It replaces where= in the kernel, not in the decoder. From any thread. With
        snapshot= nothing changes. ClosedError."""
        if self._snapshots is None and self._verdicts is None:
            self._opener.narrowing = Narrowing(self._source, wanted, others=False)
            with self._paused():
                self._receiver.filter(self._opener.narrowing)
                self._membership.narrow(self._opener.narrowing.tables)

    def _join_module(self) -> None:
        """Listen to nlbus.ko, too, now that it is loaded."""
        with self._paused():
            if not self._receiver.expecting:
                return  # another thread was faster
            try:
                if not self._opener.join_module(self._receiver, self.groups):
                    return
            except (NlbusError, OSError) as error:
                log.warning("%s; events published through the module are not heard", error)
            self._receiver.expect(None)
            ways.expect_no_more(self._join_module)

    # -- verdicts ---------------------------------------------------------------------------------

    def verdict(
        self,
        rows: Batch | Table,
        accept: bool | ArrayLike | None = None,
        *,
        verdicts: int | ArrayLike | None = None,
        mark: int | ArrayLike | None = None,
        payload: Mapping[int, bytes] | None = None,
    ) -> int:
        """Decide on packets that wait in the kernel (nfqueue): of a batch, or the rows of its table.

        accept: True, False, or a bool for each row: accept or drop it. verdicts: instead, one of
        nlbus.Verdict, or one for each row. mark: the packets' mark from now on, an integer or one for each
        row. payload: new bytes of packets, by row, from the network header on; checksums are the caller's.
        Rows are those of the table "packet"; packets of the batch that where= hides are accepted.

        From any thread. Returns how many packets waited for a verdict; one that has had it is left alone.
        SchemaError, KernelError, ClosedError.
        """
        if self._verdicts is None:
            raise SchemaError(f"verdict: no packet of {self._source.name} waits for one; those of nfqueue do")
        return self._verdicts.decide(rows, accept, verdicts, mark, payload)

    # -- waiting, the end -------------------------------------------------------------------------

    def fileno(self) -> int:
        """One descriptor for select, poll, epoll and event loops: readable while recv(timeout=0) has news."""
        try:
            return self._receiver.fileno()
        except OSError as error:
            number = error.errno or 0
            action = f"opening a descriptor to wait for {self._source.name}"
            raise kernel_error(number, action, help_with(self._source, number)) from error

    def close(self) -> None:
        """Close it, from any thread: a waiting recv raises ClosedError. Closing twice is fine."""
        if self._tracker is not None:
            self._tracker.close()
        if self._verdicts is not None and not self.closed:
            self._verdicts.close(self.groups)
        self._receiver.close()
        self._interfaces.close()
        self._log_rest(self._source.name)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._receiver.closed

    # -- what is going on -------------------------------------------------------------------------

    @property
    def transport(self) -> str:
        """How events come: "usersock" or "module" on the bus, "netlink" elsewhere.

        "auto" is "module" once nlbus.ko was joined; events through USERSOCK are heard, too.
        """
        return transport_name(self._receiver.sockets[-1], self._source)

    def stats(self) -> dict[str, Any]:
        """Counters since the start, by name; of both sockets, where there are two.

        delivered: events (messages elsewhere). lost: events, exactly (bus). dropped: datagrams, by the
        socket's counter, which cannot tell senders apart: datagrams of processes that are not believed count,
        too. open: dropped datagrams that no gap explains yet. malformed, foreign, untrusted, copies,
        truncated: messages that were not delivered, by reason. unbuilt: how often the kernel reported events
        that it could not build (route, netfilter, generic netlink). buffer_used, buffer_size, buffer_peak:
        bytes of truesize, now, granted, and about the most ever queued; buffer_grown: how often overruns made
        the buffer larger. memory: bytes that batches hold. streams (bus): portid (0 is the kernel), uid,
        instance, groups (a mask), delivered, lost, next_seq, next_dgram, time_ns and transport of each.
        filtered (bus): events in gaps that where= made in the kernel, or that were lost meanwhile.
        evicted: streams that were forgotten, of strangers first, for there are at most 16,384; one that comes
        again begins anew. repairs, repaired: dumps of what was in doubt (snapshot=True), and rows that
        differed. answered (nfqueue): packets that had a verdict. requests, refused: what was sent for that,
        and what the kernel refused of it, as for packets that were gone. queue_waiting, queue_dropped,
        queue_user_dropped: packets of our queues that wait in the kernel now, that it dropped because too
        many waited, and because our buffer was full. ClosedError.
        """
        with self._paused():
            self._receiver.check()
            waiting = self._inbox.messages + (0 if self._held is None else len(self._held))
            found = figures(self._receiver, self._source, waiting + self._inbox.answers)
            tracker = self._tracker
            found["repairs"], found["repaired"] = (tracker.repairs, tracker.repaired) if tracker else (0, 0)
            return found if self._verdicts is None else found | self._verdicts.stats()

    def explain(self) -> str:
        """The opened sockets and what the kernel granted, in words."""
        self._receiver.check()
        known = explanation(self._receiver, self._opener, self.groups, self._strangers)
        return known if self._tracker is None else f"{known}\n{self._tracker.explain()}"

    def __repr__(self) -> str:
        names = ", ".join(group_names(self._source, self.groups))
        return f"<Subscriber {self._source.name} ({names}){' closed' if self.closed else ''}>"

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that batches are decoded to: those that were named, or all of the source."""
        return self._query.tables

    def empty(self, name: str | Topic) -> Table:
        """A table of this name without rows. SchemaError."""
        return self._query.empty(name)
