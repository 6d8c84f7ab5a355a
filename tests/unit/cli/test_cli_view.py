"""Decoded messages as lines and JSON, as `nlbus listen` and `nlbus replay` print them."""

import json
import struct
from random import Random
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlbus import Batch, SchemaError, UnknownColumn
from nlbus.cli.render.view import View
from nlbus.cli.render.view_options import ViewOptions
from nlbus.schema.schema import Schema
from nlbus.sources import SOURCES, find
from nlbus.table.conditions import parse
from tests.support.reference import attribute, kernel_chain, message
from tests.support.schemas import fitting, spoilt

SCHEMAS = {
    f"{source.name}-{schema.name}": (source.name, schema)
    for source in SOURCES.values()
    for schema in source.schemas
    if isinstance(schema, Schema)
}
UP, BROADCAST = 1, 2


def choice(**more: Any) -> ViewOptions:
    where = parse(more.pop("where")) if "where" in more else None
    plain: dict[str, Any] = {
        "output": "text", "tables": [], "columns": [], "where": where, "everything": False, "raw": False,
    }  # fmt: skip
    return ViewOptions(**(plain | more))


def shown(source: str, *messages: bytes, group: int = 1, limit: int | None = None, **more: Any) -> list[str]:
    """The lines; text lines without the time."""
    view = View(find(source), choice(**more))
    framed = [kernel_chain(*messages)] if source != "uevent" else list(messages)
    batch = Batch.from_datagrams(source, framed, group=group)
    *lines, _ = view.lines(batch, limit)[0].decode().split("\n")
    return [line.removeprefix("1970-01-01T00:00:00.000000000Z ") for line in lines]


def link(index: int = 3, name: str = "va", mtu: int = 1500, *more: bytes, delete: bool = False) -> bytes:
    header = struct.pack("=BxHiII", 0, 1, index, UP | BROADCAST, 0)
    attributes = attribute(3, name.encode() + b"\0") + attribute(4, struct.pack("=I", mtu))
    return message(17 if delete else 16, header + attributes + b"".join(more))


def addr(index: int, address: bytes, *more: bytes) -> bytes:
    family = 2 if len(address) == 4 else 10
    header = struct.pack("=BBBBI", family, 24, 0, 0, index)
    return message(20, header + attribute(2, address) + b"".join(more))


def route(dst: bytes, length: int, *more: bytes, kind: int = 1, table: int = 254) -> bytes:
    header = struct.pack("=BBBBBBBBI", 2, length, 0, 0, table, 4, 0, kind, 0)
    return message(24, header + (attribute(1, dst) if dst else b"") + b"".join(more))


def u32(number: int, value: int) -> bytes:
    return attribute(number, struct.pack("=I", value))


TEN = bytes([10, 0, 0, 1])
LABELS = struct.pack(">II", 200 << 12, 300 << 12 | 1 << 8)
IP_TUNNEL = b"".join(
    attribute(number, value)
    for number, value in enumerate((struct.pack(">Q", 72), TEN, b"\x0a\0\0\x09", b"\x09", b"\0", b"\0\4"), 1)
)
SEG6 = struct.pack("=i4xB3x", 1, 1) + b"".join(b"\xfd" + bytes(14) + bytes([n]) for n in (1, 2))
MPLS = message(
    24,
    struct.pack("=BBBBBBBBI", 28, 20, 0, 0, 254, 4, 0, 1, 0)
    + attribute(1, struct.pack(">I", 100 << 12 | 1 << 8))
    + attribute(19, LABELS)
    + attribute(18, b"\2\0" + TEN),
)
VLAN = attribute(18, attribute(1, b"vlan\0") + attribute(2, attribute(1, struct.pack("=H", 5))))

# -- text -------------------------------------------------------------------------------------------


def test_a_link_is_a_line() -> None:
    hardware = attribute(1, b"\2\0\0\0\0\1")
    state = attribute(16, b"\6")
    (line,) = shown("route", link(3, "v5", 1400, hardware, state, VLAN, attribute(10, b"\3\0\0\0")))
    assert line == (
        "change link 3: v5 <up,broadcast> mtu 1400 master v5 state up kind vlan id 5 "
        "link/ether 02:00:00:00:00:01"
    )


def test_interfaces_have_the_names_of_earlier_messages() -> None:
    lines = shown("route", link(), addr(3, TEN), link(delete=True), addr(3, TEN), addr(4, TEN))
    assert lines[1] == "new addr 10.0.0.1/24 dev va scope global"
    assert lines[3] == lines[1]
    assert lines[4] == "new addr 10.0.0.1/24 dev if4 scope global"


def test_an_address_line_has_peer_and_lifetime() -> None:
    peer = attribute(1, bytes([10, 0, 0, 2]))
    lifetime = attribute(6, struct.pack("=IIII", 60, 120, 1, 1))
    (line,) = shown("route", addr(4, TEN, peer, lifetime))
    assert line == "new addr 10.0.0.1 peer 10.0.0.2/24 dev if4 scope global valid_lft 120s preferred_lft 60s"


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (route(TEN, 24), "10.0.0.1/24 proto static"),
        (route(TEN, 32), "10.0.0.1 proto static"),
        (route(b"", 0, attribute(5, TEN)), "default via 10.0.0.1 proto static"),
        (route(TEN, 24, kind=6, table=7), "blackhole 10.0.0.1/24 table 7 proto static"),
        (
            route(TEN, 24, attribute(6, struct.pack("=I", 9)), attribute(8, attribute(2, b"\x78\5\0\0"))),
            "10.0.0.1/24 proto static metric 9 mtu 1400",
        ),
        (
            route(
                TEN,
                24,
                attribute(8, attribute(1, b"\4\0\0\0") + u32(2, 1400) + u32(4, 800) + attribute(16, b"reno")),
            ),
            "10.0.0.1/24 proto static mtu lock 1400 rtt 100ms congctl reno",
        ),
        (route(TEN, 24, u32(11, 5 << 16 | 6)), "10.0.0.1/24 proto static realms 5/6"),
        (route(TEN, 24, u32(11, 6)), "10.0.0.1/24 proto static realm 6"),
        (
            route(TEN, 24, attribute(21, b"\1\0"), attribute(22, attribute(1, LABELS))),
            "10.0.0.1/24 encap mpls 200/300 proto static",
        ),
        (
            route(TEN, 24, attribute(21, b"\2\0"), attribute(22, IP_TUNNEL)),
            "10.0.0.1/24 encap ip id 72 src 10.0.0.9 dst 10.0.0.1 ttl 9 tos 0 key proto static",
        ),
        (
            route(TEN, 24, attribute(21, b"\5\0"), attribute(22, attribute(1, SEG6))),
            "10.0.0.1/24 encap seg6 mode encap segs 2 [ fd00::2 fd00::1 ] proto static",
        ),
        (
            route(TEN, 24, attribute(21, b"\2\0"), attribute(22, IP_TUNNEL[:9])),
            f"10.0.0.1/24 encap ip {IP_TUNNEL[:9].hex()} proto static",
        ),
        (
            route(TEN, 24, attribute(21, b"\7\0"), attribute(22, b"abcd")),
            "10.0.0.1/24 encap seg6_local 61626364 proto static",
        ),
        (
            route(TEN, 24, attribute(9, struct.pack("=HBBi", 16, 1, 2, 3) + attribute(5, TEN))),
            "10.0.0.1/24 proto static nexthop via 10.0.0.1 dev if3 weight 3 dead",
        ),
    ],
)
def test_a_route_is_a_line(made: bytes, line: str) -> None:
    assert shown("route", made, group=7) == [f"new route {line}"]


def test_an_mpls_route_is_a_line() -> None:
    assert shown("route", MPLS, group=27) == ["new mpls_route 100 as 200/300 via 10.0.0.1 proto static"]


def test_neighbours_and_bridge_entries_are_lines() -> None:
    lladdr = attribute(2, b"\2\0\0\0\0\1")
    neigh = message(28, struct.pack("=BxxxiHBB", 2, 3, 2, 0, 1) + attribute(1, TEN) + lladdr)
    fdb = message(29, struct.pack("=BxxxiHBB", 7, 3, 0x80, 4, 0) + lladdr)
    assert shown("route", neigh, fdb, group=3) == [
        "new neigh 10.0.0.1 dev if3 lladdr 02:00:00:00:00:01 reachable",
        "del fdb 02:00:00:00:00:01 dev if3 master permanent",
    ]


def test_rules_and_next_hops_are_lines() -> None:
    source, mark = attribute(2, TEN), attribute(10, b"\3\0\0\0")
    rule = message(32, struct.pack("=BBBBBxxBI", 2, 0, 8, 0, 77, 1, 0) + source + mark)
    group = attribute(1, b"\6\0\0\0") + attribute(2, struct.pack("=IBBHIBBH", 5, 0, 0, 0, 7, 2, 0, 0))
    hop = message(104, struct.pack("=BBBxI", 0, 0, 4, 0) + group)
    fdb = message(104, struct.pack("=BBBxI", 2, 0, 0, 0) + u32(1, 7) + attribute(6, TEN) + attribute(11, b""))
    ports = attribute(24, struct.pack("=HH", 80, 80))
    exact = message(32, struct.pack("=BBBBBxxBI", 2, 0, 0, 16, 77, 1, 0) + ports + attribute(29, b"\xff\xff"))
    masked = message(
        32, struct.pack("=BBBBBxxBI", 2, 0, 0, 0, 77, 1, 0) + ports + attribute(29, b"\xf0\0") + u32(11, 6)
    )
    assert shown("route", exact, masked, fdb) == [
        "new rule 0: from all tos 0x10 dport 80 lookup 77",
        "new rule 0: from all realms 6 dport 80/0xf0 lookup 77",
        "new nexthop id 7 via 10.0.0.1 fdb",
    ]
    assert shown("route", rule, hop, group=8) == [
        "new rule 0: from 10.0.0.1/8 fwmark 0x3 lookup 77",
        "new nexthop id 6 group 5/7,3 proto static",
    ]


def test_a_multicast_route_has_ttls_instead_of_weights() -> None:
    hops = attribute(9, struct.pack("=HBBi", 8, 0, 7, 2))
    routes = [
        message(24, struct.pack("=8BI", family, 32, 0, 0, 254, 17, 0, 5, 0) + attribute(1, TEN) + hops)
        for family in (128, 2)
    ]
    assert shown("route", *routes, group=6) == [
        "new route multicast 10.0.0.1/32 proto mrouted nexthop dev if2 ttl 7",
        "new route multicast 10.0.0.1 proto mrouted nexthop dev if2 weight 8",
    ]


def test_all_columns_can_be_printed() -> None:
    made = link(3, "va", 1500, attribute(13, b"\0\0\0\x2a"))
    assert "txqlen" not in shown("route", made)[0]
    assert "    txqlen=704643072" in shown("route", made, everything=True)


def test_chosen_columns_are_printed_by_name() -> None:
    assert shown("route", link(), columns=["mtu", "ifname"]) == ["change link mtu=1500 ifname=va"]
    assert shown("route", link(), columns=["ifname", "nl_group"]) == ["change link ifname=va nl_group=1"]


def test_a_process_event_is_a_line() -> None:
    body = struct.pack("=IIIIHHIIQ4I", 1, 1, 0, 0, 40, 0, 1, 0, 10**12, 7, 7, 8, 8)
    line = "proc fork parent_pid=7 parent_tgid=7 child_pid=8 child_tgid=8"
    assert shown("proc", message(3, body)) == [line]
    assert shown("proc", message(3, body), everything=True) == [
        "proc fork",
        *(f"    {pair}" for pair in ("seq=0", "cpu=0", "timestamp_ns=1000000000000ns", *line.split()[2:])),
    ]


def test_a_connection_is_a_classic_line() -> None:
    addresses = (0x8001, attribute(1, TEN) + attribute(2, bytes([10, 0, 0, 2])))
    ports = (0x8002, attribute(1, b"\6") + attribute(2, b"\0\x50") + attribute(3, b"\x1f\x90"))
    original = attribute(0x8001, attribute(*addresses) + attribute(*ports))
    made = message(1 << 8, bytes([2, 0, 0, 0]) + original, flags=0x400)
    assert shown("conntrack", made) == [
        "[NEW] ipv4     2 tcp      6 src=10.0.0.1 dst=10.0.0.2 sport=80 dport=8080"
    ]
    pairs = "family=inet orig_src=10.0.0.1 orig_dst=10.0.0.2 orig_proto=tcp orig_sport=80 orig_dport=8080"
    assert shown("conntrack", made, everything=True) == ["[NEW]", *(f"    {pair}" for pair in pairs.split())]


UEVENT = b"add@/devices/x\0ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=net\0NAME=a b\0SEQNUM=7\0BAD=\x1b[2J\0"


def test_a_uevent_is_a_line() -> None:
    line = r"uevent kernel add@/devices/x SUBSYSTEM=net NAME='a b' SEQNUM=7 BAD='\x1b[2J'"
    assert shown("uevent", UEVENT) == [line]
    assert shown("uevent", UEVENT, everything=True) == [
        "uevent kernel add@/devices/x",
        *("    SUBSYSTEM=net", "    NAME='a b'", "    SEQNUM=7", r"    BAD='\x1b[2J'"),
    ]
    assert shown("uevent", UEVENT, columns=["seqnum"]) == ["uevent kernel seqnum=7"]
    assert shown("uevent", b"no uevent")[0].startswith("uevent kernel - 9 6e6f")


# -- JSON -------------------------------------------------------------------------------------------


def test_json_has_all_columns_with_values() -> None:
    (found,) = map(json.loads, shown("route", link(), output="json"))
    assert found == {
        "time": "1970-01-01T00:00:00.000000000Z",
        "time_ns": 0,
        "source": "route",
        "groups": [1],
        "group_names": ["link"],
        "nl_table": "link",
        "nl_op": "change",
        "type": "ether",
        "ifindex": 3,
        "flags": ["up", "broadcast"],
        "change": [],
        "ifname": "va",
        "mtu": 1500,
    }


def test_json_has_only_chosen_columns() -> None:
    (found,) = map(json.loads, shown("route", link(), output="json", columns=["mtu"], where="ifname == va"))
    assert (found["mtu"], found["nl_op"], "ifname" in found, "type" in found) == (
        1500,
        "change",
        False,
        False,
    )


def test_json_of_a_uevent_has_its_variables_by_name() -> None:
    (found,) = map(json.loads, shown("uevent", UEVENT, output="json"))
    assert (found["action"], found["devpath"], found["seqnum"]) == ("add", "/devices/x", 7)
    assert found["env"]["NAME"] == "a b"


def test_bytes_are_hex_in_json() -> None:
    made = link(3, "va", 1500, attribute(34, b"\xab\xcd"))  # IFLA_PHYS_PORT_ID
    (found,) = map(json.loads, shown("route", made, output="json"))
    assert found["phys_port_id"] == "abcd"


# -- selecting -----------------------------------------------------------------------------------------


def test_messages_without_a_table_are_printed_undecoded_in_order() -> None:
    lines = shown("route", link(), message(0x277, b"\1\2"), addr(3, TEN))
    assert [line.split()[1] for line in lines] == ["link", "link", "addr"]
    assert lines[1] == "route link 0x277 2 0102"


def test_raw_prints_every_message_undecoded() -> None:
    assert shown("route", link(), raw=True)[0].startswith("route link RTM_NEWLINK 32 ")
    with pytest.raises(click.UsageError, match="no --table"):
        choice(raw=True, tables=["link"])


def test_tables_and_conditions_select_rows() -> None:
    made = [link(1, "lo", 65536), link(2, "eth0"), message(0x77, b""), addr(2, TEN)]
    assert [line.split()[1] for line in shown("route", *made, tables=["link"])] == ["link", "link"]
    assert [line.split()[3] for line in shown("route", *made, where="mtu > 1500")] == ["lo"]
    assert len(shown("route", *made, where="ifindex == 2")) == 2
    assert len(shown("route", *made, where="ifindex == 2", limit=1)) == 1
    assert len(shown("route", *made, tables=["link"], where="ifindex == 2")) == 1


def test_chosen_tables_determine_the_groups() -> None:
    assert View(find("route"), choice()).groups == []
    assert View(find("route"), choice(tables=["addr"])).groups == ["ipv4_ifaddr", "ipv6_ifaddr"]
    assert View(find("route"), choice(tables=["anycast"])).groups == ["ipv6_acaddr"]
    groups = {"ipv4_route", "ipv6_route", "mpls_route", "nexthop"}
    assert set(View(find("route"), choice(where="oif == 3")).groups) == groups
    # Without udev's group, which would print each event twice.
    assert View(find("uevent"), choice(where="subsystem == net")).groups == ["kernel"]


@pytest.mark.parametrize(
    ("source", "more", "error", "said"),
    [
        ("route", {"tables": ["lnk"]}, SchemaError, "no table 'lnk' of route"),
        ("route", {"columns": ["mtuu"]}, UnknownColumn, "no column 'mtuu' in any table of route"),
        ("route", {"columns": ["mtu", "prefsrc"]}, SchemaError, "no table of route has all of mtu"),
        ("route", {"tables": ["addr"], "columns": ["mtu"]}, UnknownColumn, "'mtu' in table addr of route"),
        ("route", {"tables": ["addr"], "where": "mtu == 1"}, UnknownColumn, "'mtu' in table addr of route"),
        ("route", {"where": "mtu == up"}, SchemaError, "cannot be compared with 'up'"),
        ("bus", {"tables": ["link"]}, SchemaError, "bus has no tables"),
        ("raw:2", {"where": "mtu == 1"}, UnknownColumn, "of messages without a table there are type"),
    ],
)
def test_unknown_tables_and_columns_are_refused(
    source: str, more: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        View(find(source), choice(**more))


# -- arbitrary messages ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEMAS)
@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1).map(Random))
def test_any_message_is_a_line(name: str, rng: Random) -> None:
    source, schema = SCHEMAS[name]
    made = []
    for _ in range(3):
        kind, flags, payload = (
            fitting(rng, schema) if rng.random() < 0.5 else spoilt(rng, fitting(rng, schema))
        )
        made.append(message(kind, payload, flags=flags))
    for everything in (False, True):
        lines = shown(source, *made, everything=everything)
        assert all(line.isprintable() for line in lines)
        events = len([line for line in lines if not line.startswith("    ")])
        assert schema.each is not None or events == len(made)  # else a message has any number of rows
    for line in shown(source, *made, output="json"):
        assert "\n" not in line
        assert json.loads(line)["source"] == source
