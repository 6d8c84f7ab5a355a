"""nftables' tables, compared with what `nft -j` lists and monitors of the same ruleset."""

import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nlbus import State, Subscriber, field, snapshot
from tests.support.sockets import drain, ip, run, wait_until

Subscribe = Callable[..., Subscriber]
Row = dict[str, Any]

RULESET = """
table inet t {
  counter c1 { packets 3 bytes 4 }
  quota q1 { over 5 mbytes }
  limit l1 { rate 3/second burst 5 packets; }
  ct helper ftp { type "ftp" protocol tcp; }
  set s {
    type ipv4_addr . inet_service; flags interval,timeout; timeout 1h;
    elements = { 10.0.0.0/8 . 80, 10.1.1.1 . 90 timeout 5m comment "x" }
  }
  map m { type inet_service : verdict; elements = { 80 : accept, 81 : jump sub } }
  map m2 { type inet_service : ipv4_addr; counter; elements = { 80 : 1.2.3.4, 81 : 2.3.4.5 } }
  chain sub { }
  chain out {
    type filter hook output priority 5; policy accept;
    ip daddr . tcp dport @s counter name c1 log prefix "hey" group 4 drop
    tcp dport vmap @m
    meta mark 5 ct state new,established limit rate 3/second counter comment "c"
    udp dport 9 meta nftrace set 1 jump sub
    tcp dport { 1, 2-5 } reject with tcp reset
    fib saddr type local quota name "q1"
  }
  chain nat { type nat hook postrouting priority 100; ip daddr 10.0.0.1 snat ip to 10.1.0.1; }
}
table netdev n { chain i { type filter hook ingress device lo priority 0; }; }
"""
KINDS = ("table", "chain", "rule", "set", "object")
COMMANDS = (
    "add chain inet t more",
    "add rule inet t more counter accept",
    "add element inet t m { 82 : drop }",
    "delete element inet t m { 82 }",
    "add set inet t fresh { type ipv4_addr; }",
    "delete set inet t fresh",
    "rename chain inet t more less",
    "flush chain inet t less",
    "delete chain inet t less",
    "add counter inet t c9",
    "delete counter inet t c9",
)
# What nft calls the objects that have a table of their own in the kernel.
OURS = {"map": "set", "counter": "object", "quota": "object", "limit": "object", "ct helper": "object"}


@pytest.fixture
def _rules() -> None:
    ip("link set lo up")
    run("nft", "-f", "-", text=RULESET)


@pytest.fixture
def monitor() -> Iterator[Callable[..., Callable[[], str]]]:
    """monitor("-j"): what `nft monitor` prints until the function that it returns is called."""
    tool = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin")
    if tool is None:
        pytest.skip("no `nft` command: install it")
    started: list[subprocess.Popen[str]] = []

    def listeners() -> int:
        lines = Path("/proc/thread-self/net/netlink").read_text().splitlines()[1:]
        return sum(line.split()[1] == "12" and int(line.split()[3], 16) != 0 for line in lines)

    def start(*arguments: str) -> Callable[[], str]:
        before = listeners()
        process = subprocess.Popen([tool, *arguments], stdout=subprocess.PIPE, text=True)
        started.append(process)
        wait_until(lambda: listeners() > before)

        def stop() -> str:
            process.send_signal(signal.SIGINT)
            return process.communicate()[0]

        return stop

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def identity(kind: str, of: Row) -> tuple[Any, ...]:
    """What tells an object from others, of a row or of nft's JSON."""
    chain = of.get("chain") if kind == "rule" else None
    return kind, of["family"], of.get("table"), chain, of.get("name"), of.get("handle")


def listed(text: str) -> list[tuple[str, Row]]:
    """The objects of `nft -j list ruleset`, by the table that has them."""
    found = [next(iter(each.items())) for each in json.loads(text)["nftables"]]
    return [(OURS.get(kind, kind), of) for kind, of in found if kind != "metainfo"]


@pytest.mark.usefixtures("_rules")
def test_snapshots_have_the_objects_that_nft_lists() -> None:
    theirs = listed(run("nft", "-j", "-a", "list", "ruleset"))
    for kind in KINDS:
        found = snapshot("nftables", kind)
        assert (found.unknown, found.malformed) == (0, 0)
        rows = [*found.iter_rows(absent=False)]
        # nft lists anonymous sets within their rules.
        named = [row for row in rows if "ANONYMOUS" not in row.get("flags", ())]
        ours = {identity(kind, row) for row in named}
        assert ours == {identity(kind, of) for name, of in theirs if name == kind}
        assert len(ours) == len(named) > 0


@pytest.mark.usefixtures("_rules")
def test_values_are_those_that_nft_lists() -> None:
    theirs = listed(run("nft", "-j", "-a", "list", "ruleset"))
    chains = {row["handle"]: row for row in snapshot("nftables", "chain").iter_rows() if row["table"] == "t"}
    hooks = {"postrouting": 4, "output": 3}
    for kind, of in theirs:
        if kind == "chain" and "hook" in of and of["table"] == "t":
            row = chains[of["handle"]]
            assert (row["type"], row["hook_hooknum"], row["hook_priority"], row["policy"]) == (
                of["type"], hooks[of["hook"]], of["prio"], of["policy"],
            )  # fmt: skip
    (counter,) = snapshot("nftables", "object", where=field("type") == "counter").iter_rows()
    assert (counter["counter_packets"], counter["counter_bytes"]) == (3, 4)
    (netdev,) = snapshot("nftables", "chain", where=field("family") == "netdev").iter_rows()
    assert netdev["hook_devs"] == ["lo"]
    (rule,) = [row for row in snapshot("nftables", "rule").iter_rows() if "log" in row["expr_name"]]
    at = rule["expr_name"].index
    assert rule["expr_payload_offset"][at("payload")] == 16
    assert rule["expr_lookup_set"][at("lookup")] == "s"
    assert rule["expr_objref_imm_name"][at("objref")] == "c1"
    assert (rule["expr_log_prefix"][at("log")], rule["expr_log_group"][at("log")]) == ("hey", 4)
    assert rule["expr_immediate_data_verdict_code"][at("immediate")] == "drop"


@pytest.mark.usefixtures("_rules")
def test_elements_are_those_that_nft_lists() -> None:
    found = snapshot("nftables", "element")
    assert (found.unknown, found.malformed) == (0, 0)
    rows = [*found.iter_rows(absent=False)]
    ports = {
        (row["set"], int.from_bytes(row["key_value"], "big")): row
        for row in rows
        if row["set"] in ("m", "m2")
    }
    assert ports["m", 80]["data_verdict_code"] == "accept"
    assert ports["m", 81]["data_verdict_chain"] == "sub"
    assert ports["m2", 80]["data_value"] == bytes([1, 2, 3, 4])
    assert ports["m2", 80]["expr_name"] == "counter"
    limited = [row for row in rows if row["set"] == "s" and "timeout" in row]
    assert [row["timeout"] for row in limited] == [300_000]
    per_set = {name: sum(row["set"] == name for row in rows) for name in ("s", "m", "m2")}
    sets = snapshot("nftables", "set")
    assert per_set == {row["name"]: 2 for row in sets.iter_rows() if row["name"] in per_set}


@pytest.mark.usefixtures("_rules")
def test_events_are_those_of_nft(subscribe: Subscribe, monitor: Callable[..., Callable[[], str]]) -> None:
    stop = monitor("-j", "-a", "monitor")
    sub = subscribe("nftables")
    for command in COMMANDS:
        run("nft", command)
    batches = drain(sub, 0.2, atleast=1)
    rows = [row for batch in batches for row in batch.rows()]
    for batch in batches:
        tables = [batch.table(name) for name in (*KINDS, "element", "flowtable", "generation")]
        assert [(each.unknown, each.malformed) for each in tables] == [(0, 0)] * len(tables)
    ours = [
        ({"new": "add", "del": "delete"}[row["nl_op"]], row["nl_table"], row.get("name") or row.get("set"))
        for row in rows
        if row["nl_table"] != "generation"
    ]
    theirs = []
    for line in filter(None, stop().splitlines()):
        ((verb, what),) = json.loads(line).items()
        ((kind, of),) = what.items()
        name = of["elem"] if kind == "element" else of.get("name")
        theirs.append((verb, OURS.get(kind, kind), of["name"] if kind == "element" else name))
    assert ours == theirs
    generations = [row["id"] for row in rows if row["nl_table"] == "generation"]
    assert generations == [*range(generations[0], generations[0] + len(COMMANDS))]
    assert {row["proc_name"] for row in rows if row["nl_table"] == "generation"} == {"nft"}


@pytest.mark.usefixtures("_rules")
def test_the_way_of_a_packet_is_that_of_nft(
    subscribe: Subscribe, monitor: Callable[..., Callable[[], str]]
) -> None:
    stop = monitor("-a", "monitor", "trace")
    sub = subscribe("nftables", tables=["trace"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"x", ("127.0.0.1", 9))
    tables = [batch.table("trace") for batch in drain(sub, 0.1, atleast=1)]
    assert [(each.unknown, each.malformed) for each in tables] == [(0, 0)] * len(tables)
    rows = [row for each in tables for row in each.iter_rows(absent=False)]
    said = [line for line in stop().splitlines() if line.startswith("trace id")]
    theirs = [(line.split()[2], line.split()[5]) for line in said if " packet: " not in line]
    # nft leaves out the ends of chains, which are rules without a handle.
    shown = [row for row in rows if row["type"] != "rule" or "rule_handle" in row]
    assert [(f"{row['id']:08x}", row["chain"]) for row in shown] == theirs
    assert ("rule", "sub", "continue") in [
        (row["type"], row["chain"], row.get("verdict_code")) for row in rows
    ]
    first = rows[0]
    assert (first["type"], first["verdict_code"], first["verdict_chain"]) == ("rule", "jump", "sub")
    assert first["network_header"][16:20] == bytes([127, 0, 0, 1])
    assert int.from_bytes(first["transport_header"][2:4], "big") == 9
    assert [row["type"] for row in rows if row["chain"] == "out"][-1] == "policy"
    assert not any("network_header" in row for row in rows if row["chain"] == "sub")


@pytest.mark.usefixtures("_rules")
def test_a_state_follows_the_ruleset(subscribe: Subscribe) -> None:
    tables = ("table", "chain", "rule", "set", "element", "object")
    sub = subscribe("nftables", tables=tables, snapshot=True)
    state = State("nftables", *tables)
    for command in COMMANDS[:7]:
        run("nft", command)

    def same() -> bool:
        for batch in drain(sub, 0.02):
            state.apply(batch)
        return all(contents(state[name]) == contents(snapshot("nftables", name)) for name in tables)

    wait_until(same)
    run("nft", "delete table inet t")
    wait_until(same)
    assert len(state["table"]) == 1


def contents(table: Any) -> list[str]:
    volatile = ("use", "count", "expiration", "position")
    names = [column.name for column in table.columns]
    rows = table.select([name for name in names if not name.startswith("nl_") and name not in volatile])
    return sorted(str(row) for row in rows.iter_rows(absent=False))
