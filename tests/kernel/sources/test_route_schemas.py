"""route's tables compared with `ip -j -d` for the same links, addresses, routes, neighbours and so on.

The comparison works both ways: ip_json.py writes a row as ip would print it (and lists the columns that ip
does not print), and the two must be equal, key by key.
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
from tests.support.ip_json import AS_IP, NOT_COMPARED, flat, in_order
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
IP_COMMANDS: Mapping[str, Sequence[Sequence[str]]] = {
    "link": (("-s", "-s", "link", "show"),),
    "addr": (("addr", "show"),),
    "route": (("-4", "route", "show", "table", "all"), ("-6", "route", "show", "table", "all")),
    "neigh": (("-s", "neigh", "show", "nud", "all"), ("neigh", "show", "proxy")),
    "rule": (("rule", "show"), ("-6", "rule", "show")),
    "nexthop": (("nexthop", "show"),),
    "netconf": (("netconf", "show"),),
}
AGES = {"used", "confirmed", "updated", "valid_life_time", "preferred_life_time", "expires", "gc_timer"}
TIMES = 20  # attempts, since the kernel sends and counts router solicitations meanwhile


def schema(table: str) -> Schema:
    return next(each for each in find("route").schemas if each.name == table)


def dump(table: str) -> list[Reply]:
    with Requests(NETLINK_ROUTE) as requests:
        return [reply for kind, body in DUMPS[table] for reply in requests.dump(kind, body, f"dump {table}")]


def columns(table: str) -> dict[str, Column]:
    """The columns that the kernel fills."""
    return {
        each.name: each for each in nlbus.schema("route", table).columns if not each.name.startswith("nl_")
    }


def decode(kind: Schema, messages: Iterable[Reply]) -> list[dict[str, Any]]:
    """Rows in display form: names of enumerations, lists of flag names, text of addresses."""
    datagrams = [message(one.type, one.body, one.flags, 1) for one in messages]
    return [
        {name: value for name, value in row.items() if not name.startswith("nl_")}
        for row in Batch.from_datagrams("route", datagrams).table(kind.name).iter_rows()
    ]


class RecordingRow(dict[str, Any]):
    """A row that records which columns were read."""

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
    return [AS_IP[table](RecordingRow(row, seen), names) for row in rows if row.get("family") != "bridge"]


def theirs(table: str, scene: Scene) -> list[dict[str, Any]]:
    printed = [one for words in IP_COMMANDS[table] for one in scene.ip_json(*words)]
    return list(map(plain, in_order(flat(printed)) if table == "addr" else printed))


def plain(printed: dict[str, Any]) -> dict[str, Any]:
    """Without the keys that ip takes from other messages."""
    printed = dict(printed)
    printed.pop("nh_info", None)  # ip requests the next hop by its number
    if "encap" in printed:  # ip decodes RTA_ENCAP over the route's own keys
        printed = {name: value for name, value in printed.items() if name not in OF_ENCAPSULATION}
    if "link_type" in printed:
        printed["flags"] = set(printed["flags"]) - {"M-DOWN"}  # a flag of the link below
    info = printed.get("linkinfo", {})
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
    return printed


OF_ENCAPSULATION = frozenset(("dst", "id", "src", "ttl", "tos", "hoplimit", "tc", "mode", "segs"))


def differences(mine: Any, printed: Any, where: str = "") -> dict[str, Any]:
    """(ours, theirs) by path; ages may differ by two, since time passes between the two dumps."""
    if isinstance(mine, dict) and isinstance(printed, dict):
        pairs = {key: (mine.get(key, "nothing"), printed.get(key, "nothing")) for key in mine | printed}
    elif isinstance(mine, list) and isinstance(printed, list) and len(mine) == len(printed):
        pairs = {str(i): pair for i, pair in enumerate(zip(mine, printed, strict=True))}
    elif where.rpartition(".")[2] in AGES and abs(mine - printed) <= 2:
        return {}
    else:
        return {} if mine == printed else {where: (mine, printed)}
    return {
        at: each for key, pair in pairs.items() for at, each in differences(*pair, f"{where}.{key}").items()
    }


@pytest.mark.parametrize("table", IP_COMMANDS)
def test_a_table_equals_what_ip_prints(table: str, scene: Scene) -> None:
    for _ in range(TIMES):
        mine, printed = ours(table, set()), theirs(table, scene)
        for one, other in zip(mine, printed, strict=False):
            if "encap" in other:
                for name in OF_ENCAPSULATION & one.keys():
                    del one[name]
        if not differences(mine, printed):
            break
    assert differences(mine, printed) == {}
    assert len(printed) >= 5


def test_every_column_is_compared_or_listed_as_not_printed_by_ip(scene: Scene) -> None:
    for table, not_compared in NOT_COMPARED.items():
        seen: set[str] = set()
        ours(table, seen)
        there = set(columns(table))
        assert seen <= there
        kinds = tuple(f"linkinfo_{kind}_" for kind in (*UNSEEN, *INFO))
        rest = {name for name in there - seen if not name.startswith((*kinds, "af_spec_inet6_", "vf_"))}
        assert rest <= set(not_compared.split()) <= there, table


def test_bridge_databases_match_the_bridge_command(netns: int) -> None:
    bridges = Scene()
    bridges.must("link add br0 type bridge mcast_snooping 1", "link add br1 type bridge mcast_snooping 1")
    bridges.must("link add va type veth peer name vb", "link set va master br0")
    bridges.must("link set br0 up", "link set va up", "link set vb up")
    bridge = tool("bridge", "iproute2")
    entry = ("grp", "239.1.1.1", "permanent")
    subprocess.run([bridge, "mdb", "add", "dev", "br0", "port", "va", *entry], check=True)
    (of_all,) = json.loads(subprocess.check_output([bridge, "-j", "mdb"]))
    names = link_names()
    found = {names[row["ifindex"]] for row in nlbus.snapshot("route", "mdb").iter_rows()}
    assert {entry["dev"] for entry in of_all["mdb"]} == {"br0"} <= found <= {"br0", "br1"}


def test_the_statistics_table_matches_the_link_table(scene: Scene) -> None:
    links = {row["ifindex"]: row for row in nlbus.snapshot("route", "link").iter_rows()}
    found = {row["ifindex"]: row for row in nlbus.snapshot("route", "stats").iter_rows()}
    assert found.keys() == links.keys()
    for index, row in found.items():
        assert row["link_64_rx_nohandler"] == links[index]["stats64_rx_nohandler"]
        assert row["link_64_tx_packets"] >= links[index]["stats64_tx_packets"]


@pytest.mark.parametrize("table", DUMPS)
def test_the_reference_decodes_the_same_rows_and_knows_every_attribute(table: str, scene: Scene) -> None:
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
