"""Groups of bridges, and statistics of traffic control, beside `bridge` and `tc`."""

import json
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from nlbus import Subscriber, field, snapshot
from tests.support.sockets import drain, ip

Subscribe = Callable[..., Subscriber]
GROUPS = "239.1.1.1", "ff1e::5"


def run(*words: str) -> str:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if "not supported" in done.stderr or "Unknown" in done.stderr:
        pytest.skip(f"this kernel: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def bridge(netns: int) -> None:
    """br0 with the port v0, up."""
    ip("link add br0 type bridge", "link add v0 type veth peer name v1", "link set v0 master br0")
    ip("link set br0 up", "link set v0 up", "link set v1 up")


def rows(table: str) -> list[dict[str, Any]]:
    return list(snapshot("route", table).iter_rows(absent=False))


def test_groups_are_those_of_bridge(bridge: None) -> None:
    for group, kind in zip(GROUPS, ("permanent", "temp"), strict=True):
        run("bridge", "mdb", "add", "dev", "br0", "port", "v0", "grp", group, kind)
    (theirs,) = json.loads(run("bridge", "-j", "-d", "mdb"))
    names = {link["ifindex"]: link["ifname"] for link in snapshot("route", "link").iter_rows()}
    ours = {
        (names[row["ifindex"]], names[row["port"]], row["group"], row["state"], row.get("protocol"))
        for row in rows("mdb")
    }
    assert ours == {
        (each["dev"], each["port"], each["grp"], each["state"], each.get("protocol"))
        for each in theirs["mdb"]
    }
    assert {group for _, _, group, _, _ in ours} >= set(GROUPS)


def test_events_name_each_group(bridge: None, subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["mdb"], snapshot=True)
    drain(sub, 0.2)
    for action in "add", "del":
        run("bridge", "mdb", action, "dev", "br0", "port", "v0", "grp", GROUPS[0], "permanent")
    found = [row for batch in drain(sub, 0.3) for row in batch.table("mdb").iter_rows(absent=False)]
    ours = [(row["nl_op"], row["group"]) for row in found if row["group"] == GROUPS[0]]
    assert ours == [("new", GROUPS[0]), ("del", GROUPS[0])]
    assert GROUPS[0] not in {row["group"] for row in sub.state["mdb"].values()}


def test_a_condition_about_one_of_several_rows(bridge: None, subscribe: Subscribe) -> None:
    for group in GROUPS:
        run("bridge", "mdb", "add", "dev", "br0", "port", "v0", "grp", group, "permanent")
    found = snapshot("route", "mdb", where=field("group") == GROUPS[1])
    assert [row["group"] for row in found.iter_rows()] == [GROUPS[1]]


def test_statistics_are_those_of_tc(bridge: None) -> None:
    run("tc", "qdisc", "add", "dev", "v1", "root", "handle", "1:", "htb", "default", "1")
    run(
        "tc",
        "class",
        "add",
        "dev",
        "v1",
        "parent",
        "1:",
        "classid",
        "1:1",
        "htb",
        "rate",
        "8mbit",
        "ceil",
        "16mbit",
    )
    ip("addr add 10.0.0.1/24 dev v1", "neigh add 10.0.0.9 lladdr 02:00:00:00:00:01 dev v1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(5):
            sender.sendto(bytes(100), ("10.0.0.9", 9))
    while True:  # packets of IPv6 come between
        before, (ours,), after = (
            json.loads(run("tc", "-s", "-j", "qdisc", "show", "dev", "v1")),
            [row for row in rows("qdisc") if row.get("kind") == "htb"],
            json.loads(run("tc", "-s", "-j", "qdisc", "show", "dev", "v1")),
        )
        if before == after:
            break
    (theirs,) = before
    assert ours["stats_packets"] == theirs["packets"] >= 5
    for name in ("bytes", "drops", "overlimits", "requeues", "backlog", "qlen"):
        assert ours[f"stats_{name}"] == theirs[name], name
    assert ours["htb_rate2quantum"] == theirs["options"]["r2q"]
    (tclass,) = rows("tclass")
    assert (tclass["handle"], tclass["htb_rate"], tclass["htb_ceil"]) == (0x10001, 1_000_000, 2_000_000)
    assert tclass["stats_packets"] >= 5
    assert [row["ifindex"] for row in rows("tclass")] == [
        row["ifindex"] for row in snapshot("route", "tclass", where=field("dev") == "v1").iter_rows()
    ]


def test_nothing_of_the_kernel_is_unknown(bridge: None) -> None:
    run("tc", "qdisc", "add", "dev", "v1", "root", "handle", "1:", "htb", "default", "1")
    run("tc", "class", "add", "dev", "v1", "parent", "1:", "classid", "1:1", "htb", "rate", "8mbit")
    run("tc", "qdisc", "add", "dev", "v0", "clsact")
    run("bridge", "mdb", "add", "dev", "br0", "port", "v0", "grp", GROUPS[0], "permanent")
    for table in ("qdisc", "tclass", "tfilter", "chain", "mdb"):
        found = snapshot("route", table)
        assert (found.unknown, found.malformed, found.damaged.sum() if hasattr(found, "damaged") else 0) == (
            0,
            0,
            0,
        )
