"""Joining and leaving groups, with a request on the listening socket where the kernel needs one."""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from nlbus.bus.batch import Batch
from nlbus.errors import KernelError, NlbusError, kernel_error
from nlbus.kernel.groups import Groups
from nlbus.kernel.requests import Reply
from nlbus.sources import group_names, help_with
from nlbus.sources.source import Handshake

if TYPE_CHECKING:
    from nlbus._core.receive.receiver import Receiver
    from nlbus.bus.inbox import Inbox
    from nlbus.table.query import Query

PATIENCE = 1.0  # seconds; the kernel answers at once, or never
NAP = 0.001

_numbers = itertools.count(int.from_bytes(os.urandom(3), "little") + 1)


class Membership:
    """The groups that a receiver belongs to. What arrives during a change goes to the inbox.

    The caller keeps every other thread from receiving meanwhile.
    """

    def __init__(self, receiver: Receiver, query: Query, options: Mapping[str, float], inbox: Inbox) -> None:
        self._receiver = receiver
        self._query = query
        self._source = query.source
        self._options = options
        self._inbox = inbox
        self.groups = Groups()
        self._tables: frozenset[str] = frozenset()  # whose events the kernel is to send; none: all

    def start(self, groups: Groups) -> None:
        """Finish joining groups that the sockets were bound to. PermissionDenied, KernelError."""
        if self._source.handshake is None:
            self.groups = groups
            return
        for group in groups:
            self._request_join(self._source.handshake, group)
            self._now(self.groups | {group})
            self.narrow(self._tables)
        if self._inbox:
            self._receiver.signal()

    def join(self, group: int) -> None:
        """Join one group. OSError, PermissionDenied, KernelError: then we are no member."""
        if self._source.membership:
            self._receiver.change(group, join=True)
        if self._source.handshake:
            try:
                self._request_join(self._source.handshake, group)
            except BaseException:
                if self._source.membership:
                    self._receiver.change(group, join=False)
                raise
        self._now(self.groups | {group})
        self.narrow(self._tables)

    def leave(self, group: int, *, listen: bool = False) -> None:
        """Leave one group; listen: but hear it still, for ourselves. OSError, KernelError."""
        if listen:
            self._now(self.groups - {group})
            return
        if self._source.handshake:
            self._request_leave(self._source.handshake, group)
        if self._source.membership:
            self._receiver.change(group, join=False)
        self._now(self.groups - {group})

    def narrow(self, tables: frozenset[str]) -> None:
        """Ask the kernel for the events of these tables only, now and after each join. KernelError."""
        handshake = self._source.handshake
        if handshake is not None and handshake.narrow is not None:
            self._tables = tables
            if self.groups and tables:
                action = f"narrowing {self._source.name} to {', '.join(sorted(tables))}"
                self._send(handshake, handshake.narrow(tables, next(_numbers)), action)

    def _now(self, groups: Groups) -> None:
        """Remember the groups, and the requests that end our membership: the kernel counts listeners."""
        self.groups = groups
        if self._source.handshake:
            leave = self._source.handshake.leave
            self._receiver.goodbye = tuple(leave(group, 0) for group in groups)

    # -- requests ---------------------------------------------------------------------------------

    def _request_join(self, handshake: Handshake, group: int) -> None:
        """Request a group's events. Without an answer, or after Ctrl-C, take the request back."""
        seq = next(_numbers)
        action = self._action("joining", group)
        self._send(handshake, handshake.join(group, self._options, seq), action)
        answer = None
        try:
            answer = self._await(handshake, seq)
        finally:
            if answer is None:
                with suppress(OSError, NlbusError):
                    self._receiver.send(handshake.leave(group, seq))
        if answer is None:
            raise KernelError(0, f"{action}: the kernel does not answer; {handshake.silence}")
        if answer:
            raise kernel_error(answer, action, help_with(self._source, answer))

    def _request_leave(self, handshake: Handshake, group: int) -> None:
        """End the request for a group's events; events received until then go to the inbox."""
        seq = next(_numbers)
        self._send(handshake, handshake.leave(group, seq), self._action("leaving", group))
        self._drain(handshake, seq)

    def _action(self, what: str, group: int) -> str:
        return f"{what} {self._source.name} ({', '.join(group_names(self._source, [group]))})"

    def _await(self, handshake: Handshake, seq: int) -> int | None:
        """The answer to request `seq`; None if none comes."""
        give_up = time.monotonic() + PATIENCE
        while (answer := self._drain(handshake, seq)) is None and time.monotonic() <= give_up:
            time.sleep(NAP)
        return answer

    def _send(self, handshake: Handshake, message: bytes, action: str) -> None:
        try:
            self._receiver.send(message)
        except OSError as error:
            number = error.errno or 0
            nobody_there = number == errno.ECONNREFUSED
            help = handshake.silence if nobody_there else help_with(self._source, number)
            raise kernel_error(number, action, help) from error

    def _drain(self, handshake: Handshake, seq: int) -> int | None:
        """Move everything queued to the inbox, except the answer to request `seq`: return that."""
        batches = []
        answer = None
        for block in self._receiver.drain():
            batch = Batch.of_block(block, self._query)
            if answer is None:
                at, answer = _find(handshake, batch, seq)
                if answer is not None:
                    batch = batch.select(np.arange(len(batch)) != at)
            if batch or batch.loss:
                batches.append(batch)
        self._inbox.put(batches, int(answer is not None))
        return answer


def _find(handshake: Handshake, batch: Batch, seq: int) -> tuple[int, int | None]:
    """The number of the message that answers request `seq`, and its verdict."""
    for i, (kind, flags) in enumerate(batch.messages[["type", "flags"]].tolist()):
        answer = handshake.answer(Reply(kind, flags, batch.payload(i)), seq)
        if answer is not None:
            return i, answer
    return -1, None
