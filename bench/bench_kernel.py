"""The kernel's own events: route and proc storms beside C, and what a silent network namespace costs."""

from __future__ import annotations

import socket
import struct

import bars
import pytest

import nlbus
from nlbus import PermissionDenied, Publisher, Subscriber
from nlbus.bench.namespace import fresh, home
from nlbus.bench.native.floor import Ears, library
from nlbus.bench.reading import Reader
from nlbus.bench.routes import Routes
from nlbus.kernel.netns import inside
from nlbus.kernel.requests import message

ROUTE, CONNECTOR = socket.NETLINK_ROUTE, 11
SLOT = 1024  # bytes: more than any of these events has
IPV4_ROUTE = 7
CHANGES = 4000  # routes made and removed, two events each
FORKS = 1500
SILENT = 64  # network namespaces


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
        sub = Subscriber("proc", netns=home())
    except (PermissionDenied, nlbus.KernelError) as error:
        pytest.skip(str(error))
    floor, again = (inside(home(), lambda: listening(SLOT)) for _ in range(2))
    fork = library().floor_fork

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
    result = bars.Result(work, 0.90, "message")
    floor.walk(), again.walk(), reader.drain()  # what was told at the start
    bars.compare(
        result,
        bars.timed(floor.walk),
        bars.timed(again.walk),
        bars.timed(reader.drain, lambda: reader.lost),
        before=fill,
    )

    def absolute() -> None:
        fill()
        floor.walk()
        again.walk()

    benchmark.extra_info["ratio"] = result.ratio
    benchmark.pedantic(reader.drain, setup=absolute, rounds=5)
    bars.judge(result)


def bench_silent_namespaces(benchmark, namespace) -> None:
    """wait() and recv() of single events, alone and among subscribers of namespaces where nothing happens."""
    silent = [Subscriber("route", netns=fd) for fd in [fresh() for _ in range(SILENT)]]
    with Subscriber(groups=1) as sub, Publisher() as publisher:

        def read(subs: list[Subscriber]) -> int:
            for _ in range(500):
                publisher.publish(b"x", groups=1)
                (ready,) = nlbus.wait(subs, 1)
                assert len(ready.recv(0)) == 1
            return 500

        result = bars.Result(f"wait and recv, {SILENT} silent namespaces beside it, of its rate alone", 0.90)
        bars.compare(
            result,
            bars.timed(lambda: read([sub])),
            bars.timed(lambda: read([sub])),
            bars.timed(lambda: read([*silent, sub])),
        )
        benchmark.extra_info["ratio"] = result.ratio
        benchmark.pedantic(lambda: read([*silent, sub]), rounds=5)
        bars.judge(result)
    for one in silent:
        one.close()
