"""Changing what a subscriber is, while its consumer receives or not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nlbus.errors import BusyError

if TYPE_CHECKING:
    from nlbus._core.receive.receiver import Receiver


class Aside:
    """Where a consumer steps while others change what it receives from. `parked` is set when it has."""

    def __init__(self) -> None:
        self.parked = threading.Event()
        self._gate = threading.RLock()  # held by whoever changes something

    @contextmanager
    def consumer_of(self, receiver: Receiver, unread: Callable[[], bool]) -> Iterator[None]:
        """Nobody receives meanwhile; whoever was at it goes on afterwards, at once if something is `unread`.

        ClosedError, BusyError.
        """
        receiver.check()  # before the lock: in a fork, it may be held by a thread of the parent's
        with self._gate:
            receiver.check()
            if receiver.paused:  # by ourselves, whom a signal handler interrupted
                if receiver.busy and receiver.consumer != threading.get_ident():
                    raise BusyError("a signal handler interrupted what waits for another thread's recv")
                yield
                return
            try:
                receiver.paused = True
                receiver.signal()
                self.parked.clear()
                # A signal handler may interrupt the consumer, which then stands still.
                while receiver.busy and receiver.consumer != threading.get_ident():
                    self.parked.wait()
                    self.parked.clear()
                yield
            finally:
                receiver.paused = False
                receiver.unsignal()
                if unread():
                    receiver.signal()

    def pass_by(self, receiver: Receiver, unread: Callable[[], bool]) -> None:
        """For the consumer: wait until nothing is being changed. BusyError within a signal handler."""
        with self._gate:
            if receiver.paused:
                raise BusyError("a signal handler may not receive amid a change of groups")
            if not unread():
                receiver.unsignal()  # Ctrl-C may have come before whoever wanted to
