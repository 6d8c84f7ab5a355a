"""Events and dumps of the kernel: routes and links to list, and storms of events."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import NamedTuple

from nlbus.bench.libraries.tools import program
from nlbus.bench.results import Missing
from nlbus.bench.routes import Routes
from nlbus.errors import KernelError, PermissionDenied
from nlbus.kernel.constants import NewFlag
from nlbus.kernel.requests import Requests, attribute, message

RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_GETROUTE = 26
RT_TABLE_MAIN = 254
IFLA_IFNAME, IFLA_LINKINFO, IFLA_INFO_KIND = 3, 18, 1
KINDS = (b"veth", b"bridge", b"dummy", b"ifb", b"bond")  # of links that a kernel may know
CLONE_NEWNS = 0x0002_0000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
TRACK = "table ip nlbus_bench { chain out { type filter hook output priority 0; ct state new; }; }"


class Storm(NamedTuple):
    """Makes `events` events at once, as fast as it can; `end` undoes the preparation."""

    events: int
    make: Callable[[], object]
    end: Callable[[], None]


# -- routes and links -------------------------------------------------------------------------------


@contextmanager
def listed_routes(count: int) -> Iterator[None]:
    """`count` routes by lo exist while this is entered."""
    with closing(Routes(count)) as routes:
        routes.make()
        try:
            yield
        finally:
            routes.remove()


def route_messages(count: int) -> bytes:
    """The kernel's own NEWROUTE messages of so many routes, as in a dump, one after the other."""
    with listed_routes(count), Requests(socket.NETLINK_ROUTE) as requests:
        found = requests.dump(RTM_GETROUTE, bytes([socket.AF_INET]) + bytes(11), "listing routes")
    # Not earlier routes, such as the one to lo itself.
    found = [one for one in found if one.body[1] == 32 and one.body[4] == RT_TABLE_MAIN]
    return b"".join(message(one.type, one.body, one.flags, 1) for one in found)


def link_messages(count: int) -> bytes:
    """The kernel's own NEWLINK messages of links of several kinds, repeated until there are so many."""
    with Requests(socket.NETLINK_ROUTE) as requests:
        for kind in KINDS:
            name = b"nlb" + kind[:8] + b"\0"
            info = attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, kind))
            with suppress(KernelError, PermissionDenied):  # a kernel without this kind
                requests.ask(
                    RTM_NEWLINK,
                    bytes(16) + attribute(IFLA_IFNAME, name) + info,
                    "adding a link",
                    NewFlag.CREATE | NewFlag.EXCL,
                )
        found = requests.dump(RTM_GETLINK, bytes(16), "listing links")
    each = [message(one.type, one.body, one.flags, 1) for one in found]
    return b"".join(each[i % len(each)] for i in range(count))


def route_storm(events: int) -> Storm:
    """Routes are made, then removed: two events each."""
    routes = Routes(events // 2)
    return Storm(routes.events, routes.storm, routes.close)


# -- devices ----------------------------------------------------------------------------------------


def _own_uevent_file() -> int:
    """lo's, below a /sys that shows this network namespace; this thread moves to a mount namespace for it."""
    libc = ctypes.CDLL(None, use_errno=True)

    def must(result: int, what: str) -> None:
        if result < 0:
            raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")

    must(libc.unshare(CLONE_NEWNS), "unshare")
    must(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount")
    must(libc.mount(b"nlbus", b"/sys", b"sysfs", 0, None), "mount")
    return os.open("/sys/class/net/lo/uevent", os.O_WRONLY | os.O_CLOEXEC)


def uevent_storm(events: int) -> Storm | Missing:
    """The loopback device of this network namespace is said to have changed, again and again."""
    opened: list[int] = []
    failure: list[OSError] = []

    def visit() -> None:
        try:
            opened.append(_own_uevent_file())
        except OSError as error:
            failure.append(error)

    visitor = threading.Thread(target=visit)  # its namespaces end with it; the file remains open
    visitor.start()
    visitor.join()
    if failure:
        why = f"mounting /sys in a mount namespace of its own: {failure[0]}; needs CAP_SYS_ADMIN"
        return Missing("libraries", "a storm of uevents", why)
    fd = opened[0]

    def make() -> None:
        for _ in range(events):
            os.write(fd, b"change")

    return Storm(events, make, lambda: os.close(fd))


# -- connections ------------------------------------------------------------------------------------


def connection_storm(connections: int) -> Storm | Missing:
    """TCP connections over lo, each opened and reset; events are those of new ones."""
    nft = program("nft")
    if nft is None:
        return Missing("libraries", "a storm of new connections", "no `nft`: install nftables")
    done = subprocess.run([nft, "-f", "-"], input=TRACK, text=True, capture_output=True, check=False)
    if done.returncode:
        return Missing(
            "libraries", "a storm of new connections", f"connections are not tracked: {done.stderr.strip()}"
        )

    def make() -> None:
        reset = struct.pack("ii", 1, 0)
        with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
            for _ in range(connections):
                with socket.create_connection(server.getsockname()) as client:
                    accepted, _ = server.accept()
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                    accepted.close()

    def end() -> None:
        subprocess.run([nft, "delete", "table", "ip", "nlbus_bench"], capture_output=True, check=False)

    return Storm(connections, make, end)
