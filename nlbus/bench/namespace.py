"""A network namespace for the benchmarks: nobody else on the bus, and 127.0.0.1 for servers."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import sys
from functools import cache

from nlbus.kernel.netns import CLONE_NEWNET, inside
from nlbus.kernel.requests import Requests

ROUTE = 0
RTM_SETLINK = 19
LOOPBACK, IFF_UP = 1, 1
_home = -1


def home() -> int:
    """A descriptor of the network namespace that we were started in; -1 before `enter`."""
    return _home


def enter() -> str:
    """Move this process to a network namespace of its own, and those it starts. Why not, or an empty text."""
    global _home  # noqa: PLW0603 - a process has one
    start = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if _libc().unshare(CLONE_NEWNET):
        why = os.strerror(ctypes.get_errno())
        os.close(start)
        return f"no private network namespace ({why}): needs CAP_SYS_ADMIN; try under `unshare -Urn`"
    _home = start
    raise_loopback()
    return ""


def fresh() -> int:
    """A descriptor of a new network namespace, for `netns=` and `inside`. OSError.

    It lives as long as something is open in it.
    """

    def make() -> int:
        if _libc().unshare(CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"making a network namespace: {os.strerror(number)}")
        raise_loopback()
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return inside("/proc/thread-self/ns/net", make)


def become_root() -> None:
    """As an ordinary user, begin again under `unshare -Urn`, where that is allowed; else do nothing.

    A process with threads cannot enter a user namespace, and numpy has some.
    """
    unshare = shutil.which("unshare")
    if os.geteuid() == 0 or unshare is None:
        return
    if subprocess.run([unshare, "-Urn", "true"], capture_output=True, check=False).returncode:
        return
    os.execv(unshare, [unshare, "-Urn", sys.executable, "-m", "nlbus", *sys.argv[1:]])


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def raise_loopback() -> None:
    """127.0.0.1, where a namespace has just been made."""
    with Requests(ROUTE) as requests:
        requests.ask(RTM_SETLINK, struct.pack("=BxHiII", 0, 0, LOOPBACK, IFF_UP, IFF_UP), "setting lo up")
