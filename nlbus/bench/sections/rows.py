"""What people read, beside the programs they know: lists and events as text, JSON and CSV; rows of Python.

Processor time counts, of user and system, without what a program needs to start: nlbus runs its commands in a
process that has run them before, and listeners are looked at before and after a storm, which all of them hear
at once. The kernel's dump is part of both sides, except where nlbus reads a capture.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, process_time_ns

from nlbus import Listener, Subscriber, open_capture, snapshot
from nlbus.bench.libraries import kernel
from nlbus.bench.libraries.tools import program
from nlbus.bench.pairing import Side, Turn, alternate
from nlbus.bench.plans import Progress, Scale
from nlbus.bench.results import Measurement, Missing
from nlbus.bench.routes import Routes
from nlbus.bench.sections.rows_listeners import live
from nlbus.bench.sections.rows_programs import Commands
from nlbus.capture import Recorder

SECTION = "rows"
ROUTES = {"quick": 20_000, "full": 100_000}
NEIGHBOURS = {"quick": 5_000, "full": 20_000}
CONNECTIONS = {"quick": 5_000, "full": 20_000}
PIECE = 2_000  # routes that are recorded at once: no buffer overruns
DEVICE = "nlbrows"
COLUMNS = ("nl_time", "nl_op", "dst", "dst_len", "table", "protocol", "scope", "type", "oif", "flags")
CAVEATS = (
    "rows: output goes to files in memory; what a terminal or a disk takes is in no figure. A program that "
    "lost events of a storm is charged for those that it printed.",
)


def measure(plan: Scale, progress: Progress) -> Iterator[Measurement | Missing]:
    """Lists, then rows of Python, then events."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with TemporaryDirectory(prefix="nlbus-rows-", dir=memory) as name:
        folder = Path(name)
        with Commands() as ours:
            progress(f"{SECTION}: lists")
            yield from _routes(plan, ours, folder)
            yield from _neighbours(plan, ours, folder)
            yield from _connections(plan, ours, folder)
        yield from live(plan, progress, folder)


# -- lists ----------------------------------------------------------------------------------------------


def _routes(plan: Scale, ours: Commands, folder: Path) -> Iterator[Measurement | Missing]:
    count = ROUTES[plan.name]
    capture = _recorded(count, folder)
    with kernel.listed_routes(count):
        for form, rival in (("json", "ip -j route"), ("csv", "ip -j route"), ("text", "ip route")):
            command = ["snapshot", "route", "route", str(folder / "ours"), "-o", form, "--force"]
            yield from _beside(plan, f"{count:,} routes as {form}", ours.side(count, command), rival, folder)
        for form, rival in (("json", "ip -j route"), ("csv", "ip -j route")):
            command = ["replay", capture, "-o", form, *(["-t", "route"] if form == "csv" else [])]
            work = f"{count:,} routes of a capture as {form}, without the kernel's dump"
            yield from _beside(plan, work, ours.side(count, command), rival, folder)
        table = snapshot("route", "route").select(COLUMNS)
    yield _alone(plan, "Table.iter_rows, 10 columns", lambda: _count(table.iter_rows()))
    yield _alone(plan, "batch.rows, all columns", lambda: _all_rows(capture))
    yield _alone(plan, "Listener.replay, all columns that have a value", lambda: _handled(capture))


def _recorded(count: int, folder: Path) -> str:
    """A capture of so many new routes."""
    path = folder / "routes.pcapng"
    with path.open("wb") as out, closing(Subscriber("route", tables=["route"])) as sub:
        file = Recorder(out, sub, "bench")
        for first in range(0, count, PIECE):
            routes = Routes(min(PIECE, count - first), first)
            routes.make()
            while batch := sub.recv(timeout=0):
                file.write(batch)
            routes.remove()
            while sub.recv(timeout=0):
                pass
            routes.close()
    return str(path)


def _neighbours(plan: Scale, ours: Commands, folder: Path) -> Iterator[Measurement | Missing]:
    count = NEIGHBOURS[plan.name]
    work = f"{count:,} neighbours as text"
    with ExitStack() as stack:
        ip = program("ip")
        try:
            if ip is None:
                raise OSError("no `ip`: install iproute2")
            stack.enter_context(_device(ip))
            lines = (
                f"neigh add 10.{128 + (i >> 16)}.{i >> 8 & 255}.{i & 255} "
                f"lladdr 02:00:00:{i >> 16:02x}:{i >> 8 & 255:02x}:{i & 255:02x} nud permanent dev {DEVICE}\n"
                for i in range(count)
            )
            subprocess.run(
                [ip, "-batch", "-"], input="".join(lines), text=True, check=True, capture_output=True
            )
        except (OSError, subprocess.CalledProcessError) as error:
            yield Missing(SECTION, work, str(error))
            return
        command = ["snapshot", "route", "neigh", str(folder / "ours"), "-o", "text", "--force"]
        yield from _beside(plan, work, ours.side(count, command), "ip neigh", folder)


@contextmanager
def _device(ip: str) -> Iterator[None]:
    """A pair of links that are up."""
    pair = ["link", "add", DEVICE, "up", "type", "veth", "peer", "name", f"{DEVICE}-"]
    subprocess.run([ip, *pair], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run([ip, "link", "del", DEVICE], check=False, capture_output=True)


def _connections(plan: Scale, ours: Commands, folder: Path) -> Iterator[Measurement | Missing]:
    count = CONNECTIONS[plan.name]
    tracking = kernel.connection_storm(0)
    if isinstance(tracking, Missing):
        yield Missing(SECTION, f"{count:,} connections as text", tracking.why)
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for i in range(count):
            with suppress(OSError):  # that nobody hears
                sender.sendto(b"", (f"127.0.{1 + i // 60_000}.1", 1 + i % 60_000))
    # The answers of ICMP are connections of their own nowhere: each datagram is one.
    found = len(snapshot("conntrack", "conntrack"))
    command = ["snapshot", "conntrack", "conntrack", str(folder / "ours"), "-o", "text", "--force"]
    yield from _beside(plan, "connections as text", ours.side(found, command), "conntrack -L", folder)
    tracking.end()


def _beside(plan: Scale, work: str, ours: Side, rival: str, folder: Path) -> Iterator[Measurement | Missing]:
    """Ours beside a program, and that beside itself."""
    name, *arguments = rival.split()
    path = program(name)
    if path is None:
        yield Missing(SECTION, rival, f"no `{name}`")
        return
    theirs = _rival(ours().delivered, folder, path, *arguments)
    rounds = alternate((theirs, theirs, ours), plan.rounds, warm_up=0, seconds=plan.seconds / 10)
    costs = [[turn.cost / turn.delivered for turn in turns] for turns in rounds]
    yield Measurement(
        section=SECTION,
        subject="nlbus",
        work=work,
        unit="ns/event",
        samples=tuple(ours for _, _, ours in costs),
        ratios=tuple((first + again) / 2 / ours for first, again, ours in costs),
        control=tuple(first / again for first, again, _ in costs),
        reference=rival,
    )


def _rival(events: int, folder: Path, *command: str) -> Side:
    """A program, whose output goes to a file."""

    def turn() -> Turn:
        with (folder / "theirs").open("wb") as out:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, stdout=out, stderr=subprocess.DEVNULL, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return Turn(used * 1e9, events)

    return turn


# -- rows of Python -------------------------------------------------------------------------------------


def _alone(plan: Scale, work: str, side: Callable[[], int]) -> Measurement:
    give_up = monotonic() + plan.seconds / 10
    rates: list[float] = []
    while len(rates) < 2 * plan.rounds and (len(rates) < 4 or monotonic() < give_up):
        before = process_time_ns()
        delivered = side()
        rates.append(delivered / (process_time_ns() - before) * 1e9)
    return Measurement(
        section=SECTION,
        subject="nlbus",
        work=work,
        unit="rows/s",
        samples=tuple(rates),
        control=tuple(one / other for one, other in zip(rates[::2], rates[1::2], strict=False)),
    )


def _count(rows: Iterator[object]) -> int:
    seen = 0
    for _ in rows:
        seen += 1
    return seen


def _all_rows(capture: str) -> int:
    with open_capture(capture) as feed:
        return sum(_count(batch.rows()) for batch in feed)


def _handled(capture: str) -> int:
    app, seen = Listener(), deque[None](maxlen=0)
    app.on("route", table="route")(lambda _: seen.append(None))
    with open_capture(capture) as feed:
        return app.replay(feed)
