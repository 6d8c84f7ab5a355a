"""Subscriber(snapshot=True): the current state, then changes, and the current state again after a loss."""

import asyncio
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import nlbus
from nlbus import AsyncSubscriber, Batch, LossError, SchemaError, State, Subscriber
from tests.support.sockets import drain, ip, run, track_connections, wait_until

Subscribe = Callable[..., Subscriber]


def until_complete(sub: Subscriber) -> list[Batch]:
    batches = [sub.recv(5)]
    while not batches[-1].complete:
        batches.append(sub.recv(5))
    return batches


def names(batches: list[Batch]) -> set[str]:
    return {str(name) for batch in batches for name in batch.table("link")["ifname"].tolist()}


def links() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def test_current_objects_come_first_then_changes(subscribe: Subscribe) -> None:
    ip("link add va type veth peer name vb")
    sub = subscribe("route", tables=["link", "addr"], snapshot=True)
    ip("link add vc type veth peer name vd")
    present = until_complete(sub)
    assert {batch.origin for batch in present} == {"snapshot"}
    assert [batch.complete for batch in present] == [False] * (len(present) - 1) + [True]
    assert names(present) == {"lo", "va", "vb"}
    rows = [row for batch in present for row in batch.table("link").iter_rows()]
    assert {row["nl_origin"] for row in rows} == {"snapshot"}
    assert {row["nl_op"] for row in rows} == {"new"}
    assert all(row["nl_time"] for row in rows)
    assert sum(map(len, present)) == len(rows) + sum(len(batch.table("addr")) for batch in present)
    live = drain(sub, 0.1)
    assert {batch.origin for batch in live} <= {"live", "repair"}
    assert not any(batch.complete for batch in live)
    assert names(live) == {"vc", "vd"}
    assert sub.stats()["delivered"] == sum(len(batch) for batch in live if batch.origin == "live")


def test_no_change_during_the_snapshot_is_missed(subscribe: Subscribe) -> None:
    """Links come and go all the time; at each look, the reader's view converges to the real links."""
    stop = threading.Event()
    home = Path("/proc/thread-self/ns/net").readlink()

    def churn() -> None:
        assert Path("/proc/thread-self/ns/net").readlink() == home
        for number in range(10_000):
            if stop.is_set():
                return
            ip(f"link add c{number % 5} type veth peer name d{number % 5}")
            ip(f"link del c{number % 5}")

    thread = threading.Thread(target=churn)
    thread.start()
    subs, states = [], []
    try:
        for _ in range(5):
            subs.append(subscribe("route", tables=["link"], snapshot=True))
            states.append(State("route", "link"))
    finally:
        stop.set()
        thread.join()
    ip("link add last type veth peer name tsal")
    for sub, state in zip(subs, states, strict=True):
        for batch in drain(sub, 0.2):
            state.apply(batch)
        assert state.complete
        assert {row["ifname"] for row in state["link"].values()} == links()


def test_snapshot_and_where_select_together(subscribe: Subscribe) -> None:
    ip("link add va type veth peer name vb")
    sub = subscribe("route", tables={"link": ["ifname"]}, where=nlbus.field("ifname") == "va", snapshot=True)
    assert names(until_complete(sub)) == {"va"}


def test_a_snapshot_makes_the_subscriber_ready(subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["link"], snapshot=True)
    assert select.select([sub], [], [], 0)[0] == [sub]
    assert nlbus.wait([sub], timeout=0) == [sub]
    until_complete(sub)
    assert nlbus.wait([sub], timeout=0) == []


def test_a_snapshot_without_objects_is_one_empty_batch(subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["nexthop"], snapshot=True)
    batches = list(sub.batches(timeout=0))
    assert [(len(batch), batch.origin, batch.complete) for batch in batches] == [(0, "snapshot", True)]


def test_asyncio_receives_the_snapshot_as_well() -> None:
    async def main() -> list[Batch]:
        async with AsyncSubscriber("route", tables=["nexthop"], snapshot=True) as sub:
            return [batch async for batch in sub.batches(timeout=0.1)]

    assert [batch.complete for batch in asyncio.run(main())] == [True]


def storm(sub: Subscriber) -> None:
    """More events than a buffer for ten holds."""
    ip(*(f"link set lo {'up' if i % 2 else 'down'}" for i in range(400)))


def test_after_an_overrun_the_current_objects_come_again(subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["link"], snapshot=True, buffer_events=10, on_loss="ignore")
    state = State("route", "link")
    for batch in until_complete(sub):
        state.apply(batch)
    ip("link add va type veth peer name vb")
    for batch in drain(sub, 0.1):
        state.apply(batch)
    storm(sub)
    ip("link del va", "link add vc type veth peer name vd")  # these events are lost
    batches = drain(sub, 0.2)
    assert sum(batch.loss.datagrams for batch in batches) == sub.stats()["dropped"] > 0
    origins = [batch.origin for batch in batches]
    lossy = next(i for i, batch in enumerate(batches) if batch.loss)
    assert "resync" in origins[lossy:]
    assert "resync" not in origins[: lossy + 1]
    again = [batch for batch in batches if batch.origin == "resync"]
    assert again[-1].complete
    for batch in batches:
        state.apply(batch)
    assert {row["ifname"] for row in state["link"].values()} == links() == {"lo", "vc", "vd"}
    assert drain(sub, 0.05) == []


def test_losses_that_a_snapshot_covers_cause_no_second_snapshot(subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["link"], snapshot=True, buffer_events=10, on_loss="ignore")
    until_complete(sub)
    storm(sub)
    batches = drain(sub, 0.2)
    assert [batch.complete for batch in batches if batch.origin == "resync"].count(True) == 1


def test_a_loss_that_is_raised_is_followed_by_a_snapshot_too(subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["link"], snapshot=True, buffer_events=10, on_loss="raise")
    until_complete(sub)
    storm(sub)
    with pytest.raises(LossError):
        while sub.recv(1):
            pass
    origins = [batch.origin for batch in drain(sub, 0.2)]
    assert origins[0] == "live"  # the batch of the error
    assert "resync" in origins


def test_processes_and_devices_have_snapshots(process_connector: None, subscribe: Subscribe) -> None:
    sub = subscribe("uevent", snapshot=True)
    devpaths = [path for b in until_complete(sub) for path in b.table("uevent")["devpath"].tolist()]
    assert "/devices/virtual/net/lo" in devpaths
    sub = subscribe("proc", tables=["comm"], snapshot=True)
    pids = [pid for b in until_complete(sub) for pid in b.table("comm")["process_tgid"].tolist()]
    assert 1 in pids


def test_a_state_of_connections_keeps_columns_that_a_change_lacks(subscribe: Subscribe) -> None:
    track_connections()
    sub = subscribe("conntrack", tables=["conntrack"], snapshot=True)
    state = State("conntrack", "conntrack")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        wait_until(lambda: "ESTABLISHED" in run("conntrack", "-L", "-p", "tcp"))
        for batch in [*until_complete(sub), *drain(sub, 0.2)]:
            state.apply(batch)
        [row] = [row for row in state["conntrack"].values() if row["orig_dport"] == server.getsockname()[1]]
        assert row["tcp_state"].lower() == "established"
        assert row["nl_op"] == "change"
        assert row["reply_sport"] == server.getsockname()[1]


@pytest.mark.parametrize(
    ("source", "more", "words"),
    [
        ("route", {"tables": ["link"], "all_nsid": True}, "all_nsid"),
        ("proc", {"tables": ["exit"]}, "proc exit is not dumpable"),
        ("bus", {"groups": 1}, "no snapshot of bus"),
    ],
)
def test_a_source_without_a_snapshot_is_refused(source: str, more: dict[str, object], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        Subscriber(source, snapshot=True, **more)  # type: ignore[arg-type]
