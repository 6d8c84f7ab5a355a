"""where= in the kernel: the same rows as without, fewer messages, no drops, and the bus's books in order."""

from __future__ import annotations

import socket as _socket
import subprocess
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from nlbus import Batch, Publisher, Subscriber, field, snapshot
from nlbus.cli.main import commands
from nlbus.filters.assemble import MOST
from nlbus.filters.sources import Narrowing
from nlbus.listener.engine import Engine
from nlbus.listener.rule import Rule
from nlbus.sources import find
from nlbus.table.query import Query
from tests.support.conditions import any_condition
from tests.support.storms import connect_and_close, track

Subscribe = Callable[..., Subscriber]
TABLES = ("link", "addr", "route", "neigh", "rule")
SETUP = """
sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
ip link add v0 type veth peer v1; ip link set v0 up; ip link set v1 up; ip link set lo up
"""
OPERATIONS = """
link set v0 mtu 1400
link set v0 alias hello
addr add 10.9.0.1/24 dev v0
addr add fd00::1/64 dev v0
addr add 10.9.1.1/24 dev v1
route add 10.20.0.0/16 via 10.9.0.2 dev v0 table 100 metric 7
route add 10.21.0.0/16 dev v0 table 200 mtu 1300
route add fd01::/64 dev v1 metric 9
route replace 10.21.0.0/16 dev v1 table 200
rule add from 10.0.0.0/8 table 100 pref 1000
rule add iif v0 fwmark 5 lookup 200 pref 1001
neigh add 10.9.0.7 lladdr 02:00:00:00:00:07 dev v0
neigh replace 10.9.0.7 lladdr 02:00:00:00:00:08 dev v0
neigh del 10.9.0.7 dev v0
rule del pref 1001
rule del pref 1000
route del 10.20.0.0/16 table 100
route del 10.21.0.0/16 table 200
route del fd01::/64 dev v1
addr del 10.9.0.1/24 dev v0
addr del 10.9.1.1/24 dev v1
addr del fd00::1/64 dev v0
link set v0 alias bye
link set v0 mtu 1500
"""


def operate() -> None:
    subprocess.run(["ip", "-batch", "-"], input=OPERATIONS, text=True, check=True)


def rows(sub: Subscriber, table: str, quiet: float = 0.3) -> list[dict[str, Any]]:
    """What has come to the table."""
    found = [
        row for batch in sub.batches(timeout=quiet) for row in batch.table(table).iter_rows(absent=False)
    ]
    return [*map(alike, found)]


def alike(row: dict[str, Any]) -> dict[str, Any]:
    """Without what differs between sockets."""
    return {name: value for name, value in row.items() if name not in ("nl_row", "nl_time")}


@pytest.mark.parametrize("table", TABLES)
def test_random_conditions_bring_the_same_rows_as_without_a_filter(table: str, subscribe: Subscribe) -> None:
    subprocess.run(SETUP, shell=True, check=True)
    with Subscriber("route", tables=[table]) as sub:
        operate()
        seen = sub.collect(table, seconds=0.3)
    seen = seen.select(column.name for column in seen.columns if column.name != "nl_row")
    rng = Random(table)
    conditions = [any_condition(rng, seen) for _ in range(25)]
    whole = subscribe("route", tables=[table])
    narrow = [subscribe("route", tables=[table], where=condition) for condition in conditions]
    operate()
    every = [*whole.batches(timeout=0.3)]
    filtered = 0
    for condition, sub in zip(conditions, narrow, strict=True):
        expected = [
            alike(row)
            for batch in every
            for row in batch.table(table).filter(condition).iter_rows(absent=False)
        ]
        assert rows(sub, table, quiet=0.02) == expected, condition
        filtered += sub.stats()["delivered"] < sum(map(len, every))
        assert sub.stats()["dropped"] == 0
    assert filtered > 5


def test_connections_by_port(subscribe: Subscribe) -> None:
    track()
    where = field("orig_dport").isin([9, 4242]) | (field("orig_proto") == "udp")
    whole, narrow = (
        subscribe("conntrack", tables=["conntrack"], where=where, kernel_filter=on) for on in (False, True)
    )
    connect_and_close()
    expected = rows(whole, "conntrack")
    assert rows(narrow, "conntrack") == expected
    assert narrow.stats()["delivered"] < whole.stats()["delivered"]


def test_a_filtered_message_is_no_drop_and_takes_no_room(subscribe: Subscribe) -> None:
    subprocess.run(SETUP, shell=True, check=True)
    where = field("table") == 100
    sub = subscribe("route", groups="ipv4_route", tables=["route"], where=where, buffer_events=4)
    lines = "".join(f"route add 10.{i >> 8}.{i & 255}.0/24 dev v0 table 200\n" for i in range(1000))
    lines += "route add 10.255.0.0/24 dev v0 table 100\n"
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)
    assert [row["dst"] for row in rows(sub, "route")] == ["10.255.0.0"]
    stats = sub.stats()
    assert (stats["delivered"], stats["dropped"]) == (1, 0)


def test_other_tables_pass_unless_tables_are_named(subscribe: Subscribe) -> None:
    where = field("process_pid") > 0
    assert "pass" in Narrowing(find("route"), {"link": [field("mtu") > 5]}, others=True).explain(0)[1]
    with pytest.raises(LookupError):
        Subscriber("route", where=where)


def test_a_snapshot_leaves_the_kernel_unfiltered(subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["link"], where=field("mtu") > 9, snapshot=True)
    assert "kernel filters" not in sub.explain()
    assert "kernel filters" in subscribe("route", tables=["link"], where=field("mtu") > 9).explain()


def test_every_program_is_accepted(subscribe: Subscribe) -> None:
    """Also very long ones: then a shorter one, which passes more."""
    for values in (1, 300, 9000):
        where = field("ifname").isin([f"eth{i}" for i in range(values)]) & (field("mtu") != 5)
        sub = subscribe("route", tables=["link"], where=where)
        narrowing = Narrowing(find("route"), {"link": [where]}, others=False)
        assert all(len(program) <= 8 * MOST for program in narrowing)
        assert "ifname in" in sub.explain()
        assert "takes no program" not in sub.explain()


def test_the_filter_changes_with_the_rules(subscribe: Subscribe) -> None:
    subprocess.run(SETUP, shell=True, check=True)

    class Handler:
        def __init__(self) -> None:
            self.seen: list[str] = []

        def handle(self, rule: Rule, event: dict[str, Any], ending: int) -> None:
            self.seen.append(event["dst"])

    handler = Handler()

    def rule(table: int) -> Rule:
        return Rule(source="route", tables="route", handler=handler, where=field("table") == table)

    engine = Engine([rule(100)])
    try:
        for table in (100, 200):
            engine.replace([rule(table)])
            for number in (100, 200):
                subprocess.run(
                    f"ip route add 10.{table}.{number}.0/24 dev v0 table {number}", shell=True, check=True
                )
            engine.run(seconds=0.3)
        assert handler.seen == ["10.100.100.0", "10.200.200.0"]
    finally:
        engine.close()


# -- the bus ------------------------------------------------------------------------------------------


def send(publisher: Publisher, events: int) -> None:
    for i in range(events):
        publisher.publish(bytes(8), groups=(1, 7) if i % 2 else 1, type=0x100 if i % 5 == 0 else 0x200)


def received(sub: Subscriber) -> Iterator[Batch]:
    return sub.batches(timeout=0.3)


@pytest.mark.parametrize("room", [None, 20])
def test_a_filter_by_groups_leaves_the_ledger_exact(room: int | None, subscribe: Subscribe) -> None:
    sub = subscribe(groups=(1, 7), where=field("groups") == 1, buffer_events=room, on_loss="ignore")
    with Publisher() as publisher:
        send(publisher, 1000)
    delivered = sum(map(len, received(sub)))
    stats = sub.stats()
    assert delivered + stats["lost"] <= 500
    assert delivered + stats["lost"] == 500 or stats["open"]
    assert stats["filtered"] == 0
    assert (stats["lost"] + stats["open"] == 0) == (room is None)
    assert [stream["groups"] for stream in stats["streams"]] == [1]


def test_a_filtered_stream_is_neither_lost_nor_delivered(subscribe: Subscribe) -> None:
    """Heartbeats, chains and idle pauses of streams that nobody wants leave no gap."""
    sub = subscribe(groups=(1, 7), where=field("groups") == 1)
    with Publisher(linger=0.01) as publisher:
        for _ in range(3):
            send(publisher, 200)
            publisher.flush()
            time.sleep(0.15)
    assert sum(map(len, received(sub))) == 300
    stats = sub.stats()
    assert (stats["lost"], stats["open"], stats["filtered"]) == (0, 0, 0)


def test_a_filter_by_type_counts_what_it_filters(subscribe: Subscribe) -> None:
    sub = subscribe(groups=(1, 7), where=field("type") == 0x100)
    with Publisher() as publisher:
        send(publisher, 1000)
    types = [kind for batch in received(sub) for kind in batch.events["type"].tolist()]
    assert types == [0x100] * 200
    stats = sub.stats()
    assert (stats["delivered"], stats["lost"], stats["dropped"], stats["open"]) == (200, 0, 0, 0)
    # What came before the first event of each stream is its baseline.
    assert 795 <= stats["filtered"] <= 800
    for stream in stats["streams"]:
        assert stream["delivered"] == 100
        assert stream["next_seq"] == 500


def test_losses_beside_a_filter_by_type_are_counted_in_datagrams(subscribe: Subscribe) -> None:
    sub = subscribe(groups=1, where=field("type") == 0x100, buffer_events=20, on_loss="ignore")
    with Publisher() as publisher:
        for i in range(1000):
            publisher.publish(bytes(8), groups=1, type=0x100 if i % 5 == 0 else 0x200)
    batches = [*received(sub)]
    delivered = sum(map(len, batches))
    lost = sum(batch.loss.datagrams for batch in batches)
    assert delivered < 200
    # A heartbeat may be among the dropped.
    assert 200 <= delivered + lost <= 202
    stats = sub.stats()
    assert (stats["dropped"], stats["lost"], stats["open"]) == (lost, 0, 0)


def test_events_of_a_type_in_mixed_datagrams_are_selected_by_the_decoder(subscribe: Subscribe) -> None:
    sub = subscribe(groups=1, where=field("type") == 0x100)
    with Publisher(linger=1.0) as publisher:
        for i in range(100):
            publisher.publish(bytes([i]), groups=1, type=0x100 + i % 2)
    batches = [*received(sub)]
    assert [batch.payload(i)[0] for batch in batches for i in range(len(batch))] == [*range(0, 100, 2)]
    assert sub.stats()["lost"] == 0


# -- sources that filter themselves ------------------------------------------------------------------


def test_proc_sends_the_kinds_that_are_wanted(process_connector: None, subscribe: Subscribe) -> None:
    sub = subscribe("proc", tables=["exec"], where=field("process_pid") > 0)
    assert "the kernel sends exec only" in sub.explain()
    others = subscribe("proc", tables=["exec", "exit"], where=field("process_pid") > 0)
    found = []
    for _ in range(3):
        done = subprocess.Popen(["/bin/true"])
        done.wait()
        found.append(done.pid)
    # A busy machine is never quiet.
    executed = sub.collect("exec", seconds=0.5)["process_pid"].tolist()
    assert [pid for pid in executed if pid in found] == found
    assert {*others.collect("exit", seconds=0.5)["process_pid"].tolist()} >= {*found}


def test_a_dump_of_connections_is_filtered_by_protocol_and_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    track()
    with _socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with _socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
            with _socket.socket(type=_socket.SOCK_DGRAM) as udp:
                udp.sendto(b"x", ("127.0.0.1", port))
                udp.sendto(b"x", ("127.0.0.1", 9))
            whole = snapshot("conntrack", "conntrack")
            assert len(whole) == 3
            received: list[int] = []
            counted = Query.table

            def table(self: Query, batch: Any, name: Any) -> Any:
                received.append(len(batch))
                return counted(self, batch, name)

            monkeypatch.setattr(Query, "table", table)
            for where, rows, most in (
                ((field("orig_proto") == "tcp") & (field("orig_dport") == port), 1, 1),
                ((field("reply_proto") == "udp") & (field("reply_sport") == 9), 1, 1),
                ((field("orig_proto") == "udp"), 2, 2),
                ((field("orig_dport") == port), 2, 3),  # the kernel knows ports of a protocol only
                ((field("orig_proto") == "sctp"), 0, 0),
            ):
                received.clear()
                found = snapshot("conntrack", "conntrack", where=where)
                assert len(found) == rows
                assert sum(received) <= most


def test_the_command_line_filters_messages_without_tables() -> None:
    for condition, words in (("type == 256", "header: type == 256: kernel"), ("portid == 1", "decoder")):
        found = CliRunner().invoke(commands, ["listen", "bus", "-g", "1", "-w", condition, "--explain"])
        assert found.exit_code == 0, found.output
        assert (words in found.output) is (condition == "type == 256")
    wrong = CliRunner().invoke(commands, ["listen", "bus", "-g", "1", "-w", "typ == 256"])
    assert wrong.exit_code
    assert "did you mean 'type'" in wrong.output
