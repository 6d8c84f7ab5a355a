"""The kernel's own events: route and proc storms beside C, and what a silent network namespace costs."""

from __future__ import annotations

import os
import socket
import struct

import cfloor
import paired
import pytest
from bench_receive import Reader
from cfloor import Ears

import nlbus
from nlbus import PermissionDenied, Publisher, Subscriber
from nlbus.netns import inside
from nlbus.request import attribute, message

ROUTE, CONNECTOR = socket.NETLINK_ROUTE, 11
SLOT = 1024  # bytes: more than any of these events has
IPV4_ROUTE = 7
RTM_NEWROUTE, RTM_DELROUTE = 24, 25
RTM_SETLINK = 19
REQUEST, EXCL, CREATE = 0x1, 0x200, 0x400
CHANGES = 4000  # routes made and removed, two events each
PER_SEND = 100  # requests
FORKS = 1500
SILENT = 64  # network namespaces


class Routes:
    """Makes and removes routes over lo, many a system call."""

    def __init__(self, count: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, ROUTE)
        self._socket.bind((0, 0))
        up = struct.pack("=BxHiII", 0, 0, 1, 1, 1)
        self._socket.send(message(RTM_SETLINK, up, REQUEST, 0))
        self._new = self._requests(RTM_NEWROUTE, REQUEST | CREATE | EXCL, count)
        self._del = self._requests(RTM_DELROUTE, REQUEST, count)
        self.events = 2 * count

    @staticmethod
    def _requests(kind: int, flags: int, count: int) -> list[bytes]:
        # struct rtmsg: AF_INET, /32, table main, protocol static, scope link, unicast
        header = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 254, 4, 253, 1, 0)
        oif = attribute(4, struct.pack("=I", 1))
        each = [
            message(kind, header + attribute(1, struct.pack(">I", 0x0A00_0000 + i)) + oif, flags, i)
            for i in range(count)
        ]
        return [b"".join(each[i : i + PER_SEND]) for i in range(0, count, PER_SEND)]

    def storm(self) -> int:
        """The events that everybody who listens gets."""
        for requests in (*self._new, *self._del):
            self._socket.send(requests)
        return self.events

    def close(self) -> None:
        self._socket.close()


def bench_route_storm(benchmark, one_core) -> None:
    routes = Routes(CHANGES)
    mask = 1 << (IPV4_ROUTE - 1)
    sides = Ears(mask, SLOT, ROUTE), Ears(mask, SLOT, ROUTE), Subscriber("route", groups=IPV4_ROUTE)
    with sides[0] as floor, sides[1] as again, sides[2] as sub:
        work = f"route, messages, {routes.events} changes of routes"
        storm(benchmark, work, floor, again, Reader(sub, None, True), routes.storm)
    routes.close()


def listening(slot: int) -> Ears:
    """A socket that hears of processes: proc_events, from the namespace where the connector lives."""
    ears = Ears(1, slot, CONNECTOR)
    listen = struct.pack("=IIIIHHI", 1, 1, 0, 0, 4, 0, 1)  # cn_msg to CN_IDX_PROC, PROC_CN_MCAST_LISTEN
    ears.socket.send(message(3, listen, 0, 0))
    return ears


def bench_proc_storm(benchmark, one_core) -> None:
    try:
        sub = Subscriber("proc", netns=cfloor.HOME)
    except (PermissionDenied, nlbus.KernelError) as error:
        pytest.skip(str(error))
    floor, again = (inside(cfloor.HOME, lambda: listening(SLOT)) for _ in range(2))
    fork = cfloor.library().floor_fork

    def forks() -> None:
        if fork(FORKS) != FORKS:
            raise RuntimeError("no more processes may be made")

    with sub, floor, again:
        storm(
            benchmark,
            f"proc, messages, {FORKS} forks and exits",
            floor,
            again,
            Reader(sub, None, True),
            forks,
        )


def storm(benchmark, work: str, floor: Ears, again: Ears, reader: Reader, fill) -> None:
    result = paired.Result(work, 0.90, "message")
    floor.walk(), again.walk(), reader.drain()  # what was told at the start
    paired.compare(
        result,
        paired.timed(floor.walk),
        paired.timed(again.walk),
        paired.timed(reader.drain, lambda: reader.lost),
        before=fill,
    )

    def absolute() -> None:
        fill()
        floor.walk()
        again.walk()

    benchmark.extra_info["ratio"] = result.ratio
    benchmark.pedantic(reader.drain, setup=absolute, rounds=5)
    paired.judge(result)


def bench_silent_namespaces(benchmark, namespace) -> None:
    """wait() and recv() of single events, alone and among subscribers of namespaces where nothing happens."""
    silent = [Subscriber("route", netns=fd) for fd in namespaces(SILENT)]
    with Subscriber(groups=1) as sub, Publisher() as publisher:

        def read(subs: list[Subscriber]) -> int:
            for _ in range(500):
                publisher.publish(b"x", groups=1)
                (ready,) = nlbus.wait(subs, 1)
                assert len(ready.recv(0)) == 1
            return 500

        result = paired.Result(
            f"wait and recv, {SILENT} silent namespaces beside it, of its rate alone", 0.90
        )
        paired.compare(
            result,
            paired.timed(lambda: read([sub])),
            paired.timed(lambda: read([sub])),
            paired.timed(lambda: read([*silent, sub])),
        )
        benchmark.extra_info["ratio"] = result.ratio
        benchmark.pedantic(lambda: read([*silent, sub]), rounds=5)
        paired.judge(result)
    for one in silent:
        one.close()


def namespaces(count: int) -> list[int]:
    """Descriptors of new network namespaces, which live as long as something is open in them."""

    def fresh() -> int:
        if cfloor.libc().unshare(cfloor.CLONE_NEWNET):
            raise OSError("unshare")
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return [inside("/proc/self/ns/net", fresh) for _ in range(count)]
