"""route's tables beside what `ip -j -d` says of the same links, addresses, routes, neighbours and so on.

Both ways: a row is written as ip would print it (ip_json.py, which also says what ip does not tell), and then
the two must be equal, key by key.
"""

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

import nlbus
from nlbus import Batch
from nlbus.kernel.requests import Reply, Requests, message
from nlbus.schema.schema import Schema
from nlbus.schema.types import Column
from nlbus.sources import find
from tests.support import columns_reference
from tests.support.ip_json import AS_IP, UNTOLD, flat, in_order
from tests.support.ip_json_link import INFO, UNSEEN
from tests.support.monitors import tool
from tests.support.route_scene import Scene

NETLINK_ROUTE = 0
AF_INET, AF_BRIDGE, AF_INET6 = 2, 7, 10
NTF_PROXY = 8
# RTM_GET*, and the header of the request
DUMPS = {
    "link": [(18, bytes(16))],
    "addr": [(22, bytes(8))],
    "route": [(26, bytes([family]) + bytes(11)) for family in (AF_INET, AF_INET6)],
    "neigh": [(30, bytes(12)), (30, bytes(10) + bytes([NTF_PROXY, 0]))],
    "rule": [(34, bytes([family]) + bytes(11)) for family in (AF_INET, AF_INET6)],
    "nexthop": [(106, bytes(8))],
    "netconf": [(82, bytes([family])) for family in (AF_INET, AF_INET6)],
    "brport": [(18, bytes([AF_BRIDGE]) + bytes(15))],
    "fdb": [(30, bytes([AF_BRIDGE]) + bytes(11))],
    "ipv6_ifinfo": [(18, bytes([AF_INET6]) + bytes(15))],
    "nsid": [(90, bytes(1))],
    "qdisc": [(38, bytes(20))],
    "stats": [(94, bytes(8) + b"\1\0\0\0")],
}
TOLD: Mapping[str, Sequence[Sequence[str]]] = {
    "link": (("-s", "-s", "link", "show"),),
    "addr": (("addr", "show"),),
    "route": (("-4", "route", "show", "table", "all"), ("-6", "route", "show", "table", "all")),
    "neigh": (("-s", "neigh", "show", "nud", "all"), ("neigh", "show", "proxy")),
    "rule": (("rule", "show"), ("-6", "rule", "show")),
    "nexthop": (("nexthop", "show"),),
    "netconf": (("netconf", "show"),),
}
AGES = {"used", "confirmed", "updated", "valid_life_time", "preferred_life_time", "expires", "gc_timer"}
TIMES = 20  # while the kernel sends router solicitations and counts them


def schema(table: str) -> Schema:
    return next(each for each in find("route").schemas if each.name == table)


def dump(table: str) -> list[Reply]:
    with Requests(NETLINK_ROUTE) as requests:
        return [reply for kind, body in DUMPS[table] for reply in requests.dump(kind, body, f"dump {table}")]


def columns(table: str) -> dict[str, Column]:
    """Those that the kernel fills."""
    return {
        each.name: each for each in nlbus.schema("route", table).columns if not each.name.startswith("nl_")
    }


def decode(kind: Schema, messages: Iterable[Reply]) -> list[dict[str, Any]]:
    """Rows as a person reads them: names of enumerations, lists of names of flags, text of addresses."""
    datagrams = [message(one.type, one.body, one.flags, 1) for one in messages]
    return [
        {name: value for name, value in row.items() if not name.startswith("nl_")}
        for row in Batch.from_datagrams("route", datagrams).table(kind.name).iter_rows()
    ]


class Looked(dict[str, Any]):
    """A row that notes what it was asked for."""

    def __init__(self, row: Mapping[str, Any], seen: set[str]) -> None:
        super().__init__(row)
        self.seen = seen

    def __getitem__(self, name: str) -> Any:
        self.seen.add(name)
        return super().__getitem__(name)


@pytest.fixture
def scene(netns: int) -> Scene:
    made = Scene()
    made.build()
    return made


def link_names() -> dict[int, str]:
    return {row["ifindex"]: row["ifname"] for row in decode(schema("link"), dump("link"))}


def ours(table: str, seen: set[str]) -> list[dict[str, Any]]:
    names = link_names()
    rows = decode(schema(table), dump(table))
    return [AS_IP[table](Looked(row, seen), names) for row in rows if row.get("family") != "bridge"]


def theirs(table: str, scene: Scene) -> list[dict[str, Any]]:
    told = [one for words in TOLD[table] for one in scene.told(*words)]
    return list(map(plain, in_order(flat(told)) if table == "addr" else told))


def plain(told: dict[str, Any]) -> dict[str, Any]:
    """Without what ip takes from elsewhere than from this message."""
    told = dict(told)
    told.pop("nh_info", None)  # the next hop, asked for by its number
    if "encap" in told:  # ip spells out RTA_ENCAP, over the route's own keys
        told = {name: value for name, value in told.items() if name not in OF_ENCAPSULATION}
    if "link_type" in told:
        told["flags"] = set(told["flags"]) - {"M-DOWN"}  # the link below
    info = told.get("linkinfo", {})
    if info.get("info_kind") in UNSEEN:
        info.pop("info_data", None)
    if info.get("info_kind") == "bridge":
        data = info["info_data"]
        info["info_data"] = {
            name: value
            for name, value in data.items()
            if not name.startswith("vlan_") or name == "vlan_filtering"
        }
    if info.get("info_kind") == "tun" and "user" in info["info_data"]:
        info["info_data"]["user"] = {"nobody": 65534}[info["info_data"]["user"]]
    return told


OF_ENCAPSULATION = frozenset(("dst", "id", "src", "ttl", "tos", "hoplimit", "tc", "mode", "segs"))


def differences(mine: Any, told: Any, where: str = "") -> dict[str, Any]:
    """(ours, theirs) by place; an age may differ by two, as time passes between the two answers."""
    if isinstance(mine, dict) and isinstance(told, dict):
        pairs = {key: (mine.get(key, "nothing"), told.get(key, "nothing")) for key in mine | told}
    elif isinstance(mine, list) and isinstance(told, list) and len(mine) == len(told):
        pairs = {str(i): pair for i, pair in enumerate(zip(mine, told, strict=True))}
    elif where.rpartition(".")[2] in AGES and abs(mine - told) <= 2:
        return {}
    else:
        return {} if mine == told else {where: (mine, told)}
    return {
        at: each for key, pair in pairs.items() for at, each in differences(*pair, f"{where}.{key}").items()
    }


@pytest.mark.parametrize("table", TOLD)
def test_a_table_is_what_ip_says(table: str, scene: Scene) -> None:
    for _ in range(TIMES):
        mine, told = ours(table, set()), theirs(table, scene)
        for one, other in zip(mine, told, strict=False):
            if "encap" in other:
                for name in OF_ENCAPSULATION & one.keys():
                    del one[name]
        if not differences(mine, told):
            break
    assert differences(mine, told) == {}
    assert len(told) >= 5


def test_every_column_is_compared_or_known_to_be_ours_alone(scene: Scene) -> None:
    for table, untold in UNTOLD.items():
        seen: set[str] = set()
        ours(table, seen)
        there = set(columns(table))
        assert seen <= there
        kinds = tuple(f"linkinfo_{kind}_" for kind in (*UNSEEN, *INFO))
        rest = {name for name in there - seen if not name.startswith((*kinds, "af_spec_inet6_"))}
        assert rest <= set(untold.split()) <= there, table


def test_databases_of_bridges_are_those_that_bridge_tells(netns: int) -> None:
    told = Scene()
    told.must("link add br0 type bridge mcast_snooping 1", "link add br1 type bridge mcast_snooping 1")
    told.must("link add va type veth peer name vb", "link set va master br0")
    told.must("link set br0 up", "link set va up", "link set vb up")
    bridge = tool("bridge", "iproute2")
    entry = ("grp", "239.1.1.1", "permanent")
    subprocess.run([bridge, "mdb", "add", "dev", "br0", "port", "va", *entry], check=True)
    (of_all,) = json.loads(subprocess.check_output([bridge, "-j", "mdb"]))
    names = link_names()
    found = {names[row["ifindex"]] for row in nlbus.snapshot("route", "mdb").iter_rows()}
    assert {entry["dev"] for entry in of_all["mdb"]} == {"br0"} <= found <= {"br0", "br1"}


def test_statistics_are_those_of_the_links(scene: Scene) -> None:
    links = {row["ifindex"]: row for row in nlbus.snapshot("route", "link").iter_rows()}
    found = {row["ifindex"]: row for row in nlbus.snapshot("route", "stats").iter_rows()}
    assert found.keys() == links.keys()
    for index, row in found.items():
        assert row["link_64_rx_nohandler"] == links[index]["stats64_rx_nohandler"]
        assert row["link_64_tx_packets"] >= links[index]["stats64_tx_packets"]


@pytest.mark.parametrize("table", DUMPS)
def test_the_reference_reads_the_same_and_knows_every_attribute(table: str, scene: Scene) -> None:
    messages = dump(table)
    found = columns_reference.decode(schema(table), messages)
    assert not any(found.damaged)
    assert found.malformed == found.unknown == 0
    known = columns(table)
    rows = [
        {name: columns_reference.shown(known[name], value) for name, value in row.items()}
        for row in found.rows
    ]
    assert rows == decode(schema(table), messages)
    assert rows or table == "nsid"
