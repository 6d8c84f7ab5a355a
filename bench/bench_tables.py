"""Tables of the kernel's own: a dump of 100,000 routes, a storm of 50,000 changes, 20,000 connections.

Beside the bare receive of the dump in C, `ip -j route` with json.loads, and pyroute2, in the same run.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import resource
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable
from statistics import median
from time import perf_counter_ns, thread_time_ns
from typing import Any

import bars
import numpy as np
import pytest

import nlbus
from nlbus import Subscriber
from nlbus.bench.native.floor import Asker
from nlbus.bench.routes import CREATE, EXCL, RTM_NEWROUTE, Routes
from nlbus.bench.sections.axes import DUMP_ROUTES
from nlbus.kernel.requests import attribute, message

LISTED = 100_000
CHANGED = 25_000  # made and removed: two changes each
CONNECTIONS = 20_000
RTM_GETROUTE = 26
DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
SLOW_ROUNDS = 3  # of what takes seconds
OUR_TURNS = 5  # in each of them
DECODED = 15  # M routes a second, the bar of bench_columns.py
QUIET = 1.0  # seconds without news: the storm is over


def quiet_socket() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    sock.bind((0, 0))
    return sock


@pytest.fixture(scope="module")
def listed() -> int:
    """So many routes by lo are in the main table of this namespace."""
    with quiet_socket() as sock:
        head = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 254, 3, 253, 1, 0)
        rest = attribute(4, struct.pack("=I", 1)) + attribute(6, struct.pack("=I", 5))
        for first in range(0, LISTED, 200):
            each = range(first, min(first + 200, LISTED))
            sock.send(
                b"".join(
                    message(
                        RTM_NEWROUTE,
                        head + attribute(1, struct.pack(">I", 0x0B00_0000 + i)) + rest,
                        1 | CREATE | EXCL,
                        i,
                    )
                    for i in each
                )
            )
    return LISTED


def receiving(asker: Asker) -> Callable[[], int]:
    """The dump, received and thrown away by C."""
    return lambda: LISTED if asker.dump() else 0


def with_nlbus() -> int:
    assert len(nlbus.snapshot("route", "route")) >= LISTED
    return LISTED


def with_ip() -> int:
    told = subprocess.run(["ip", "-j", "-4", "route", "show"], check=True, capture_output=True).stdout
    assert len(json.loads(told)) >= LISTED
    return LISTED


def with_pyroute2() -> int:
    with importlib.import_module("pyroute2").IPRoute() as ipr:
        assert len(list(ipr.get_routes(family=socket.AF_INET))) >= LISTED
    return LISTED


def bench_dump(benchmark, namespace: None, listed: int) -> None:
    """Decoding goes on in a thread while the kernel makes the next datagrams."""
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("one core: see the other line")
    if bars.CLOCK is not perf_counter_ns:
        pytest.skip("two cores can only be timed by the wall")
    result = bars.Result("100,000 routes to a table, two cores, beside the bare receive", 0.90, "route")
    beside_bare(result, benchmark)


def bench_dump_on_one_core(benchmark, one_core, listed: int) -> None:
    result = bars.Result("100,000 routes to a table, one core, beside the bare receive", 0.0, "route")
    beside_bare(result, benchmark)
    bare_ns, decode_ns = float(np.median(result.floor_ns)), 1000 / DECODED
    bars.REMARKS.append(
        f"a dump's bare receive takes {bare_ns:.0f} ns a route, decoding at the bar, {DECODED} M a second, "
        f"{decode_ns:.0f}: on one core, {bare_ns / (bare_ns + decode_ns):.2f} of the bare receive at best"
    )


def beside_bare(result: bars.Result, benchmark) -> None:
    with Asker(DUMP_ROUTES) as bare, Asker(DUMP_ROUTES) as again:
        sides = bars.timed(receiving(bare)), bars.timed(receiving(again)), bars.timed(with_nlbus)
        bars.compare(result, *sides, rounds=bars.LEAST_ROUNDS)
    benchmark.extra_info["ratio"] = result.ratio
    benchmark.pedantic(with_nlbus, rounds=3)
    bars.judge(result)


def bench_dump_ip(namespace: None, listed: int) -> None:
    if shutil.which("ip") is None:
        pytest.skip("no `ip`: install iproute2")
    slower("ip -j route and json.loads", with_ip, 25)


def bench_dump_pyroute2(namespace: None, listed: int) -> None:
    pytest.importorskip("pyroute2", reason="pyroute2 is not installed: pip install pyroute2")
    slower(f"pyroute2 {importlib.metadata.version('pyroute2')}", with_pyroute2, 100)


def slower(who: str, work: Callable[[], int], bar: int) -> None:
    """How many times as fast we are, in rounds of the other and us; its time against itself is the spread."""
    result = bars.Result(f"100,000 routes to a table, times {who}", bar, "route")
    most = []
    with Asker(DUMP_ROUTES) as bare:
        for _ in range(SLOW_ROUNDS):
            theirs = cost(work)
            ours, least = (
                median(cost(side) for _ in range(OUR_TURNS)) for side in (with_nlbus, receiving(bare))
            )
            result.delivered += LISTED
            result.ratios.append(theirs / ours)
            result.floor_ns.append(theirs / LISTED)
            result.ours_ns.append(ours / LISTED)
            most.append(theirs / least)
    result.controls = [each / result.floor_ns[0] for each in result.floor_ns]
    bars.REMARKS.append(f"times {who}: the bare receive of the dump is {np.median(most):.1f} times as fast")
    bars.judge(result)


def cost(work: Callable[[], int]) -> int:
    """ns; where processor time counts, with that of the processes that ended meanwhile."""
    start = spent()
    work()
    return spent() - start


def spent() -> int:
    if bars.CLOCK is perf_counter_ns:
        return perf_counter_ns()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return thread_time_ns() + int(1e9 * (ended.ru_utime + ended.ru_stime))


# -- live -------------------------------------------------------------------------------------------


class Beside:
    """Work in a process of its own, which says something at its end."""

    def __init__(self, work: Callable[[int], str]) -> None:
        self._reading, writing = os.pipe()
        ready, told = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                said = work(told)
            except BaseException as error:
                said = f"it ended with {error!r}"
            os.write(writing, said.encode())
            os._exit(0)
        os.close(writing)
        os.close(told)
        os.read(ready, 1)
        os.close(ready)

    def result(self) -> str:
        os.waitpid(self._pid, 0)
        with os.fdopen(self._reading) as pipe:
            return pipe.read()


def counted(sub: Subscriber, table: str) -> tuple[int, int, int]:
    """(rows, lost, ns of this thread's time) until it has been quiet for a while; every column is decoded."""
    rows = lost = 0
    start = thread_time_ns()
    while len(batch := sub.recv(QUIET)) or batch.loss:
        rows += len(batch.table(table))
        if batch.loss:
            lost += max(batch.loss.datagrams + batch.loss.events, 1)
    return rows, lost, thread_time_ns() - start


def pyroute2_listens(told: int) -> str:
    seen = errors = 0
    with importlib.import_module("pyroute2").IPRoute() as ipr:
        ipr.bind(groups=1 << 6)
        os.write(told, b"x")
        last = perf_counter_ns()
        while perf_counter_ns() - last < 20 * QUIET * 1e9 and seen < 2 * CHANGED:
            try:
                for found in ipr.get():
                    seen += found.get("event") in ("RTM_NEWROUTE", "RTM_DELROUTE")
                last = perf_counter_ns()
            except OSError:
                errors += 1
    return f"{seen:,} of {2 * CHANGED:,} decoded, {errors} errors raised"


def bench_storm(namespace) -> None:
    """Another process changes routes as fast as it can; nlbus listens with default settings."""
    routes = Routes(CHANGED)

    def storm(told: int) -> str:
        os.write(told, b"x")
        start = perf_counter_ns()
        routes.storm()
        return f"{(perf_counter_ns() - start) / 1e9:.2f}"

    with Subscriber("route", tables=["route"]) as sub:
        beside = listening(pyroute2_listens)
        seconds = Beside(storm).result
        rows, lost, cpu = counted(sub, "route")
    took = seconds()
    bars.REMARKS.append(
        f"a storm of {routes.events:,} route changes in {took} s: nlbus decoded {rows:,}, lost {lost}, "
        f"{cpu / max(rows, 1) / 1000:.2f} us of CPU a change"
    )
    told = beside.result() if beside else "not installed: pip install pyroute2"
    bars.REMARKS.append(f"    pyroute2 on the same storm: {told}")
    routes.close()
    assert (rows, lost) == (routes.events, 0)


def listening(work: Callable[[int], str]) -> Beside | None:
    if importlib.util.find_spec("pyroute2") is None:
        return None
    return Beside(work)


def connect(told: int) -> str:
    """Connections over lo, each opened and reset; TIME_WAIT would end with the ports."""
    server = socket.create_server(("127.0.0.1", 0), backlog=64)
    os.write(told, b"x")
    reset = struct.pack("ii", 1, 0)
    for _ in range(CONNECTIONS):
        with socket.create_connection(server.getsockname()) as client:
            accepted, _ = server.accept()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            accepted.close()
    return "done"


def bench_connections(namespace) -> None:
    if shutil.which("nft") is None:
        pytest.skip("no `nft`: install nftables")
    rules = "table ip bench { chain out { type filter hook output priority 0; ct state new; }; }"
    track: Any = subprocess.run(["nft", "-f", "-"], input=rules, text=True, capture_output=True, check=False)
    if track.returncode:
        pytest.skip(f"netfilter does not track connections here: {track.stderr.strip()}")
    with Subscriber("conntrack") as sub:
        work = Beside(connect)
        news = rows = lost = 0
        start = thread_time_ns()
        while len(batch := sub.recv(QUIET)) or batch.loss:
            table = batch.table("conntrack")
            rows += len(table)
            news += int(np.count_nonzero(table["nl_op"] == 0))
            lost += bool(batch.loss)
        cpu = thread_time_ns() - start
    work.result()
    bars.REMARKS.append(
        f"{CONNECTIONS:,} TCP connections through conntrack: {news:,} new, {rows:,} events decoded, "
        f"lost {lost}, {cpu / max(rows, 1) / 1000:.2f} us of CPU an event"
    )
    assert lost == 0
    assert news == CONNECTIONS
