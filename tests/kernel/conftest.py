"""Real netlink sockets, each test in a network namespace of its own."""

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nlbus import Publisher, Subscriber
from tests.kernel.helpers import Child

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


@pytest.fixture(autouse=True)
def netns() -> Iterator[int]:
    """Nobody else on the bus, no link but lo, CAP_NET_ADMIN over it all; a descriptor of that outside."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(CLONE_NEWNET) < 0:
            why = os.strerror(ctypes.get_errno())
            pytest.skip(f"no private network namespace: unshare: {why}; run as root, or under `unshare -Ur`")
        yield home
        if libc.setns(home, CLONE_NEWNET) < 0 and ctypes.get_errno() != errno.EPERM:
            raise OSError(ctypes.get_errno(), "setns")
        # EPERM under `unshare -Ur`: no way back into the first user namespace's network; all stay outside.
    finally:
        os.close(home)


@pytest.fixture
def subscribe() -> Iterator[Callable[..., Subscriber]]:
    """Subscriber(...), closed at the end."""
    opened: list[Subscriber] = []

    def make(*args: Any, **kwargs: Any) -> Subscriber:
        opened.append(Subscriber(*args, **kwargs))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher() as opened:
        yield opened


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    """Child(...), which has ended when the test has."""
    started: list[Child] = []

    def start(*args: Any, **kwargs: Any) -> Child:
        started.append(Child(*args, **kwargs))
        return started[-1]

    yield start
    for one in started:
        one.kill()
