"""Orderly shutdown: a signal or a closed pipe ends a command between two writes, never within one."""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from nlbus.bus.stream import Feed

T = TypeVar("T")


class Shutdown:
    """While entered, the signals of `ending_signals` set `requested`; so does a stdout that loses its reader.

    A second signal of the same kind kills (except SIGHUP), so that a stalled reader cannot trap the user.
    Handlers are installed in the main thread only.
    """

    def __init__(self, subscriber: Feed | None = None) -> None:
        self.requested = False
        self.exit_code = 0  # of a command that a signal has ended early, as shells report it
        self._raises = False
        self._poll = select.poll()
        self._subscriber = -1 if subscriber is None else subscriber.fileno()
        if subscriber is not None:
            self._poll.register(self._subscriber, select.POLLIN)
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(self._wake, select.POLLIN)
        stdout = _stdout_pipe()
        if stdout is not None:
            # Without a mask poll still reports POLLERR, which means that the reader is gone.
            self._poll.register(stdout, 0)
        if threading.current_thread() is threading.main_thread():
            # Written at once, even by a signal just before poll, when no Python handler runs yet.
            self._previous_fd = signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
            for number in ending_signals():
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._previous:
            signal.set_wakeup_fd(self._previous_fd)
        os.close(self._wake)
        os.close(self._waker)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self.exit_code = 128 + number
        # A terminal that closes may cause two SIGHUPs: one from the kernel, one from the shell.
        signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)
        if self._raises:
            raise KeyboardInterrupt

    def interruptible(self, work: Callable[[], T]) -> T | None:
        """Return what `work` returns; it may block. A signal interrupts it, and the result is None."""
        try:
            try:
                self._raises = True
                return None if self.requested else work()
            finally:
                self._raises = False
        except KeyboardInterrupt:
            return None

    def wait(self, timeout: float | None) -> bool:
        """Wait for the subscriber: True when it is readable, False on timeout (seconds) or shutdown."""
        ready = self._poll.poll(None if timeout is None else timeout * 1000)
        fds = {fd for fd, _ in ready}
        if fds - {self._subscriber}:
            self.requested = True
        return not self.requested and self._subscriber in fds


def ending_signals() -> list[signal.Signals]:
    """SIGINT, SIGTERM, and SIGHUP unless nohup or another handler has claimed it."""
    hangs_up = signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    return [signal.SIGINT, signal.SIGTERM] + [signal.SIGHUP] * hangs_up


def _stdout_pipe() -> int | None:
    try:
        fd = sys.stdout.fileno()
        mode = os.fstat(fd).st_mode
    except (OSError, ValueError, AttributeError):
        return None
    return fd if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None
