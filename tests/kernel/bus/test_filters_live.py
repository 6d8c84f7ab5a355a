"""Random conditions on real events: what the kernel passes and the decoder selects is what numpy selects from
all events. And the kernel accepts every program."""

from __future__ import annotations

import ctypes
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, cast

import numpy as np
import pytest

from nlbus import Batch, Expression, Publisher, Subscriber, Table
from nlbus.filters import HEADS
from nlbus.filters.heads import BUS, GENERIC, MESSAGES
from nlbus.filters.sources import Narrowing
from nlbus.schema.schema import Schema
from nlbus.schema.types import Column
from nlbus.sources import SOURCES, find
from nlbus.table.decoded import decoder
from nlbus.table.heads import Heads
from tests.support.conditions import any_condition, any_test
from tests.support.decoding import batch_of, decode
from tests.support.schemas import fitting
from tests.support.sockets import ip
from tests.support.storms import MARK, NULL, nft, nothing, track, up

Subscribe = Callable[..., Subscriber]
CONDITIONS = 10
PROGRAMS = 3  # conditions per table whose programs the kernel must accept
SO_ATTACH_FILTER = 26


class Scene(NamedTuple):
    """Events that we cause. `clock`: other processes cause such events, too; ours have `column` between two
    of its readings."""

    source: str
    table: str
    groups: tuple[str, ...] | None
    prepare: Callable[[], None]
    make: Callable[[], None]
    column: str = ""
    clock: Callable[[], int] = int
    names: tuple[str, ...] = ()  # the columns that conditions are about; (): all


def connections() -> None:
    """Packets and connections over lo, of both families."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for _ in range(3):
            with socket.socket(family) as server:
                server.bind((address, 0))
                server.listen()
                with socket.create_connection(server.getsockname()[:2]):
                    server.accept()[0].close()
        for port in (9, 4242):
            with socket.socket(family, socket.SOCK_DGRAM) as udp:
                udp.connect((address, port))
                udp.send(b"x")


def long_tracked() -> None:
    """None of the connections ends before we have read all."""
    track()
    sysctl = Path("/proc/sys/net/netfilter")
    for name in ("tcp_timeout_close", "tcp_timeout_time_wait", "udp_timeout"):
        (sysctl / f"nf_conntrack_{name}").write_text("600")


def processes() -> None:
    for status in (0, 1, 3):
        subprocess.run(["/bin/sh", "-c", f"exit {status}"], check=False)


def devices() -> None:
    for action in ("add", "change", "remove", "change"):
        NULL.write_text(f"{action} {MARK}")
    ip("link add a0 type veth peer name b0", "link del a0")


SCENES = [
    Scene("conntrack", "conntrack", None, long_tracked, connections),
    *(Scene("sock_diag", table, None, up, connections) for table in ("tcp", "udp")),
    *(
        Scene("proc", table, None, nothing, processes, "timestamp_ns", time.monotonic_ns)
        for table in ("fork", "exec", "exit")
    ),
    Scene(
        "uevent", "uevent", ("kernel",), nothing, devices, "seqnum",
        lambda: int(Path("/sys/kernel/uevent_seqnum").read_text()),
        ("action", "subsystem", "major"),
    ),
]  # fmt: skip


def queued(sub: Subscriber, quiet: float) -> Iterable[Batch]:
    """What is queued, also where other processes cause events all the time."""
    end = time.monotonic() + 0.3
    for batch in sub.batches(timeout=quiet):
        yield batch
        if time.monotonic() > end:
            return


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: f"{scene.source} {scene.table}")
def test_rows_are_those_that_numpy_selects(
    scene: Scene, subscribe: Subscribe, request: pytest.FixtureRequest
) -> None:
    if scene.source == "proc":
        request.getfixturevalue("process_connector")
    scene.prepare()

    def opened(where: Expression | None = None) -> Subscriber:
        return subscribe(scene.source, groups=scene.groups, tables=[scene.table], where=where)

    first = opened()
    scene.make()
    seen = first.collect(scene.table, seconds=0.3)
    # Not what differs between sockets, nor facts of /proc, which are read later.
    schema = next(each for each in find(scene.source).schemas if each.name == scene.table)
    columns = [column.name for column in decoder(schema, None).columns]
    columns = [name for name in columns if name not in ("nl_row", "nl_time")]
    seen = seen.select(scene.names or columns)
    assert len(seen)
    rng = Random(f"{scene.source} {scene.table}")
    conditions = [any_condition(rng, seen) for _ in range(CONDITIONS)]
    whole, narrow = opened(), [*map(opened, conditions)]
    start = scene.clock()
    scene.make()
    end = scene.clock()

    def ours(tables: Iterable[Table]) -> list[dict[str, Any]]:
        rows = [row for table in tables for row in table.iter_rows(absent=False)]
        return [
            {name: value for name, value in row.items() if name in columns}
            for row in rows
            if not scene.column or start <= int(row[scene.column]) <= end
        ]

    every = [batch.table(scene.table) for batch in queued(whole, 0.3)]
    assert len(ours(every)) > 1
    filtered = 0
    total = whole.stats()["delivered"]
    for condition, sub in zip(conditions, narrow, strict=True):
        found = ours(batch.table(scene.table) for batch in queued(sub, 0.02))
        assert found == ours(table.filter(condition) for table in every), condition
        assert sub.stats()["dropped"] == 0
        filtered += sub.stats()["delivered"] < total
    assert filtered


# -- every program ------------------------------------------------------------------------------------


def accepted(source: str, table: str, rows: Table, rng: Random) -> int:
    """How many programs of random conditions the kernel has accepted; OSError if it refuses one."""
    programs = [
        program
        for _ in range(PROGRAMS if table else 10 * PROGRAMS)  # no header tells some columns
        for program in Narrowing(
            find(source), {table: [any_condition(rng, rows, depth=3)]}, others=rng.random() < 0.5
        )
    ]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        for program in programs:
            memory = ctypes.create_string_buffer(program)
            sock.setsockopt(
                socket.SOL_SOCKET,
                SO_ATTACH_FILTER,
                struct.pack("HP", len(program) // 8, ctypes.addressof(memory)),
            )
    return len(programs)


@pytest.mark.parametrize("source", [name for name in SOURCES if SOURCES[name].framing == "nlmsg"])
def test_the_kernel_accepts_every_program_of_every_table(source: str) -> None:
    schemas = [schema for schema in SOURCES[source].schemas if isinstance(schema, Schema)]
    for schema in schemas:
        rng = Random(schema.name)
        rows = decode(schema, batch_of(fitting(rng, schema, orderly=True) for _ in range(4)))
        table = Table(decoder(schema, None).columns, [rows])
        assert accepted(source, schema.name, table, rng), schema.name
    if not SOURCES[source].schemas:  # tables of text have no programs
        assert accepted(source, HEADS, headers(source, None), Random(source))


# -- headers ------------------------------------------------------------------------------------------


class Headers(Heads):
    """Headers with a length, as any_condition wants them."""

    def __init__(self, source: str, batch: Batch | None) -> None:
        super().__init__(find(source), batch)
        self._bus = source == "bus"
        self._count = 0 if batch is None else len(batch.index)

    def __len__(self) -> int:
        return self._count

    @property
    def columns(self) -> Sequence[Column]:
        """Those that a filter can read: conditions on others leave nothing to the kernel."""
        read = BUS if self._bus else MESSAGES | GENERIC
        return [column for column in super().columns if column.name in read]


def headers(source: str, batch: Batch | None) -> Table:
    return cast("Table", Headers(source, batch))


def change_tables() -> None:
    for number in range(3):
        nft(f"add table ip t{number}; add chain ip t{number} c; add set ip t{number} s {{ type ipv4_addr; }}")
        nft(f"delete table ip t{number}")


def change_policies() -> None:
    policies = [f"src 10.0.0.{n}/32 dst 10.9.9.9/32 dir out" for n in range(4)]
    ip(*(f"xfrm policy {verb} {policy}" for verb in ("add", "del") for policy in policies))


def change_devices() -> None:
    ip("link add a0 type veth peer name b0", "link del a0")


def publish() -> None:
    """Two streams of each of two publishers; no datagram has events of two types."""
    for _ in range(2):
        with Publisher() as publisher:
            for number in range(30):
                publisher.publish(bytes(8), groups=(1, 7) if number % 2 else 1, type=0x100 + number % 3)


@pytest.mark.parametrize(
    ("source", "groups", "make"),
    [
        ("raw:12", (7,), change_tables),
        ("raw:6", (4,), change_policies),
        ("raw:16", None, change_devices),  # groups have numbers that only this kernel knows
        ("bus", (1, 7), publish),
    ],
    ids=["nftables", "xfrm", "netdev", "bus"],
)
def test_messages_are_those_whose_headers_numpy_selects(
    source: str, groups: tuple[int, ...] | None, make: Callable[[], None], subscribe: Subscribe
) -> None:
    joined = groups or tuple(find("genl:netdev").groups.values())

    def opened(where: Expression | None = None) -> Subscriber:
        return subscribe(source, groups=joined, where=where)

    whole = opened()
    make()
    rng = Random(source)
    rows = max(([*whole.batches(timeout=0.3)]), key=len)
    heads = headers(source, rows)
    conditions = [any_condition(rng, heads) for _ in range(CONDITIONS)]
    conditions += [any_test(rng, heads, column) for column in heads.columns for _ in range(4)]
    narrow = [*map(opened, conditions)]
    make()
    every = [*whole.batches(timeout=0.3)]
    filtered = 0
    for condition, sub in zip(conditions, narrow, strict=True):
        expected = [
            payload
            for batch in every
            for payload, wanted in zip(payloads(source, batch), mask(condition, source, batch), strict=True)
            if wanted
        ]
        found = [payload for batch in sub.batches(timeout=0.02) for payload in payloads(source, batch)]
        assert sorted(found) == sorted(expected), condition
        stats = sub.stats()
        assert (stats["dropped"], stats.get("lost", 0)) == (0, 0)
        filtered += len(found) < sum(map(len, every))
    assert filtered > 2


def mask(condition: Expression, source: str, batch: Batch) -> list[bool]:
    """Of each event, whether its header meets the condition."""
    chosen = condition.mask(headers(source, batch))
    if source == "bus":
        chosen = np.repeat(chosen, batch.index["count"])
    return cast("list[bool]", chosen.tolist())


def payloads(source: str, batch: Batch) -> list[bytes]:
    """The events, on the bus with what tells them apart."""
    if source != "bus":
        return [bytes(batch.payload(i)) for i in range(len(batch))]
    return [
        bytes(batch.payload(i)) + struct.pack("II", batch.events["type"][i], batch.events["groups"][i])
        for i in range(len(batch))
    ]
