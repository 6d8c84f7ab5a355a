"""Waiting for several subscribers at once."""

from __future__ import annotations

import math
import os
import select
import threading
import time
import weakref
from collections.abc import Iterable

from nlbus._core.receive.waker import Identities
from nlbus.bus.subscriber import Subscriber
from nlbus.errors import ClosedError
from nlbus.kernel.arguments import optional_seconds

MAX_SLEEP = 1.0  # seconds


class _Waiter:
    """An epoll of these subscribers. Kept for the next call, for then those that are silent cost nothing."""

    def __init__(self, subscribers: list[Subscriber]) -> None:
        self._identities = Identities(subscribers)
        self._pid = os.getpid()
        self._epoll = select.epoll()
        # Nobody is kept open by having been waited for; who is gone has gone from here.
        self._by_fd: weakref.WeakValueDictionary[int, Subscriber] = weakref.WeakValueDictionary()
        for subscriber in subscribers:
            fd = subscriber.fileno()
            if fd not in self._by_fd:
                self._by_fd[fd] = subscriber
                self._epoll.register(fd, select.EPOLLIN)
        self._count = len(self._by_fd)

    def serves(self, subscribers: list[Subscriber]) -> bool:
        """Whether it is for these."""
        alive = len(self._by_fd) == self._count
        return alive and self._identities.same(subscribers) and os.getpid() == self._pid

    def poll(self, seconds: float) -> list[Subscriber]:
        return [self._by_fd[fd] for fd, _ in self._epoll.poll(seconds, max(1, self._count))]


class _Kept(threading.local):
    waiter: _Waiter | None = None


_kept = _Kept()


def wait(subscribers: Iterable[Subscriber], timeout: float | None = None) -> list[Subscriber]:
    """Those of the subscribers whose recv(timeout=0) has news, as soon as one has; [] when time is up.

    A closed subscriber is ready: its recv raises ClosedError. Waiting for the same subscribers again and
    again costs no more for those among them that have no news; so each thread remembers those it waited for
    last.
    """
    limit = optional_seconds(timeout, "timeout")
    asked = list(subscribers)
    waiter = _kept.waiter
    if waiter is None or not waiter.serves(asked):
        if closed := [subscriber for subscriber in asked if subscriber.closed]:
            return closed + wait([subscriber for subscriber in asked if not subscriber.closed], 0)
        try:
            waiter = _kept.waiter = _Waiter(asked)
        except ClosedError:
            if any(subscriber.closed for subscriber in asked):  # just now, by another thread
                return wait(asked, timeout)
            raise
    deadline = math.inf if limit is None else time.monotonic() + limit
    while True:
        left = max(0.0, deadline - time.monotonic())
        # No longer, for a signal that came just before it does not interrupt epoll.
        ready = waiter.poll(min(left, MAX_SLEEP))
        if ready or left <= MAX_SLEEP:
            return ready
