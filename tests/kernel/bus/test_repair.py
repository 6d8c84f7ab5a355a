"""Subscriber(snapshot=True): what the kernel does not announce is asked for, and delivered as "repair"."""

import asyncio
import errno
import logging
import select
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nlbus
from nlbus import AsyncSubscriber, Batch, SchemaError, State, Subscriber, field
from nlbus.bus.snapshot import Snapshots
from nlbus.bus.state.changes import Changes
from nlbus.errors import kernel_error
from nlbus.kernel.groups import Groups
from nlbus.sources import find
from nlbus.table.query import Query
from tests.support.sockets import drain, ip

Subscribe = Callable[..., Subscriber]
QUIET = 1.0  # longer than the second look waits


@pytest.fixture
def wires() -> None:
    """va and vb, both up, with an address and a route of IPv4."""
    ip("link set lo up", "link add va type veth peer name vb", "link set va up", "link set vb up")
    ip("addr add 10.0.0.1/24 dev va", "route add 10.9.0.0/16 via 10.0.0.2")
    time.sleep(0.2)


def rows(batches: list[Batch], table: str) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.table(table).iter_rows(absent=False)]


def of(batches: list[Batch], origin: str) -> list[Batch]:
    return [batch for batch in batches if batch.origin == origin]


def same_as_now(sub: Subscriber) -> bool:
    """Whether an audit finds nothing."""
    sub.state.audit()
    return of(drain(sub, 0.2), "repair") == []


def test_routes_that_vanish_with_their_link_come_as_deleted_rows(wires: None, subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["route"], snapshot=True)
    second = State("route", "route")
    for batch in drain(sub, 0.2):
        second.apply(batch)
    ip("link set va down")
    batches = drain(sub, QUIET)
    gone = rows(of(batches, "repair"), "route")
    assert {(row["nl_op"], row["nl_origin"]) for row in gone} == {("del", "repair")}
    assert "10.9.0.0" in {row["dst"] for row in gone}
    for batch in batches:
        second.apply(batch)
    assert {row.get("dst") for row in second["route"].values()} == {
        row.get("dst") for row in nlbus.snapshot("route", "route").iter_rows()
    }
    assert dict(second["route"]).keys() == dict(sub.state["route"]).keys()
    assert same_as_now(sub)


def test_messages_that_only_raise_doubts_are_not_delivered(wires: None, subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["route"], snapshot=True)
    drain(sub, 0.2)
    assert nlbus.Groups(1).isdisjoint(sub.groups)  # links, which it hears nevertheless
    ip("link set va mtu 1400")
    assert of(drain(sub, 0.2), "live") == []
    assert sub.recv(timeout=0).origin == "live"  # an empty one, when time is up


def test_a_repair_has_rows_and_no_messages(wires: None, subscribe: Subscribe) -> None:
    sub = subscribe("route", tables={"route": ["dst"]}, snapshot=True)
    drain(sub, 0.2)
    ip("link set va down")
    [first, *_] = of(drain(sub, QUIET), "repair")
    assert isinstance(first, Changes)
    assert len(first.messages) == 0
    assert len(first) == len([*first.rows()]) == len(first.table("route")) > 0
    assert [column.name for column in first.table("route").columns][-1] == "dst"
    marks = np.zeros(len(first), np.bool_)
    marks[-1] = True
    assert [row["nl_row"] for row in first.select(marks).rows()] == [0]
    with pytest.raises(SchemaError):
        first.select(np.zeros(len(first) + 1, np.bool_))
    with pytest.raises(IndexError):
        first.payload(0)


def test_a_condition_selects_the_rows_of_repairs(wires: None, subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["route"], where=field("dst_len") == 16, snapshot=True)
    present = drain(sub, 0.2)
    assert [row["dst"] for row in rows(present, "route")] == ["10.9.0.0"]
    assert len(sub.state["route"]) > 1  # all rows
    ip("link set va down")
    assert [row["dst"] for row in rows(drain(sub, QUIET), "route")] == ["10.9.0.0"]


def test_a_descriptor_is_readable_when_a_repair_is_due(wires: None, subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["route"], snapshot=True)
    drain(sub, 0.2)
    ip("link set va down")
    found: list[Batch] = []
    deadline = time.monotonic() + 5
    while not of(found, "repair") and time.monotonic() < deadline:
        if select.select([sub], [], [], 1)[0]:
            found.append(sub.recv(timeout=0))
    assert "10.9.0.0" in {row["dst"] for row in rows(of(found, "repair"), "route")}


def test_asyncio_gets_repairs(wires: None) -> None:
    async def main() -> list[Batch]:
        async with AsyncSubscriber("route", tables=["route"], snapshot=True) as sub:
            found = [batch async for batch in sub.batches(timeout=0.2)]
            ip("link set va down")
            found += [batch async for batch in sub.batches(timeout=QUIET)]
            assert len(sub.state["route"]) == len(nlbus.snapshot("route", "route"))
            return found

    assert "10.9.0.0" in {row["dst"] for row in rows(of(asyncio.run(main()), "repair"), "route")}


def test_an_audit_finds_what_nothing_hints_at(wires: None, subscribe: Subscribe) -> None:
    ip("link set va down")
    time.sleep(1.2)  # the kernel announces the carrier of vb up to a second later
    sub = subscribe("route", tables=["link"], snapshot=True)
    drain(sub, QUIET)  # no doubt is left
    ip("link set va alias uplink")  # no message while it is down
    assert drain(sub, 0.3) == []
    sub.state.audit()
    found = {row["ifname"]: row for row in rows(drain(sub, 0.2), "link")}
    assert (found["va"]["nl_op"], found["va"]["ifalias"]) == ("change", "uplink")


def test_audits_come_at_an_interval(wires: None, subscribe: Subscribe) -> None:
    ip("link set va down")
    time.sleep(1.2)
    sub = subscribe("route", tables=["link"], snapshot=True, audit=0.5)
    drain(sub, 0.2)
    ip("link set va alias uplink")
    found = {row["ifname"]: row for row in rows(drain(sub, QUIET), "link")}
    assert found["va"]["ifalias"] == "uplink"


def test_a_dump_that_fails_leaves_the_doubt_and_the_events(
    wires: None, subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sub = subscribe("route", tables=["route"], snapshot=True)
    drain(sub, 0.2)
    again, calls = Snapshots.again, list[str]()

    def failing(self: Snapshots, table: str, scope: Any) -> list[Batch]:
        calls.append(table)
        if len(calls) == 1:
            raise kernel_error(errno.EBUSY, "dumping route")
        return again(self, table, scope)

    monkeypatch.setattr(Snapshots, "again", failing)
    ip("link set va down")
    with caplog.at_level(logging.WARNING, "nlbus"):
        ip("route add blackhole 10.7.0.0/16")
        early = drain(sub, 0.5)
    assert "10.7.0.0" in {row.get("dst") for row in rows(of(early, "live"), "route")}
    assert "next try" in caplog.text
    assert "10.9.0.0" in {row["dst"] for row in rows(of(drain(sub, 3), "repair"), "route")}


def test_a_batch_that_the_state_cannot_take_is_delivered_and_made_up_for(
    subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sub = subscribe("route", tables=["link"], snapshot=True)
    drain(sub, 0.2)
    follow, calls = State.follow, list[Batch]()

    def failing(self: State, batch: Batch) -> Any:
        calls.append(batch)
        if len(calls) == 1:
            raise SchemaError("too large")
        return follow(self, batch)

    monkeypatch.setattr(State, "follow", failing)
    ip("link add vc type veth peer name vd")
    batches = drain(sub, QUIET)
    assert {row["ifname"] for row in rows(of(batches, "live"), "link")} == {"vc", "vd"}
    assert "compared anew" in caplog.text
    assert {row["ifname"] for row in sub.state["link"].values()} == {"lo", "vc", "vd"}
    assert same_as_now(sub)


def test_groups_that_doubts_need_are_heard_after_leaving_them(wires: None, subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["link", "route"], snapshot=["route"])
    drain(sub, 0.2)
    sub.leave("link")
    assert 1 not in sub.groups
    ip("link set va down")
    batches = drain(sub, QUIET)
    assert rows(batches, "link") == []
    assert "10.9.0.0" in {row.get("dst") for row in rows(of(batches, "repair"), "route")}


def test_after_an_overrun_only_differences_come(wires: None, subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["link", "route"], snapshot=True, buffer_events=10, on_loss="ignore")
    drain(sub, 0.3)
    ip(*(f"link set lo {'up' if i % 2 else 'down'}" for i in range(400)))
    ip("link add vc type veth peer name vd", "link del va")
    batches = drain(sub, QUIET)
    resync = of(batches, "resync")
    assert resync[-1].complete
    ops = {(row["nl_op"], row["ifname"]) for row in rows(batches, "link") if row["nl_origin"] != "live"}
    assert {("new", "vc"), ("new", "vd"), ("del", "va"), ("del", "vb")} <= ops
    assert "10.9.0.0" in {row.get("dst") for row in rows(batches, "route") if row["nl_op"] == "del"}
    assert same_as_now(sub)


def test_without_repair_all_objects_come_again(wires: None, subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["link"], snapshot=True, repair=False, buffer_events=10, on_loss="ignore")
    drain(sub, 0.3)
    with pytest.raises(SchemaError, match="no state"):
        _ = sub.state
    ip(*(f"link set lo {'up' if i % 2 else 'down'}" for i in range(400)))
    assert {row["ifname"] for row in rows(of(drain(sub, 0.3), "resync"), "link")} == {"lo", "va", "vb"}


def test_a_burst_of_hints_makes_few_dumps(
    wires: None, subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    sub = subscribe("route", tables=["route"], snapshot=True)
    drain(sub, 0.2)
    again, calls = Snapshots.again, list[str]()

    def counting(self: Snapshots, table: str, scope: Any) -> list[Batch]:
        calls.append(table)
        return again(self, table, scope)

    monkeypatch.setattr(Snapshots, "again", counting)
    ip(*(f"link set va mtu {1300 + i}" for i in range(200)))
    drain(sub, QUIET)
    assert 0 < len(calls) < 20
    assert same_as_now(sub)


def test_second_looks_come_while_hints_go_on(wires: None, subscribe: Subscribe) -> None:
    """A route that goes long after the hint, while other hints never stop, is found all the same."""
    sub = subscribe("route", tables=["route"], snapshot=True)
    drain(sub, 0.2)
    stop = threading.Event()

    def hints() -> None:
        for i in range(1000):
            if stop.wait(0.05):
                return
            ip(f"link set lo mtu {60000 + i}")

    thread = threading.Thread(target=hints)
    thread.start()
    try:
        ip("link set va down")
        found = list[Batch]()
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline and not rows(of(found, "repair"), "route"):
            found.append(sub.recv(0.5))
        assert "10.9.0.0" in {row["dst"] for row in rows(of(found, "repair"), "route")}
    finally:
        stop.set()
        thread.join()


def test_the_last_look_waits_for_what_the_kernel_is_doing(subscribe: Subscribe) -> None:
    links = 300
    batch = "\n".join(f"link add d{i} group 7 type bridge" for i in range(links))
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
    sub = subscribe("route", tables=["link"], snapshot=False)
    snapshots = Snapshots(Query(find("route"), ["link"]), ["link"], Groups(), None)
    with subprocess.Popen(["ip", "link", "del", "group", "7"]):
        gone = len(sub.recv(5).table("link"))
        snapshots.barrier()
        gone += sum(len(batch.table("link")) for batch in drain(sub, 0))
    assert gone == links


def test_repairs_are_counted(wires: None, subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["route"], snapshot=True)
    drain(sub, QUIET)
    before = sub.stats()
    ip("link set va down")
    found = of(drain(sub, QUIET), "repair")
    after = sub.stats()
    assert after["repairs"] > before["repairs"]
    assert after["repaired"] - before["repaired"] == sum(map(len, found)) > 0
    assert f"found {after['repaired']} rows that differed" in sub.explain()
