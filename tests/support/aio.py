"""What the tests of AsyncSubscriber share."""

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
    """What runs an async function with its arguments to its end."""
    if library == "asyncio":
        return lambda main, *args: asyncio.run(main(*args))
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    if library == "trio":
        return module.run  # type: ignore[no-any-return]
    return lambda main, *args: module.run(main(*args))


def watchers(sub: AsyncSubscriber) -> int:
    """How many epoll descriptors of this process wait for the subscriber's to be readable."""
    found = 0
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists the others
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
