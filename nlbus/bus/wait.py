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
from nlbus.errors import ClosedError, NlbusError, kernel_error
from nlbus.kernel.arguments import optional_seconds

MAX_SLEEP = 1.0  # seconds


class _Waiter:
    """An epoll of these subscribers, kept for the next call, so that silent ones cost nothing."""

    def __init__(self, subscribers: list[Subscriber]) -> None:
        self._identities = Identities(subscribers)
        self._pid = os.getpid()
        self._epoll = select.epoll()
        # Weak: waiting for a subscriber does not keep it alive.
        self._by_fd: weakref.WeakValueDictionary[int, Subscriber] = weakref.WeakValueDictionary()
        for subscriber in subscribers:
            fd = subscriber.fileno()
            if fd not in self._by_fd:
                self._by_fd[fd] = subscriber
                self._epoll.register(fd, select.EPOLLIN)
        self._count = len(self._by_fd)

    def serves(self, subscribers: list[Subscriber]) -> bool:
        """Whether it is for these subscribers, in this process."""
        alive = len(self._by_fd) == self._count
        return alive and self._identities.same(subscribers) and os.getpid() == self._pid

    def poll(self, seconds: float) -> list[Subscriber]:
        return [self._by_fd[fd] for fd, _ in self._epoll.poll(seconds, max(1, self._count))]


class _Kept(threading.local):
    waiter: _Waiter | None = None


_kept = _Kept()


def wait(subscribers: Iterable[Subscriber], timeout: float | None = None) -> list[Subscriber]:
    """The subscribers whose recv(timeout=0) has news, as soon as one has; [] when time is up.

    A closed subscriber is ready: its recv raises ClosedError. Each thread remembers the subscribers that it
    waited for last, so that waiting for the same ones again costs nothing for those without news.
    SchemaError, KernelError.
    """
    limit = optional_seconds(timeout, "timeout")
    wanted = list(subscribers)
    waiter = _kept.waiter
    if waiter is None or not waiter.serves(wanted):
        if closed := [subscriber for subscriber in wanted if subscriber.closed]:
            return closed + wait([subscriber for subscriber in wanted if not subscriber.closed], 0)
        try:
            waiter = _kept.waiter = _Waiter(wanted)
        except OSError as error:
            if isinstance(error, NlbusError):
                raise
            raise kernel_error(error.errno or 0, f"waiting for {len(wanted)} subscribers") from error
        except ClosedError:
            if any(subscriber.closed for subscriber in wanted):  # just now, by another thread
                return wait(wanted, timeout)
            raise
    deadline = math.inf if limit is None else time.monotonic() + limit
    while True:
        left = max(0.0, deadline - time.monotonic())
        # Not longer: a signal that arrives just before the call does not interrupt epoll.
        ready = waiter.poll(min(left, MAX_SLEEP))
        if ready or left <= MAX_SLEEP:
            return ready
