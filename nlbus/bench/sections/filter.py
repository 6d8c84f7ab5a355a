"""Events that nobody wants: filtered by the kernel, beside decoding them all and filtering then.

The queues are filled before each turn, so what counts is the processor time of the subscriber's process
alone; a queue that the kernel filters holds the wanted events only, in 64 KiB. Each side must find the same
number of wanted rows. Beside them libudev's filter (of systemd and pyudev) on messages of udev, and pyroute2,
which has none.
"""

from __future__ import annotations

import importlib
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from time import process_time_ns
from typing import Any

from nlbus import Expression, Publisher, Subscriber, field
from nlbus.bench.namespace import home
from nlbus.bench.pairing import Side, Turn, alternate
from nlbus.bench.plans import Progress, Scale
from nlbus.bench.results import Measurement, Missing
from nlbus.bench.routes import Routes
from nlbus.errors import NlbusError
from nlbus.filters.texts import murmur2
from nlbus.kernel.netns import inside
from nlbus.kernel.requests import attribute, message

SECTION = "filter"
FOREIGN_TABLE, OUR_TABLE = 200, 100
WANTED = 20  # events of a storm
EVENTS = {"quick": 5_000, "full": 100_000}
FORKS = {"quick": 250, "full": 5_000}
OTHERS = 2_000  # events, where a library takes long
NETFILTER, UEVENT = 12, 15
SO_RCVBUFFORCE = 33
ROOM = 150_000  # events that the unfiltered queues hold
CAVEATS = (
    "filter: processor time of the process that subscribes, per event of the storm, wanted or not; the "
    "kernel's filter runs in the process that causes the event, which takes that much longer.",
)

Count = Callable[[], int]


@dataclass(frozen=True)
class Storm:
    """What fills the queues with `events`, of which `wanted` are wanted, and who reads them."""

    name: str
    events: int
    wanted: int
    fill: Callable[[], object]
    unfiltered: tuple[Count, Count]  # the same twice: A/A
    filtered: Count
    others: tuple[tuple[str, Count], ...] = ()


def measure(plan: Scale, progress: Progress) -> Iterator[Measurement | Missing]:
    """Routes by table, connections by port, processes by kind, the bus by type, uevents by subsystem."""
    events = EVENTS[plan.name]
    storms: list[tuple[str, Callable[[], AbstractContextManager[Storm]]]] = [
        ("routes by table", lambda: _routes(events)),
        ("routes by table, beside pyroute2", lambda: _routes(OTHERS, beside=True)),
        ("connections by port", lambda: _connections(min(events, 20_000))),
        ("processes by kind", lambda: _processes(FORKS[plan.name])),
        ("the bus by type", lambda: _bus(min(events, 50_000))),
        ("uevents of udev by subsystem", lambda: _uevents(min(events, 20_000))),
    ]
    for name, make in storms:
        progress(f"{SECTION}: {name}")
        try:
            with make() as storm:
                yield from _measured(storm, plan, plan.seconds / len(storms))
        except ImportError as error:
            yield Missing(SECTION, name, f"{error}: pip install pyroute2")
        except (NlbusError, OSError) as error:
            yield Missing(SECTION, name, str(error))


def _measured(storm: Storm, plan: Scale, seconds: float) -> Iterator[Measurement]:
    sides = [_side(storm, count) for count in (*storm.unfiltered, storm.filtered)]
    sides += [_side(storm, count) for _, count in storm.others]
    rounds = [*alternate(sides, plan.rounds, before=lambda: _filled(storm), warm_up=1, seconds=seconds)]
    work = f"{storm.name}: {storm.events:,} events, {storm.wanted} wanted"
    costs = [[turn.cost / turn.delivered for turn in turns] for turns in rounds]
    for number, subject in enumerate(("filtered by the kernel", *(name for name, _ in storm.others)), 2):
        delivered = sum(turns[number].delivered for turns in rounds)
        yield Measurement(
            section=SECTION,
            subject=subject,
            work=work,
            unit="ns/event",
            samples=tuple(each[number] for each in costs),
            sent=delivered,
            delivered=delivered,
            ratios=tuple((each[0] + each[1]) / 2 / each[number] for each in costs),
            control=tuple(each[0] / each[1] for each in costs),
            reference="all decoded, then filtered",
        )


def _filled(storm: Storm) -> None:
    storm.fill()


def _side(storm: Storm, count: Count) -> Side:
    def turn() -> Turn:
        start = process_time_ns()
        found = count()
        cost = process_time_ns() - start
        if found != storm.wanted:
            raise AssertionError(f"{storm.name}: {found} wanted events found of {storm.wanted}")
        return Turn(cost, storm.events)

    return turn


def _reader(sub: Subscriber, table: str | None) -> Count:
    """Reads what is queued: the wanted rows, or events."""

    def read() -> int:
        found = 0
        while batch := sub.recv(0):
            found += len(batch) if table is None else len(batch.table(table))
        if sub.stats()["dropped"]:
            raise AssertionError("the queue was full")
        return found

    return read


def _three(
    stack: ExitStack, source: str, where: Expression, table: str | None, **others: Any
) -> tuple[tuple[Count, Count], Count]:
    """Two subscribers that receive all, and one whose filter is the kernel's, with a buffer of 64 KiB."""
    if table is not None:
        others["tables"] = [table]
    first, again = (
        stack.enter_context(
            Subscriber(source, where=where, kernel_filter=False, buffer_events=ROOM, **others)
        )
        for _ in range(2)
    )
    ours = stack.enter_context(Subscriber(source, where=where, buffer_events=(64 << 10) // 832, **others))
    return (_reader(first, table), _reader(again, table)), _reader(ours, table)


@contextmanager
def _routes(events: int, *, beside: bool = False) -> Iterator[Storm]:
    foreign, ours = Routes(events // 2, table=FOREIGN_TABLE), Routes(WANTED // 2, table=OUR_TABLE)
    with ExitStack() as stack:
        stack.callback(foreign.close)
        stack.callback(ours.close)
        where = field("table") == OUR_TABLE
        unfiltered, filtered = _three(stack, "route", where, "route", groups="ipv4_route")
        others = (("pyroute2", _pyroute2(stack)),) if beside else ()
        storm = foreign.events + ours.events
        yield Storm(
            "routes by table",
            storm,
            ours.events,
            lambda: (foreign.storm(), ours.storm()),
            unfiltered,
            filtered,
            others,
        )


def _pyroute2(stack: ExitStack) -> Count:
    """Its parser on what a plain socket receives, and a look at the table of each route."""
    marshal = importlib.import_module("pyroute2.netlink.rtnl.marshal").MarshalRtnl()
    sock = stack.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    sock.bind((0, 1 << 6))

    def read() -> int:
        found = 0
        while True:
            try:
                data = sock.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            found += sum(each.get_attr("RTA_TABLE") == OUR_TABLE for each in marshal.parse(data))

    return read


@contextmanager
def _connections(events: int) -> Iterator[Storm]:
    """Connections that ctnetlink is asked for: new ones and gone ones."""
    with ExitStack() as stack:
        ask = stack.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER))
        ask.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        where = field("orig_dport") == 443
        unfiltered, filtered = _three(stack, "conntrack", where, "conntrack", groups=("new", "destroy"))
        requests = [_connection(i, 443 if i < WANTED // 2 else 80) for i in range(events // 2)]

        def fill() -> None:
            for kind, flags in ((0, 0x605), (2, 0x005)):
                for at in range(0, len(requests), 50):
                    ask.send(
                        b"".join(message(1 << 8 | kind, each, flags, at) for each in requests[at : at + 50])
                    )
                    _discard(ask)

        yield Storm("connections by port", 2 * len(requests), WANTED, fill, unfiltered, filtered)


def _discard(sock: socket.socket) -> None:
    """What has been answered so far."""
    with suppress(BlockingIOError):
        while True:
            sock.recv(65536, socket.MSG_DONTWAIT)


def _connection(number: int, port: int) -> bytes:
    client, server = struct.pack(">I", 0x0A00_0000 + number), struct.pack(">I", 0xC0A8_0001)

    def tuple_of(kind: int, source: bytes, to: bytes, sport: int, dport: int) -> bytes:
        ip = attribute(1, source) + attribute(2, to)
        ports = attribute(2, struct.pack(">H", sport)) + attribute(3, struct.pack(">H", dport))
        proto = attribute(1, b"\x11") + ports
        return attribute(kind | 0x8000, attribute(1 | 0x8000, ip) + attribute(2 | 0x8000, proto))

    return (
        struct.pack(">BBH", socket.AF_INET, 0, 0)
        + tuple_of(1, client, server, 1000, port)
        + tuple_of(2, server, client, port, 1000)
        + attribute(7, struct.pack(">I", 600))
    )


@contextmanager
def _processes(forks: int) -> Iterator[Storm]:
    """Forks and exits; wanted are programs that are executed."""
    with ExitStack() as stack:
        where = field("process_pid") == 1 << 30
        netns = home() if home() >= 0 else None
        unfiltered, filtered = inside(netns, lambda: _three(stack, "proc", where, "exec"))

        def fill() -> None:
            # A shell is small, and therefore forks faster.
            script = f"i=0; while [ $i -lt {forks} ]; do (:); i=$((i + 1)); done"
            subprocess.run(["sh", "-c", script], check=True)

        yield Storm("processes by kind", 2 * forks, 0, fill, unfiltered, filtered)


@contextmanager
def _bus(events: int) -> Iterator[Storm]:
    with ExitStack() as stack:
        where = field("type") == 0x100
        unfiltered, filtered = _three(stack, "bus", where, None, groups=1, transport="usersock")
        publisher = stack.enter_context(Publisher(transport="usersock"))

        def fill() -> None:
            for number in range(events):
                publisher.publish(bytes(64), groups=1, type=0x100 if number < WANTED else 0x200)

        yield Storm("the bus by type", events, WANTED, fill, unfiltered, filtered)


@contextmanager
def _uevents(events: int) -> Iterator[Storm]:
    """Messages as udev sends them, which root may; beside libudev's own filter by pyudev."""
    pyudev = importlib.import_module("pyudev")
    with ExitStack() as stack:
        where = field("subsystem") == "net"
        unfiltered, filtered = _three(stack, "uevent", where, "uevent", groups="udev")
        monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="udev")
        monitor.filter_by("net")
        monitor.set_receive_buffer_size(64 << 20)
        monitor.start()
        sender = stack.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, UEVENT))
        net, block = _udev("net"), _udev("block")

        def fill() -> None:
            for number in range(events):
                sender.sendto(net if number < WANTED else block, (0, 2))

        def theirs() -> int:
            found = 0
            while monitor.poll(0) is not None:
                found += 1
            return found

        others = (("pyudev, with libudev's filter", theirs),)
        yield Storm("uevents of udev by subsystem", events, WANTED, fill, unfiltered, filtered, others)


def _udev(subsystem: str) -> bytes:
    keys = f"ACTION=change\0DEVPATH=/devices/virtual/{subsystem}/lo\0SUBSYSTEM={subsystem}\0SEQNUM=1\0"
    head = b"libudev\0" + struct.pack(">I", 0xFEEDCAFE) + struct.pack("=III", 40, 40, len(keys))
    return head + struct.pack(">IIII", murmur2(subsystem.encode()), 0, 0, 0) + keys.encode()
