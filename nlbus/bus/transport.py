"""The two transports of the bus: NETLINK_USERSOCK, and the kernel module nlbus.ko."""

from __future__ import annotations

import fcntl
import os
import socket
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, get_args

from nlbus._core.receive.arrival import Arrival
from nlbus.errors import NlbusError, SchemaError
from nlbus.kernel.constants import MessageType
from nlbus.kernel.requests import message
from nlbus.sources import bus

Transport = Literal["auto", "usersock", "module"]

MODULE = "nlbus"
NOT_LOADED = "the module nlbus is not loaded: try `modprobe nlbus`"
NS_GET_USERNS = 0xB701  # <linux/nsfs.h>
FIRST_USERNS = 0xEFFF_FFFD  # inode: <linux/proc_ns.h>

# Methods of subscribers of this process, which join the module once it is loaded.
_expecting: set[weakref.WeakMethod[Callable[[], None]]] = set()


def checked(transport: str) -> Transport:
    """The transport of this name. SchemaError."""
    if transport not in get_args(Transport):
        raise SchemaError(f"transport={transport!r}: 'auto', 'usersock' or 'module'")
    return transport  # type: ignore[return-value]


def may_publish(protocol: int) -> bool:
    """Whether the kernel lets us send to other processes on this protocol, as the module demands."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as probe:
            probe.bind((0, 0))
            probe.sendto(message(MessageType.NOOP, b"", 0, 0), probe.getsockname())
    except OSError:
        return False
    return True


def arrival() -> Arrival:
    """Watch for nlbus.ko, in the network namespace of the caller. OSError."""
    return Arrival(MODULE.encode(), os.fsencode(bus.MODULE_PROTOCOL), uevents=_hears_uevents())


def expect(join: Callable[[], None]) -> None:
    """Call this method when a publisher of this process notices the module, unless its object is gone."""
    _expecting.add(weakref.WeakMethod(join, _expecting.discard))


def arrived() -> None:
    """Have the subscribers of this process join the module now, before anything is published through it."""
    for reference in list(_expecting):
        join = reference()
        if join is not None:
            with suppress(NlbusError):
                join()


def expect_no_more(join: Callable[[], None]) -> None:
    """Forget a method of `expect`: its subscriber has joined, or gave up."""
    _expecting.discard(weakref.WeakMethod(join))


def _hears_uevents() -> bool:
    """Whether this network namespace gets uevents of modules: only those of the first user namespace do."""
    try:
        net = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        owner = fcntl.ioctl(net, NS_GET_USERNS)
    except OSError:
        return False
    finally:
        os.close(net)
    try:
        return os.fstat(owner).st_ino == FIRST_USERNS
    finally:
        os.close(owner)
