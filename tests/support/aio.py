"""Helpers for the tests of AsyncSubscriber."""

import asyncio
import contextlib
import re
import select
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlbus import AsyncSubscriber

Run = Callable[..., Any]
AsyncSubscribe = Callable[..., AsyncSubscriber]


def runner(library: str) -> Run:
    """Return a function that runs an async function with its arguments to completion."""
    if library == "asyncio":
        return lambda main, *args: asyncio.run(main(*args))
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    if library == "trio":
        return module.run  # type: ignore[no-any-return]
    return lambda main, *args: module.run(main(*args))


def watchers(sub: AsyncSubscriber) -> int:
    """Number of this process's epoll descriptors that watch the subscriber's."""
    found = 0
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor of the listing itself
            if str(path.readlink()) == "anon_inode:[eventpoll]":
                info = Path("/proc/self/fdinfo", path.name).read_text()
                watched = re.findall(r"^tfd: +(\d+) events: +([0-9a-f]+)", info, re.MULTILINE)
                found += sum(
                    int(fd) == sub.fileno() and int(mask, 16) & select.EPOLLIN for fd, mask in watched
                )
    return found


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def later(seconds: float, call: Callable[..., object], *args: object) -> threading.Timer:
    timer = threading.Timer(seconds, call, args)
    timer.start()
    return timer
