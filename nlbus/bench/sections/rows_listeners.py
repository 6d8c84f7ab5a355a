"""Programs that print events, all of them at the same storm: processor time per line."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from nlbus.bench.libraries import kernel
from nlbus.bench.libraries.tools import TOOLS, Tool, program
from nlbus.bench.plans import Progress, Scale
from nlbus.bench.results import Measurement, Missing

SECTION = "rows"
EVENTS = {"quick": 5_000, "full": 20_000}
CONNECTIONS = {"quick": 500, "full": 5_000}
FORMS = ("text", "json")
STARTING = 20.0  # seconds within which all must have printed something
SETTLED = 0.5  # seconds without a new line after which all is printed
OURS: dict[str, tuple[str, ...]] = {
    "route": ("route", "--table", "route"),
    "uevent": ("uevent",),
    "conntrack": ("conntrack", "--group", "new"),
}


class Printing:
    """A program that prints events to a file."""

    def __init__(self, command: Sequence[str], out: Path, event: bytes) -> None:
        self._out = out
        self._event = event
        with out.open("wb") as stdout:
            self._process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.DEVNULL)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()

    @property
    def size(self) -> int:
        """Bytes printed so far."""
        return self._out.stat().st_size

    @property
    def events(self) -> int:
        """Lines of events so far."""
        return sum(self._event in line for line in self._out.read_bytes().splitlines())

    @property
    def used(self) -> int:
        """Processor time (ns) of all its threads so far."""
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def live(plan: Scale, progress: Progress, folder: Path) -> Iterator[Measurement | Missing]:
    """Text and JSON of nlbus beside the program that is known for a source, which is there twice."""
    for kind, tool in TOOLS.items():
        progress(f"{SECTION}: live, {kind}")
        path = program(tool.command[0])
        if path is None:
            yield Missing(SECTION, tool.subject, f"no `{tool.command[0]}`: install {tool.package}")
            continue
        storm = _storm(kind, plan)
        if isinstance(storm, Missing):
            yield Missing(SECTION, f"live, {kind}", storm.why)
            continue
        try:
            yield from _heard(plan, kind, tool, path, storm, folder)
        finally:
            storm.end()


def _storm(kind: str, plan: Scale) -> kernel.Storm | Missing:
    if kind == "route":
        return kernel.route_storm(EVENTS[plan.name])
    if kind == "uevent":
        return kernel.uevent_storm(EVENTS[plan.name])
    return kernel.connection_storm(CONNECTIONS[plan.name])


def _heard(
    plan: Scale, kind: str, tool: Tool, path: str, storm: kernel.Storm, folder: Path
) -> Iterator[Measurement | Missing]:
    theirs = [path, *tool.command[1:]]
    commands = [(theirs, tool.event), (theirs, tool.event)]
    for form in FORMS:
        ours = [sys.executable, "-m", "nlbus", "listen", *OURS[kind], "-o", form]
        commands.append((ours, b'"time"' if form == "json" else b"Z "))
    with ExitStack() as stack:
        sides = []
        for i, (command, event) in enumerate(commands):
            sides.append(Printing(command, folder / f"live{i}", event))
            stack.callback(sides[-1].close)
        give_up = time.monotonic() + STARTING
        while not all(side.size for side in sides):
            if time.monotonic() > give_up:
                silent = [" ".join(command) for (command, _), side in zip(commands, sides) if not side.size]  # noqa: B905
                yield Missing(SECTION, f"live, {kind}", f"prints nothing: {'; '.join(silent)}")
                return
            storm.make()
            time.sleep(SETTLED)
        rounds = [_round(sides, storm) for _ in range(plan.rounds)]
    for form, place in zip(FORMS, (2, 3), strict=True):
        yield Measurement(
            section=SECTION,
            subject="nlbus",
            work=f"{storm.events:,} live events of {kind} as {form}",
            unit="ns/event",
            samples=tuple(costs[place] for costs in rounds),
            ratios=tuple((costs[0] + costs[1]) / 2 / costs[place] for costs in rounds),
            control=tuple(costs[0] / costs[1] for costs in rounds),
            reference=tool.subject,
        )


def _round(sides: list[Printing], storm: kernel.Storm) -> list[float]:
    """What each took for an event, ns."""
    _settle(sides)
    before = [(side.used, side.events) for side in sides]
    storm.make()
    _settle(sides)
    after = [(side.used, side.events) for side in sides]
    return [
        (used - used_before) / max(1, events - events_before)
        for (used_before, events_before), (used, events) in zip(before, after, strict=True)
    ]


def _settle(sides: list[Printing]) -> None:
    """Wait until nobody prints any more."""
    sizes: list[int] = []
    while sizes != (now := [side.size for side in sides]):
        sizes = now
        time.sleep(SETTLED)
