"""route's tables with messages built by hand, which not every kernel sends."""

import struct
from typing import Any

import pytest

from nlbus import Batch
from tests.support.reference import attribute, message

RTM_NEWLINK, RTM_NEWROUTE, RTM_NEWNEXTHOP = 16, 24, 104
AF_INET, AF_MPLS = 2, 28


def row(table: str, kind: int, header: bytes, *attributes: bytes) -> dict[str, Any]:
    """The row of a message, without absent values."""
    batch = Batch.from_datagrams("route", [message(kind, header + b"".join(attributes))])
    (found,) = batch.table(table).iter_rows(absent=False)
    return {name: value for name, value in found.items() if not name.startswith("nl_")}


def link(type: int, *attributes: bytes) -> dict[str, Any]:
    return row("link", RTM_NEWLINK, struct.pack("=BxHiII", 0, type, 7, 0, 0), *attributes)


def test_vlan_priorities_are_lists() -> None:
    def mappings(number: int, *pairs: tuple[int, int]) -> bytes:
        return attribute(number, b"".join(attribute(1, struct.pack("=II", *pair)) for pair in pairs))

    data = mappings(3, (1, 2), (5, 6)) + mappings(4, (3, 4))
    found = link(1, attribute(18, attribute(1, b"vlan\0") + attribute(2, data)))
    assert {name: value for name, value in found.items() if "qos" in name} == {
        "linkinfo_vlan_egress_qos_from": [1, 5],
        "linkinfo_vlan_egress_qos_to": [2, 6],
        "linkinfo_vlan_ingress_qos_from": [3],
        "linkinfo_vlan_ingress_qos_to": [4],
    }


def test_weights_of_a_next_hop_group_may_exceed_a_byte() -> None:
    group = struct.pack("=IBBH", 1, 2, 0, 0) + struct.pack("=IBBH", 9, 0xFF, 1, 0)
    found = row("nexthop", RTM_NEWNEXTHOP, bytes(8), attribute(2, group))
    assert (found["group_id"], found["group_weight"]) == ([1, 9], [3, 512])


@pytest.mark.parametrize(
    ("type", "raw", "text"),
    [
        (768, bytes([10, 0, 0, 1]), "10.0.0.1"),  # ARPHRD_TUNNEL
        (776, bytes([10, 0, 0, 1]), "10.0.0.1"),  # ARPHRD_SIT
        (778, bytes(4), "0.0.0.0"),  # ARPHRD_IPGRE
        (769, bytes.fromhex("20010db8") + bytes(11) + b"\1", "2001:db8::1"),  # ARPHRD_TUNNEL6
        (823, bytes(16), "::"),  # ARPHRD_IP6GRE
        (1, b"\2\0\0\0\0\1", "02:00:00:00:00:01"),
        (32, bytes(20), ":".join(20 * ["00"])),  # ARPHRD_INFINIBAND
    ],
)
def test_hardware_addresses_of_tunnels_are_ip_addresses(type: int, raw: bytes, text: str) -> None:
    found = link(type, attribute(1, raw), attribute(2, raw))
    assert (found["address"], found["broadcast"]) == (text, text)


def labels(*numbers: int) -> bytes:
    """A label stack without the TTLs."""
    end = 1 << 8
    return b"".join(struct.pack(">I", n << 12 | (end if n == numbers[-1] else 0)) for n in numbers)


def test_mpls_routes_map_a_label_to_others() -> None:
    header = bytes([AF_MPLS, 20, 0, 0, 254, 4, 0, 1]) + bytes(4)
    via = attribute(18, struct.pack("=H4B", AF_INET, 10, 0, 0, 2))
    found = row(
        "mpls_route", RTM_NEWROUTE, header, attribute(1, labels(100)), attribute(19, labels(200, 300)), via
    )
    assert (found["dst"], found["newdst"], found["via"]) == (100, "200/300", "10.0.0.2")
    hop = attribute(19, labels(16)) + via
    hops = struct.pack("=HBBi", 8 + len(hop), 0, 0, 7) + hop + struct.pack("=HBBi", 8, 0, 1, 8)
    found = row("mpls_route", RTM_NEWROUTE, header, attribute(1, labels(101)), attribute(9, hops))
    assert (found["dst"], found["multipath_newdst"]) == (101, ["16", None])
    assert found["multipath_ifindex"] == [7, 8]
    whole = message(RTM_NEWROUTE, header + attribute(1, labels(100)))
    assert len(Batch.from_datagrams("route", [whole]).table("route")) == 0
