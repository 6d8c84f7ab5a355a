"""Conditions that the kernel checks give the same rows as filtering afterwards, alone and in pairs."""

import errno
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain, combinations
from pathlib import Path

import pytest

from nlbus import Expression, KernelError, State, Subscriber, Table, field, snapshot
from nlbus.bus import snapshot as dumping
from nlbus.kernel.requests import Requests
from nlbus.schema.schema import Dump, Filter
from nlbus.sources import find
from nlbus.sources.route.link import SKIP_STATS
from nlbus.table.conditions import parse
from nlbus.table.query import Query
from nlbus.table.received import SNAPSHOT
from tests.support.multicast_routing import multicast_routes
from tests.support.route_scene import Scene
from tests.support.sockets import drain, ip, run, track_connections

RTM_GETMULTICAST, RTA_TABLE = 58, 15
# These change while nothing happens.
RESTLESS = ("nl_row", "nl_time", "cacheinfo_", "timeout", "expires", "stats")
MORE = (
    "nexthop add id 6 blackhole",
    "route add 10.30.0.0/16 nhid 6",
    "-6 nexthop add id 7 blackhole",
    "-6 route add fd30::/64 nhid 7",
    "route add 10.31.0.0/16 nhid 31",
    "route add 10.32.0.0/16 dev vb table 5000",
    "-6 route add fd32::/64 dev vb table 5000",
    "route add throw 10.33.0.0/16 proto 99",
    "route add unicast 10.34.0.0/16 dev va proto 17",
    "-6 route add unreachable fd34::/64 proto static",
    "route add 10.35.0.0/16 nexthop dev va nexthop dev vb",
    "neigh add proxy 10.1.0.6 dev vb",
    "-6 neigh add proxy fd00::6 dev va",
    "-6 neigh add fd00::77 lladdr 02:00:00:00:00:07 dev vb",
    "rule add pref 90 table 5000",
    "-6 rule add pref 91 table 5000",
)
IPV6 = "table ip6 t { chain out { type filter hook output priority 0; ct state new accept; }; }"
FILTERED = {
    source: [each.name for each in find(source).schemas if isinstance(each.dump, Dump) and each.dump.filters]
    for source in ("route", "conntrack")
}


@pytest.fixture
def scene(netns: int) -> Iterator[Scene]:
    # No link-local addresses: they would appear and lose a flag during the test.
    Path("/proc/sys/net/ipv6/conf/default/addr_gen_mode").write_text("1")
    made = Scene()
    made.build()
    for command in MORE:
        made.may(command, command)
    with ExitStack() as stack:
        multicast_routes(stack, "va", "vb")
        yield made


def filters(source: str, table: str) -> Mapping[str, Filter]:
    schema = next(schema for schema in find(source).schemas if schema.name == table)
    assert isinstance(schema.dump, Dump)
    return {filter.column: filter for filter in schema.dump.filters}


def values(table: Table, column: str) -> list[int]:
    """All values that occur, values that do not, and the ends of the type's range."""
    there = table[column][table.valid(column)].tolist()
    return sorted({*there, 0, 1, 2, 6, 7, 99, 255, 254, 7777})


def conditions(whole: Table, columns: Mapping[str, Filter]) -> Iterator[Expression]:
    equal = {name: [field(name) == value for value in values(whole, name)] for name in columns}
    yield from chain(*equal.values())
    present = {name: [field(name) == value for value in set(whole[name].tolist())] for name in columns}
    for left, right in combinations(present, 2):
        yield from (one & other for one in present[left] for other in present[right])


def plain(table: Table) -> Counter[str]:
    return Counter(
        str({name: value for name, value in row.items() if not name.startswith(RESTLESS)})
        for row in table.iter_rows(absent=False)
    )


def agrees(source: str, table: str, where: Expression, whole: Table) -> None:
    pushed, afterwards = plain(snapshot(source, table, where=where)), plain(whole.filter(where))
    assert pushed == afterwards, f"{source} {table} where {where}"


def test_a_condition_on_route_finds_what_filtering_finds(scene: Scene) -> None:
    for table in FILTERED["route"]:
        try:
            whole = snapshot("route", table)
        except KernelError as error:
            if error.errno == errno.EOPNOTSUPP:  # VLANs of bridges, say
                continue
            raise
        for where in conditions(whole, filters("route", table)):
            agrees("route", table, where, whole)


@pytest.mark.parametrize("table", FILTERED["conntrack"])
def test_a_condition_on_connections_finds_what_filtering_finds(netns: int, table: str) -> None:
    track_connections()
    run("nft", "-f", "-", text=IPV6)
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"x", (host, 9))
    whole = snapshot("conntrack", table)
    assert table == "expect" or set(whole["family"].tolist()) == {socket.AF_INET, socket.AF_INET6}
    for where in conditions(whole, filters("conntrack", table)):
        agrees("conntrack", table, where, whole)


def test_routes_that_the_kernels_own_filter_would_leave_out(scene: Scene) -> None:
    for where, found in {
        "type == blackhole and dst in 10.30.0.0/16": 1,
        "type == blackhole and dst in fd30::/64": 1,
        "protocol == static and family == ipmr": 1,
        "protocol == mrouted": 3,
        "type == multicast and family == ip6mr": 1,
    }.items():
        assert len(snapshot("route", "route", where=parse(where))) == found, where


def test_a_snapshot_has_the_multicast_groups_of_both_families() -> None:
    ip("link set lo up")
    if not lists_ipv4_groups():
        pytest.skip("this kernel does not list multicast groups of IPv4: that came with Linux 6.15")
    rows = {(row["family"], row["multicast"]) for row in snapshot("route", "multicast").iter_rows()}
    assert rows >= {("inet", "224.0.0.1"), ("inet6", "ff02::1")}


def lists_ipv4_groups() -> bool:
    with Requests(0) as requests:
        try:
            return bool(requests.dump(RTM_GETMULTICAST, bytes([socket.AF_INET]) + bytes(7), "multicast"))
        except KernelError:
            return False


def test_a_snapshot_has_proxies_and_neighbours(scene: Scene) -> None:
    rows = [*snapshot("route", "neigh").iter_rows()]
    proxies = [row["dst"] for row in rows if "proxy" in row["flags"]]
    assert sorted(proxies) == ["10.1.0.6", "10.1.0.6", "fd00::6"]
    assert len(rows) > len(proxies)


def test_state_keeps_the_neighbour_beside_its_proxy(subscribe: Callable[..., Subscriber]) -> None:
    ip("link add va type veth peer name vb", "link set va up", "neigh add proxy 10.1.0.6 dev va")
    ip("neigh add 10.1.0.6 lladdr 02:00:00:00:00:03 dev va", "neigh add proxy 10.1.0.9 dev va")
    state = State("route", "neigh")
    for batch in drain(subscribe("route", tables=["neigh"], snapshot=True), 0.1):
        state.apply(batch)
    found = {row["dst"]: (row["flags"], row.get("lladdr")) for row in state["neigh"].values()}
    assert found["10.1.0.6"] == ([], "02:00:00:00:00:03")
    assert found["10.1.0.9"] == (["proxy"], None)


def test_requests_that_the_kernel_does_not_support_add_nothing() -> None:
    ip("link set lo up")
    supported, unsupported = bytes([socket.AF_INET6]) + bytes(7), bytes([socket.AF_AX25]) + bytes(7)

    def dumped(*headers: bytes) -> int:
        dump = Dump(RTM_GETMULTICAST, headers)
        return sum(map(len, dumping._dumped(Query(find("route")), "multicast", dump, {}, SNAPSHOT)))

    assert dumped(supported, unsupported) == dumped(unsupported, supported) == dumped(supported) > 0
    with pytest.raises(KernelError, match="dumping route multicast: Operation not supported"):
        dumped(unsupported, unsupported)


def test_statistics_that_nobody_reads_are_not_dumped(monkeypatch: pytest.MonkeyPatch) -> None:
    def body(header: bytes, filters: Mapping[Filter, bytes]) -> bytes:
        skipped.append(bool(int.from_bytes(header[-4:], sys.byteorder) & SKIP_STATS))
        return plain_body(header, filters)

    ip("link set lo up", "link add va type veth peer name vb", "link set va up", "link set vb up")
    skipped: list[bool] = []
    plain_body = dumping._body
    monkeypatch.setattr(dumping, "_body", body)
    whole = snapshot("route", "link")
    assert skipped == [False]
    names = [each.name for each in whole.columns if not each.name.startswith(("nl_", "stats64_"))]
    assert [*snapshot("route", "link", columns=names).select(names).iter_rows()] == [
        *whole.select(names).iter_rows()
    ]
    received = field("stats64_rx_packets") >= 0
    assert len(snapshot("route", "link", columns=["ifname"], where=received)) == len(whole)
    assert len(snapshot("route", "link", columns=["ifname", "stats64_tx_bytes"])) == len(whole)
    assert skipped == [False, True, False, False]


def test_a_refused_dump_is_an_error_with_the_kernels_text(monkeypatch: pytest.MonkeyPatch) -> None:
    table = struct.pack("=HHI", 8, RTA_TABLE, 7777)
    monkeypatch.setattr(dumping, "_body", lambda *_: bytes([socket.AF_INET]) + bytes(11) + table)
    with pytest.raises(KernelError, match="dumping route route: No such file or directory") as caught:
        snapshot("route", "route")
    assert caught.value.extack.endswith("table does not exist")
