"""A listener as a process: `python -m nlbus.bench.libraries.listening "pyroute2" route`.

It says "ready" when it has joined, listens until its stdin ends and nothing has come for a while, and prints
a line of JSON: how many of the storm's events it decoded, how often it received ENOBUFS, and how much
processor time that took. Every one decodes what it gets, has the buffers that it makes itself by default, or
as large a one as nlbus, and goes on after ENOBUFS.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import json
import select
import sys
import time
from collections.abc import Callable
from typing import Any

from nlbus import Subscriber
from nlbus.bench.libraries.library import LIBMNL, LIBNL, Kind, Library
from nlbus.bench.native.floor import BUFFER
from nlbus.table.table import Table

QUIET = 0.4  # seconds
IPV4_ROUTE = 1 << 6  # as a mask
ROOMY = f", {BUFFER >> 20} MiB"  # suffix of a library's name if its buffer is as large as nlbus's

Heard = tuple[int, int]  # events, overruns


def ready() -> float:
    """Report that we listen. Processor time counts from now on."""
    print("ready", flush=True)
    return time.process_time()


def until_quiet(receive: Callable[[float], tuple[int, int] | None]) -> Heard:
    """Call `receive(seconds)` until stdin has ended and it returns None."""
    events = overruns = 0
    over = False
    while True:
        over = over or bool(select.select([sys.stdin], [], [], 0)[0])
        got = receive(QUIET)
        if got is not None:
            events += got[0]
            overruns += got[1]
        elif over:
            return events, overruns


def with_nlbus(
    source: str, group: str, wanted: Callable[[Table], int]
) -> tuple[Heard, float, dict[str, int]]:
    """A Subscriber with default settings; every column of the table named like the source is decoded."""
    with Subscriber(source, groups=group, on_loss="ignore") as sub:
        start = ready()

        def receive(seconds: float) -> tuple[int, int] | None:
            batch = sub.recv(timeout=seconds)
            if not len(batch) and not batch.loss:
                return None
            return wanted(batch.table(source)), 0

        heard = until_quiet(receive)
        return heard, time.process_time() - start, {"counted as lost": int(sub.stats()["dropped"])}


def of_lo(table: Table) -> int:
    """The storm's uevents."""
    return int((table["interface"] == "lo").sum())


def pyroute2_route() -> tuple[Heard, float, dict[str, int]]:
    """AsyncIPRoute, as its documentation monitors; one attribute read."""
    pyroute2 = importlib.import_module("pyroute2")
    events = overruns = 0

    async def listen() -> float:
        async with pyroute2.AsyncIPRoute() as ipr:
            await ipr.bind(groups=IPV4_ROUTE)
            start = ready()
            hearing = asyncio.create_task(hear(ipr))
            await asyncio.to_thread(sys.stdin.read)
            before = -1
            while before != events + overruns and not hearing.done():
                before = events + overruns
                await asyncio.sleep(QUIET)
            cpu = time.process_time() - start
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            return cpu

    async def hear(ipr: Any) -> None:
        nonlocal events, overruns
        while True:
            try:
                async for found in ipr.get():
                    events += found.get_attr("RTA_OIF") is not None
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                overruns += 1

    cpu = asyncio.run(listen())
    return (events, overruns), cpu, {}


def pyudev_uevent() -> tuple[Heard, float, dict[str, int]]:
    """Monitor.poll(), properties read."""
    pyudev = importlib.import_module("pyudev")
    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
    monitor.start()
    start = ready()

    def receive(seconds: float) -> tuple[int, int] | None:
        try:
            device = monitor.poll(timeout=seconds)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return 0, 1
        return None if device is None else (int(device.properties.get("INTERFACE") == "lo"), 0)

    return until_quiet(receive), time.process_time() - start, {}


def by_library(kind: Kind, buffer: int = 0) -> tuple[Heard, float, dict[str, int]]:
    """In C; Python only waits for it."""
    library = Library(kind)
    socket = library.open(buffer)
    start = ready()
    result = library.listen(socket, sys.stdin.fileno(), QUIET)
    return (result.messages, result.overruns), time.process_time() - start, {}


LISTENERS: dict[tuple[str, str], Callable[[], tuple[Heard, float, dict[str, int]]]] = {
    ("nlbus", "route"): lambda: with_nlbus("route", "ipv4_route", len),
    ("nlbus", "uevent"): lambda: with_nlbus("uevent", "kernel", of_lo),
    ("nlbus", "conntrack"): lambda: with_nlbus("conntrack", "new", len),
    ("pyroute2", "route"): pyroute2_route,
    ("pyudev", "uevent"): pyudev_uevent,
    ("libmnl", "route"): lambda: by_library(LIBMNL),
    ("libnl", "route"): lambda: by_library(LIBNL),
    (f"libmnl{ROOMY}", "route"): lambda: by_library(LIBMNL, BUFFER),
    (f"libnl{ROOMY}", "route"): lambda: by_library(LIBNL, BUFFER),
}


if __name__ == "__main__":
    (events, overruns), cpu, more = LISTENERS[sys.argv[1], sys.argv[2]]()
    print(json.dumps({"events": events, "overruns": overruns, "cpu": cpu, **more}), flush=True)
