"""How events of the bus travel: over NETLINK_USERSOCK, or through the kernel module nlbus.ko."""

from __future__ import annotations

import fcntl
import os
import socket
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, get_args

from nlbus._core.receive.arrival import Arrival
from nlbus.errors import NlbusError, SchemaError
from nlbus.kernel.constants import MessageType
from nlbus.kernel.requests import message
from nlbus.sources import bus

if TYPE_CHECKING:
    from nlbus.bus.subscriber import Subscriber

Transport = Literal["auto", "usersock", "module"]

MODULE = "nlbus"
NOT_LOADED = "the module nlbus is not loaded: try `modprobe nlbus`"
NS_GET_USERNS = 0xB701  # <linux/nsfs.h>
FIRST_USERNS = 0xEFFF_FFFD  # inode: <linux/proc_ns.h>

# Subscribers of this process that will join the module when it comes.
_expecting: weakref.WeakSet[Subscriber] = weakref.WeakSet()


def checked(transport: str) -> Transport:
    """The transport, if it is one. SchemaError."""
    if transport not in get_args(Transport):
        raise SchemaError(f"transport={transport!r}: 'auto', 'usersock' or 'module'")
    return transport  # type: ignore[return-value]


def may_publish(protocol: int) -> bool:
    """Whether the kernel lets us send to anybody but itself on this protocol: the module wants the same."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as probe:
            probe.bind((0, 0))
            probe.sendto(message(MessageType.NOOP, b"", 0, 0), probe.getsockname())
    except OSError:
        return False
    return True


def arrival() -> Arrival:
    """Looks out for nlbus.ko, in the network namespace of the caller. OSError."""
    return Arrival(MODULE.encode(), os.fsencode(bus.MODULE_PROTOCOL), uevents=_hears_uevents())


def expect(subscriber: Subscriber) -> None:
    """It will join the module as soon as it notices, or a publisher of this process does."""
    _expecting.add(subscriber)


def arrived() -> None:
    """The module is there: let the subscribers of this process join it now, before anything is published."""
    for subscriber in list(_expecting):
        with suppress(NlbusError):
            subscriber._join_module()


def expected_no_more(subscriber: Subscriber) -> None:
    """It has joined, or gave up."""
    _expecting.discard(subscriber)


def _hears_uevents() -> bool:
    """Whether this network namespace is told of modules: only those of the first user namespace are."""
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
