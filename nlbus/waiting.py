"""Waiting for several subscribers at once."""

import math
import select
import time
from collections.abc import Iterable

from nlbus.subscriber import Subscriber

MAX_SLEEP = 1.0  # seconds


def wait(subscribers: Iterable[Subscriber], timeout: float | None = None) -> list[Subscriber]:
    """Those of the subscribers whose recv(timeout=0) has news, as soon as one has; [] when time is up.

    A closed subscriber is ready: its recv raises ClosedError.
    """
    poller = select.poll()
    by_fd = {}
    ready = []
    for subscriber in subscribers:
        if subscriber.closed:
            ready.append(subscriber)
        else:
            by_fd[subscriber.fileno()] = subscriber
            poller.register(subscriber.fileno(), select.POLLIN)
    deadline = time.monotonic() + (math.inf if timeout is None else timeout)
    while True:
        left = 0 if ready else max(0, deadline - time.monotonic())
        # No longer, for a signal that came just before it does not interrupt poll.
        ready += [by_fd[fd] for fd, _ in poller.poll(min(left, MAX_SLEEP) * 1000)]
        if ready or left <= MAX_SLEEP:
            return ready
