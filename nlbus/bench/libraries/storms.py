"""The same live storms for each listener, one at a time: what arrived, how it ended, what it cost.

Each has the receive buffer that it makes itself by default; its note has the size. How much is lost is mostly
a matter of that: so libmnl and libnl are there with one like nlbus's, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from typing import Any

from nlbus.bench.libraries import kernel, tools
from nlbus.bench.libraries.library import LIBMNL, LIBNL
from nlbus.bench.libraries.listening import ROOMY
from nlbus.bench.plans import Progress, Scale
from nlbus.bench.results import Measurement, Missing

Maker = Callable[[int], "kernel.Storm | Missing"]

EVENTS = {
    "quick": {"route": 10_000, "uevent": 10_000, "conntrack": 1_000},
    "full": {"route": 50_000, "uevent": 50_000, "conntrack": 10_000},
}
ROUNDS = {"quick": 1, "full": 3}
NAMES = {"route": "changes of routes", "uevent": "uevents", "conntrack": "new connections"}
MAKERS: dict[str, Maker] = {
    "route": kernel.route_storm,
    "uevent": kernel.uevent_storm,
    "conntrack": kernel.connection_storm,
}
LISTENERS = {
    "route": (
        "nlbus",
        "pyroute2",
        *(name + room for room in ("", ROOMY) for name in (LIBMNL.name, LIBNL.name)),
    ),
    "uevent": ("nlbus", "pyudev"),
    "conntrack": ("nlbus",),
}
PATIENCE = 60.0  # seconds for one listener


def live(plan: Scale, progress: Progress, absent: Collection[str]) -> Iterator[Measurement | Missing]:
    """Each listener alone, in a process of its own. absent: the libraries that are not installed."""
    for kind, maker in MAKERS.items():
        storm = maker(EVENTS[plan.name][kind])
        if isinstance(storm, Missing):
            yield storm
            continue
        name = f"a storm of {storm.events:,} {NAMES[kind]}"
        try:
            for subject in LISTENERS[kind]:
                if subject.removesuffix(ROOMY) in absent:
                    continue
                progress(f"libraries: {name}, {subject}")
                runs = [_listen(subject, kind, storm) for _ in range(ROUNDS[plan.name])]
                yield _measured(subject, name, storm.events, runs)
            tool = tools.TOOLS[kind]
            progress(f"libraries: {name}, {tool.subject}")
            printed = [tools.listen(tool, storm.make) for _ in range(ROUNDS[plan.name])]
            yield _of_tool(tool.subject, name, storm.events, printed)
        finally:
            storm.end()


def _listen(subject: str, kind: str, storm: kernel.Storm) -> dict[str, Any]:
    """Start it, make the storm, and return its report."""
    command = [sys.executable, "-m", "nlbus.bench.libraries.listening", subject, kind]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        buffer = 0
        if process.stdout.readline() == "ready\n":
            buffer = tools.buffer_of(process.pid)
            storm.make()
        out, err = process.communicate(timeout=PATIENCE)
        if process.returncode or not out:
            return {"events": 0, "overruns": 0, "cpu": 0.0, "ended": err.strip().rpartition("\n")[2]}
        return dict(json.loads(out)) | {"buffer": buffer}
    finally:
        process.kill()
        process.communicate()


def _measured(subject: str, name: str, events: int, runs: list[dict[str, Any]]) -> Measurement | Missing:
    delivered = sum(one["events"] for one in runs)
    ends = {one["ended"] for one in runs if "ended" in one}
    if not delivered:
        return Missing("libraries", subject, f"{name}: it heard nothing: {', '.join(sorted(ends))}")
    overruns = sum(one["overruns"] for one in runs)
    lost = events * len(runs) - delivered
    if ends:
        end = f"it ended: {', '.join(sorted(ends))}"
    elif overruns:
        end = f"ENOBUFS {overruns} times; it was made to go on"
    elif lost:
        end = "it was told of no loss"
    else:
        end = "all of it"
    counted = sum(one.get("counted as lost", 0) for one in runs)
    if counted:
        end = f"it counted {counted:,} as lost itself"
    if deaf := sum(not one["events"] for one in runs):
        end += f"; {deaf} of {len(runs)} storms it did not hear at all, whose processor time is left out"
    buffer = max(one.get("buffer", 0) for one in runs)
    size = f"{buffer >> 10} KiB" if buffer % (1 << 20) else f"{buffer >> 20} MiB"
    room = f"receive buffer {size}; " if buffer else ""
    return Measurement(
        section="libraries",
        subject=subject,
        work=name,
        unit="CPU ns/event",
        samples=tuple(1e9 * one["cpu"] / one["events"] for one in runs if one["events"]),
        sent=events * len(runs),
        delivered=delivered,
        lost=lost,
        details={"overruns": overruns, "counted as lost": counted, "buffer": buffer},
        note=room + end,
    )


def _of_tool(
    subject: str, name: str, events: int, printed: list[tools.Printed | Missing]
) -> Measurement | Missing:
    """The same for a program; its processor time includes its start and printing."""
    runs = []
    for one in printed:
        if isinstance(one, Missing):
            return one
        runs.append({"events": one.events, "overruns": one.overruns, "cpu": one.cpu, "buffer": one.buffer})
    return _measured(subject, name, events, runs)
