"""Pausing the consumer of a subscriber while another thread changes the subscriber."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nlbus.errors import BusyError

if TYPE_CHECKING:
    from nlbus._core.receive.receiver import Receiver


class Pause:
    """Lets a thread change sockets that another receives from. The receiver sets `parked` when that stops."""

    def __init__(self) -> None:
        self.parked = threading.Event()
        self._gate = threading.RLock()  # held during a change

    @contextmanager
    def of(self, receiver: Receiver, unread: Callable[[], bool]) -> Iterator[None]:
        """Keep the consumer out of recv. It continues afterwards, at once if something is `unread`.

        ClosedError, BusyError.
        """
        receiver.check()  # before the lock: in a fork, a thread of the parent may hold it
        with self._gate:
            receiver.check()
            if receiver.paused:  # by this thread, which a signal handler interrupted
                if receiver.busy and receiver.consumer != threading.get_ident():
                    raise BusyError(
                        "a signal handler interrupted a change that waits for another thread's recv"
                    )
                yield
                return
            try:
                receiver.paused = True
                receiver.signal()
                self.parked.clear()
                # We may be a signal handler that interrupted the consumer: it stands still then.
                while receiver.busy and receiver.consumer != threading.get_ident():
                    self.parked.wait()
                    self.parked.clear()
                yield
            finally:
                receiver.paused = False
                receiver.unsignal()
                if unread():
                    receiver.signal()

    def wait(self, receiver: Receiver, unread: Callable[[], bool]) -> None:
        """In the consumer: wait until no change is going on. BusyError within a signal handler."""
        with self._gate:
            if receiver.paused:
                raise BusyError("a signal handler may not receive amid a change of groups")
            if not unread():
                receiver.unsignal()  # Ctrl-C may have kept the changing thread from doing it
