"""route: the kernel's events of real changes to links, addresses, neighbours, routes and rules."""

import struct
import time
from collections.abc import Callable

import pytest

from nlbus import Batch, KernelError, Subscriber
from tests.support import reference
from tests.support.sockets import drain, ip, payloads, proc_netlink, wait_until

Subscribe = Callable[..., Subscriber]

NEWLINK, DELLINK, NEWADDR, DELADDR, NEWROUTE, DELROUTE, NEWNEIGH, DELNEIGH = 16, 17, 20, 21, 24, 25, 28, 29
NEWRULE, DELRULE, NEWMULTICAST, NEWNEXTHOP = 32, 33, 56, 104
IFLA_IFNAME = 3
VETH = "link add va type veth peer name vb"


def heard(batches: list[Batch]) -> set[tuple[int, int]]:
    """(group, message type) of every message."""
    return {(int(g), int(t)) for b in batches for g, t in b.messages[["group", "type"]].tolist()}


def link_names(batches: list[Batch]) -> list[str]:
    names = []
    for batch in batches:
        for i, row in enumerate(batch.messages):
            if row["type"] in (NEWLINK, DELLINK):
                found, malformed = reference.attributes(batch.payload(i)[16:])
                assert not malformed
                names += [a.payload.rstrip(b"\0").decode() for a in found if a.type == IFLA_IFNAME]
    return names


def test_each_change_comes_by_its_group_and_with_its_type(subscribe: Subscribe) -> None:
    sub = subscribe("route")
    ip(VETH, "link set va up", "link set vb up")
    got = drain(sub, 0.05)
    assert heard(got) >= {(1, NEWLINK)}
    assert {"va", "vb"} <= set(link_names(got))
    for change, group, kind in [
        ("addr add 10.9.0.1/24 dev va", 5, NEWADDR),
        ("neigh add 10.9.0.3 lladdr 02:00:00:00:00:01 dev va", 3, NEWNEIGH),
        ("route add 10.10.0.0/16 via 10.9.0.2 dev va", 7, NEWROUTE),
        ("rule add pref 77 table 7", 8, NEWRULE),
        ("-6 addr add fd00::1/64 dev va nodad", 9, NEWADDR),
        ("-6 route add fd01::/64 dev va", 11, NEWROUTE),
        ("-6 rule add pref 78 table 7", 19, NEWRULE),
        ("-6 rule del pref 78", 19, DELRULE),
        ("nexthop add id 5 dev va", 32, NEWNEXTHOP),
        ("rule del pref 77", 8, DELRULE),
        ("route del 10.10.0.0/16", 7, DELROUTE),
        ("neigh del 10.9.0.3 dev va", 3, DELNEIGH),
        ("addr del 10.9.0.1/24 dev va", 5, DELADDR),
        ("link del va", 1, DELLINK),
    ]:
        ip(change)
        assert (group, kind) in heard(drain(sub, 0.02)), change
    assert sub.stats()["untrusted"] == sub.stats()["malformed"] == 0


def test_messages_come_from_the_kernel_portid_0_in_this_namespace(subscribe: Subscribe) -> None:
    sub = subscribe("route", groups="link")
    ip(VETH)
    got = drain(sub, 0.05)
    assert got
    for batch in got:
        assert set(batch.messages["portid"].tolist()) == {0}
        assert set(batch.messages["nsid"].tolist()) == {-1}


def test_only_the_requested_groups_are_received(subscribe: Subscribe) -> None:
    links, routes = (
        subscribe("route", groups=["link"]),
        subscribe("route", groups=("ipv4_route", "ipv6-route")),
    )
    ip(VETH, "link set va up", "addr add 10.9.0.1/24 dev va", "route add 10.10.0.0/16 dev va")
    assert {g for g, _ in heard(drain(links, 0.05))} == {1}
    assert {g for g, _ in heard(drain(routes, 0.05))} <= {7, 11}


def test_joining_and_leaving_while_the_kernel_sends(subscribe: Subscribe) -> None:
    sub = subscribe("route", groups="link")
    ip(VETH)
    drain(sub, 0.02)
    sub.leave("link")
    ip("link set va mtu 1400")
    assert drain(sub, 0.02) == []
    sub.join("link")
    ip("link set va mtu 1300")
    assert set(link_names(drain(sub, 0.02))) == {"va"}


def test_a_group_above_32_is_reported_by_its_number(subscribe: Subscribe) -> None:
    try:
        sub = subscribe("route", groups=("link", "ipv4_mcaddr", "ipv6_mcaddr"))
    except KernelError as error:
        pytest.skip(f"this kernel does not report multicast addresses (since 6.14): {error}")
    ip(VETH, "link set va up", "link set vb up", "addr add 10.9.0.1/24 dev va")
    got = heard(drain(sub, 0.1))
    assert (1, NEWLINK) in got
    # 224.0.0.1 and ff02::1, which every link joins when it comes up
    assert got & {(37, NEWMULTICAST), (38, NEWMULTICAST)}
    assert {g for g, _ in got} <= {1, 37, 38}


def test_joining_a_group_above_32_later_reports_its_number_too(subscribe: Subscribe) -> None:
    sub = subscribe("route", groups="link")
    try:
        sub.join("ipv6_mcaddr")
    except KernelError as error:
        pytest.skip(f"this kernel does not report multicast addresses (since 6.14): {error}")
    assert 38 in sub.groups
    ip(VETH, "link set va up", "link set vb up")
    assert (38, NEWMULTICAST) in heard(drain(sub, 0.1))
    sub.leave("ipv6_mcaddr")
    ip("link set va down")
    assert {g for g, _ in heard(drain(sub, 0.1))} == {1}


def test_groups_above_32_can_be_joined(subscribe: Subscribe) -> None:
    sub = subscribe("route", groups=("brvlan", 34, "tunnel"))
    assert list(sub.groups) == [33, 34, 35]
    assert len(sub.recv(0)) == 0


def test_a_burst_arrives_whole(subscribe: Subscribe) -> None:
    sub = subscribe("route", groups="ipv4_route")
    ip(VETH, "link set va up", "link set vb up", "addr add 10.9.0.1/24 dev va")
    drain(sub, 0.05)
    ip(*(f"route add 10.{10 + i // 256}.{i % 256}.0/24 dev va" for i in range(3000)))
    got = drain(sub, 0.1)
    destinations = set()
    for one in payloads(got):
        found, _ = reference.attributes(one[12:])
        destinations |= {a.payload for a in found if a.type == 1}
    assert len(destinations) == 3000
    assert not any(b.loss for b in got)


def test_an_overrun_is_counted_as_the_kernel_counts_it(subscribe: Subscribe) -> None:
    ip(VETH)
    before = time.time_ns()
    sub = subscribe("route", groups="link", buffer_events=4, on_loss="ignore")
    ip(*(f"link set va mtu {1000 + i}" for i in range(200)))
    got = drain(sub, 0.02)
    after = time.time_ns()
    drops = proc_netlink(sub).drops
    assert drops > 0
    assert sum(b.loss.datagrams for b in got) == sub.stats()["dropped"] == drops
    rows = [row for b in got for row in b.loss.rows]
    assert sum(int(row["count"]) for row in rows) == drops
    for row in rows:
        assert row["cause"] == "overrun"
        assert not row["exact"]
        assert before <= row["earliest"] <= row["latest"] <= after
    # Receiving continues normally.
    ip("link set va mtu 1500")
    assert link_names(drain(sub, 0.02))
    assert proc_netlink(sub).drops == drops


def test_a_second_overrun_is_dated_after_the_first(subscribe: Subscribe) -> None:
    ip(VETH)
    sub = subscribe("route", groups="link", buffer_events=4, on_loss="ignore")
    rows = []
    for start in (1000, 1200):
        ip(*(f"link set va mtu {start + i}" for i in range(100)))
        rows += [row for b in drain(sub, 0.02) for row in b.loss.rows]
        middle = time.time_ns()
        sub.recv(0)
        if start == 1000:
            boundary = middle
            assert all(row["latest"] <= boundary for row in rows)
            first = len(rows)
    assert len(rows) > first
    assert all(row["earliest"] >= rows[0]["latest"] for row in rows[first:])


def test_raw_route_by_number_receives_the_same(subscribe: Subscribe) -> None:
    sub, raw = subscribe("route", groups="link"), subscribe("raw:0", groups=1)
    named = subscribe("raw:route", groups=1)
    ip(VETH)
    wanted = payloads(drain(sub, 0.05))
    assert wanted
    assert payloads(drain(raw, 0.05)) == payloads(drain(named, 0.05)) == wanted


def test_select_and_from_datagrams_work_on_kernel_messages(subscribe: Subscribe) -> None:
    sub = subscribe("route", groups=("link", "ipv4_ifaddr"))
    ip(VETH, "addr add 10.9.0.1/24 dev va", "link set va mtu 1400")
    batches = drain(sub, 0.05)
    assert batches
    for batch in batches:
        part = batch.select([5])
        assert set(part.messages["type"].tolist()) <= {NEWADDR}
        datagrams = [
            reference.message(int(r["type"]), batch.payload(i)) for i, r in enumerate(batch.messages)
        ]
        again = Batch.from_datagrams("route", datagrams, group=1)
        assert payloads([again]) == payloads([batch])
    [address] = [p for b in batches for p in payloads([b.select([5])])]
    assert struct.unpack_from("=BB", address) == (2, 24)


def test_a_fresh_namespace_is_silent_until_something_happens(subscribe: Subscribe) -> None:
    sub = subscribe("route")
    assert len(sub.recv(0.05)) == 0
    ip("link set lo up")
    wait_until(lambda: len(sub.recv(0.1)) > 0)
