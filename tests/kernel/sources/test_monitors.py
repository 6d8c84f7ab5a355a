"""nlbus's view of real events compared with the output of the standard monitoring programs."""

import re
from collections.abc import Callable
from typing import Any

from nlbus import Subscriber
from tests.support.cli import Listen
from tests.support.ip_monitor import Writer, of_events
from tests.support.monitors import Monitor, Udevd, tool
from tests.support.sockets import ROUTE, UEVENT, drain, ip

NEXTHOP = 1 << 31  # the last group that `ip monitor` joins
GROUPS = (
    "link,ipv4_ifaddr,ipv6_ifaddr,ipv4_route,ipv6_route,neigh,ipv4_rule,ipv6_rule,ipv4_netconf,ipv6_netconf,"
    "nexthop"
)
NOT_PRINTED = {"UDEV_DATABASE_VERSION=1"}  # internal to udev's database; udevadm does not print it
CHANGES = (
    "link add va type veth peer name vb",
    "link set vb up",
    "link set va up",
    "link set va mtu 1400",
    "addr add 10.0.0.1/24 brd + dev va",
    "addr add 10.1.0.1 peer 10.1.0.2/32 dev va valid_lft 5000 preferred_lft 4000",
    "-6 addr add fd00::1/64 dev va nodad",
    "route add 10.9.0.0/16 via 10.0.0.2 dev va src 10.0.0.1 metric 7 proto static mtu 1300",
    "route add 10.7.0.0/16 nexthop via 10.0.0.2 dev va weight 3 nexthop via 10.0.0.3 dev va",
    "-6 route add fd09::/64 via fd00::2 dev va metric 5 pref high",
    "route add blackhole 10.6.0.0/16",
    "nexthop add id 5 dev va",
    "route add 10.8.0.0/16 nhid 5",
    "rule add pref 77 fwmark 3 lookup 1000",
    "-6 rule add pref 78 from fd00::9 lookup main",
    "neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev va nud stale",
    "-6 neigh add fd00::9 lladdr 02:00:00:00:00:0a dev va router",
    "neigh del 10.0.0.9 dev va",
    "rule del pref 77",
    "route del 10.9.0.0/16",
    "link del va",
)


def test_each_line_of_ip_monitor_is_a_row_of_route(listen: Callable[..., Listen]) -> None:
    here = listen("route", "-o", "json", "-g", GROUPS)
    with Monitor(ROUTE, NEXTHOP, tool("ip", "iproute2"), "-o", "-d", "monitor", "all") as monitor:
        for change in CHANGES:
            ip(change)
        theirs = of_events(monitor.lines("[LINK]Deleted 2: vb"))
    rows = [here.record()]
    while [rows[-1].get(key) for key in ("nl_table", "nl_op", "ifname")] != ["link", "del", "vb"]:
        rows.append(here.record())
    writer = Writer(rows)
    assert [writer.line(row) for row in rows] == theirs


def of_udevadm(printed: str) -> dict[int, list[str]]:
    """The properties of each event printed by `udevadm monitor --property`, by SEQNUM."""
    events = re.split(r"^(?:KERNEL|UDEV) *\[.*\n", printed, flags=re.MULTILINE)[1:]
    return {
        int(re.findall("^SEQNUM=(.*)$", event, re.M)[0]): sorted(event.split("\n")[:-2]) for event in events
    }


def of_rows(sub: Subscriber, quiet: float) -> dict[int, list[str]]:
    """The properties of each row of uevent, by SEQNUM."""
    rows: list[dict[str, Any]] = [
        row for batch in drain(sub, quiet) for row in batch.table("uevent").iter_rows()
    ]
    return {row["seqnum"]: sorted(set(row["env"]) - NOT_PRINTED) for row in rows}


def test_uevents_equal_those_of_udevadm_monitor(subscribe: Callable[..., Subscriber]) -> None:
    sub = subscribe("uevent")
    with Monitor(UEVENT, 1, tool("udevadm", "udev"), "monitor", "--kernel", "--property") as monitor:
        ip("link add va type veth peer name vb", "link set va name vc", "link del vb")
        theirs, ours = of_udevadm(monitor.end()), of_rows(sub, 0.1)
    assert len(ours) > 10
    assert ours == theirs


def test_udevs_messages_equal_those_of_udevadm_monitor(subscribe: Callable[..., Subscriber]) -> None:
    sub = subscribe("uevent", groups="udev")
    udevadm = tool("udevadm", "udev")
    rules = 'SUBSYSTEM=="net", ENV{NLBUS}="heard it", TAG+="nlbus"\n'
    with Udevd(rules), Monitor(UEVENT, 2, udevadm, "monitor", "--udev", "--property") as monitor:
        ip("link add va type veth peer name vb", "link set va name vc", "link del vb")
        theirs, ours = of_udevadm(monitor.end(1)), of_rows(sub, 0.1)
    assert sum("NLBUS=heard it" in env for env in ours.values()) >= 4
    assert ours == theirs
