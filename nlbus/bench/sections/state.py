"""State: from a snapshot, by changes, looked up, and what a route of it weighs; pyroute2's NDB beside it.

Memory is that of a process that holds nothing else: what is resident with all routes, less what is resident
without any, divided by their number.
"""

from __future__ import annotations

import importlib.util
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from nlbus import Batch, State, Subscriber, snapshot
from nlbus.bench.pairing import Side, alternate, timed
from nlbus.bench.plans import Progress, Scale
from nlbus.bench.results import Measurement, Missing
from nlbus.bench.routes import NETWORK, Routes
from nlbus.kernel.requests import attribute, message

SECTION = "state"
ROUTES = {"quick": 100_000, "full": 1_000_000}
CHANGES = 10_000  # of a batch
OTHERS = {"quick": 2_000, "full": 20_000}  # routes, where a library takes long
NDB = "pyroute2's NDB"
CAVEATS = (
    "state: NDB holds fewer routes, since it takes long to load them; it has all tables, nlbus one. "
    "Its ratio is of medians.",
)

RESIDENT = """
import resource
print(int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize())
"""
OURS = """
from nlbus import State, Subscriber
sub = Subscriber("route", tables=["route"], snapshot=True)
second = State("route", "route") if {copies} == 2 else None
while not sub.state.complete:
    batch = sub.recv(1)
    if second is not None:
        second.apply(batch)
batch = sub.recv(0)
len(sub.state["route"])
"""
THEIRS = """
from time import perf_counter
from pyroute2 import NDB
began = perf_counter()
ndb = NDB(sources=[{"target": "localhost", "kind": "local"}])
print((perf_counter() - began) * 1e9)
"""


def measure(plan: Scale, progress: Progress) -> Iterator[Measurement | Missing]:
    """The rounds of each of them, then memory."""
    routes, others = ROUTES[plan.name], OTHERS[plan.name]
    bare = {script: _run(script)[-1] for script in (_ours(1), _ours(2))}
    with closing(Routes(routes)) as made:
        made.make()
        progress(f"{SECTION}: {routes:,} routes")
        work = f"{routes:,} routes: a snapshot becomes a State"
        load = _paired(work, "ns/route", _loads(), plan, "the snapshot alone")
        yield load
        yield _paired(f"batches of {CHANGES:,} changes", "ns/row", _changes(), plan, "decoding them alone")
        yield _paired("key to row", "ns/row", _lookups(), plan, "a dict of the same keys and rows")
        progress(f"{SECTION}: memory")
        for copies, script in enumerate(bare, 1):
            about = "the subscriber's State" if copies == 1 else "the subscriber's State and a second one"
            yield _memory("nlbus", about, _run(script)[-1] - bare[script], routes)
        made.remove()
    if importlib.util.find_spec("pyroute2") is None:
        yield Missing(SECTION, NDB, "pip install pyroute2")
        return
    progress(f"{SECTION}: NDB")
    without, empty = _run(THEIRS)
    with closing(Routes(others)) as made:
        made.make()
        took, resident = _run(THEIRS)
        made.remove()
    each = (took - without) / others
    yield Measurement(
        section=SECTION,
        subject=NDB,
        work=f"{others:,} routes: loaded",
        unit="ns/route",
        samples=(each,),
        sent=others,
        delivered=others,
        ratios=(load.median / each,),
        control=load.control,
        reference="nlbus: a snapshot becomes a State",
    )
    yield _memory(NDB, "all tables", resident - empty, others)


def _paired(work: str, unit: str, sides: list[Side], plan: Scale, reference: str) -> Measurement:
    rounds = [*alternate(sides, plan.rounds, warm_up=1, seconds=plan.seconds / 4)]
    costs = [[turn.cost / turn.delivered for turn in turns] for turns in rounds]
    delivered = sum(turns[2].delivered for turns in rounds)
    return Measurement(
        section=SECTION,
        subject="nlbus",
        work=work,
        unit=unit,
        samples=tuple(each[2] for each in costs),
        sent=delivered,
        delivered=delivered,
        ratios=tuple((each[0] + each[1]) / 2 / each[2] for each in costs),
        control=tuple(each[0] / each[1] for each in costs),
        reference=reference,
    )


def _loads() -> list[Side]:
    def state() -> int:
        with Subscriber("route", tables=["route"], snapshot=True) as sub:
            while not sub.state.complete:
                sub.recv(1)
            return len(sub.state["route"])

    def alone() -> int:
        return len(snapshot("route", "route"))

    return [timed(alone), timed(alone), timed(state)]


def _changes() -> list[Side]:
    """Replaced routes of a State that has them: each batch has other gateways than the one before."""
    state = State("route", "route")
    batches = [_replaced(gateway) for gateway in (1, 2)]
    state.apply(batches[0])
    number = 0

    def decoded() -> int:
        return len(_fresh(batches[0]).table("route"))

    def applied() -> int:
        nonlocal number
        number += 1
        state.apply(_fresh(batches[number % 2]))
        return len(state["route"])

    return [timed(decoded), timed(decoded), timed(applied)]


def _fresh(batch: Batch) -> Batch:
    """The same messages, not decoded yet."""
    return batch.select(batch.messages["type"] == batch.messages["type"])


def _replaced(gateway: int) -> Batch:
    header = struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 254, 4, 253, 1, 0)
    rest = attribute(4, struct.pack("=I", 1)) + attribute(5, struct.pack(">I", 0xC0A8_0000 + gateway))
    each = [
        message(24, header + attribute(1, struct.pack(">I", NETWORK + number)) + rest, 0x100, 0)
        for number in range(CHANGES)
    ]
    chains = [b"".join(each[at : at + 100]) for at in range(0, CHANGES, 100)]
    return Batch.from_datagrams("route", chains)


def _lookups() -> list[Side]:
    """Rows by key, made at each look; a dict has made them all beforehand."""
    state = State("route", "route")
    state.apply(_replaced(1))
    routes = state["route"]
    ready = dict(routes.items())
    keys = [*ready]

    def looked_up(rows: Mapping[Any, Any]) -> Side:
        return timed(lambda: sum(1 for key in keys if rows[key]))

    return [looked_up(ready), looked_up(ready), looked_up(routes)]


def _ours(copies: int) -> str:
    return OURS.replace("{copies}", str(copies))


def _run(script: str) -> list[float]:
    """The numbers that a program prints, the last one how many bytes are resident at its end."""
    done = subprocess.run(
        [sys.executable, "-c", script + RESIDENT], capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        raise AssertionError(f"measuring memory: {done.stderr[-500:]}")
    return [float(word) for word in done.stdout.split()]


def _memory(subject: str, about: str, resident: float, routes: int) -> Measurement:
    return Measurement(
        section=SECTION,
        subject=subject,
        work=f"{routes:,} routes: resident memory of {about}",
        unit="bytes/route",
        samples=(resident / routes,),
        sent=routes,
        delivered=routes,
    )
