"""Alarm: calls a function at a time, from a thread that exists only while a time is set."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from weakref import WeakMethod


class Alarm:
    """Calls a method once, at the earliest of the times that were set since the last call.

    It keeps the method's object neither alive nor waiting: that may go away, or `close`.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = WeakMethod(ring)
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._at = 0.0
        self._closed = False

    def set(self, at: float) -> None:
        """Call at this time of the monotonic clock, or earlier if that was asked for already."""
        with self._lock:
            if self._closed or (self._timer is not None and self._at <= at):
                return
            if self._timer is not None:
                self._timer.cancel()
            self._at = at
            self._timer = timer = threading.Timer(max(0.0, at - time.monotonic()), lambda: self._call(timer))
            timer.daemon = True
            timer.start()

    def _call(self, timer: threading.Timer) -> None:
        with self._lock:
            if self._timer is not timer or self._closed:
                return  # an earlier time was set meanwhile
            self._timer = None
        ring = self._ring()
        if ring is not None:
            ring()

    def close(self) -> None:
        """Call no more."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
