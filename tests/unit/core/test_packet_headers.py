"""The columns of packets' headers: cut anywhere, of any bytes, as the reference has them."""

import struct
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nlbus.sources import find
from tests.support.decoding import agree
from tests.support.packet_reference import dissected
from tests.support.packets import ETHERTYPES, any_packet
from tests.support.reference import attribute

PACKET = 0x400
SCHEMA = find("nflog").schemas[0]
IPV4, IPV6 = 0x0800, 0x86DD
SRC, DST = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
MAPPED = bytes(10) + b"\xff\xff"


def logged(ethertype: int, packet: bytes, family: int = 2) -> bytes:
    """The payload of nflog's message about this packet."""
    head = attribute(1, struct.pack(">HBx", ethertype, 1))
    return bytes((family, 0, 0, 5)) + head + attribute(9, packet)


def fields(ethertype: int, *packets: bytes) -> list[dict[str, Any]]:
    """The columns of the headers, without nulls, that both decoders find."""
    found = agree(SCHEMA, [(PACKET, 0, logged(ethertype, packet)) for packet in packets])
    assert not any(found.damaged)
    assert not found.unknown
    beside = {"family", "group", "hw_protocol", "hook", "payload"}
    return [
        {name: value for name, value in row.items() if value is not None and name not in beside}
        for row in found.rows
    ]


def ipv4(protocol: int, rest: bytes, fragment: int = 0) -> bytes:
    return struct.pack(">BBHHHBBH", 0x45, 4, 20 + len(rest), 7, fragment, 64, protocol, 0) + SRC + DST + rest


def ipv6(protocol: int, rest: bytes) -> bytes:
    return struct.pack(">IHBB", 6 << 28 | 0x12345, len(rest), protocol, 64) + bytes(32) + rest


TCP = struct.pack(">HHIIHHHH", 1000, 80, 11, 12, 0x5112, 512, 0, 0)
UDP = struct.pack(">HHHH", 53, 54, 8, 0)


def test_tcp_over_ipv4() -> None:
    (row,) = fields(IPV4, ipv4(6, TCP + b"GET"))
    assert row == {
        "ip_version": 4, "src": MAPPED + SRC, "dst": MAPPED + DST, "protocol": 6, "sport": 1000, "dport": 80,
        "tcp_seq": 11, "tcp_ack": 12, "tcp_flags": 0x112, "tcp_window": 512, "length": 43, "ttl": 64,
        "tos": 4, "ip_id": 7, "ip_flags": 0, "data_offset": 40,
    }  # fmt: skip


def test_fields_that_were_not_copied_are_null() -> None:
    whole = ipv4(6, TCP)
    rows = fields(IPV4, *(whole[:size] for size in range(len(whole) + 1)))
    firsts = {name: next(size for size, row in enumerate(rows) if name in row) for name in rows[-1]}
    assert firsts == {
        "ip_version": 1, "tos": 2, "length": 4, "ip_id": 6, "ip_flags": 8, "ttl": 9, "protocol": 10,
        "src": 16, "dst": 20, "sport": 22, "dport": 24, "tcp_seq": 28, "tcp_ack": 32, "tcp_flags": 34,
        "tcp_window": 36, "data_offset": 40,
    }  # fmt: skip


def test_only_the_first_fragment_has_ports() -> None:
    first, later = fields(IPV4, ipv4(17, UDP, 0x2000), ipv4(17, UDP, 0x0002))
    assert (first["sport"], first["frag_offset"], first["ip_flags"]) == (53, 0, 1)
    assert (later.get("sport"), later["frag_offset"], later["ip_flags"]) == (None, 16, 0)
    head = struct.pack(">BBHI", 17, 0, 1, 99)
    tail = struct.pack(">BBHI", 17, 0, 16, 99)
    first, later = fields(IPV6, ipv6(44, head + UDP), ipv6(44, tail + UDP))
    assert (first["sport"], first["ip_id"], first["ip_flags"]) == (53, 99, 1)
    assert (later.get("sport"), later["frag_offset"], later["protocol"]) == (None, 16, 17)


def test_headers_between_are_stepped_over_within_a_bound() -> None:
    options = bytes((60, 0)) + bytes(6)
    last = bytes((17, 1)) + bytes(14)
    few, many = fields(IPV6, ipv6(60, options * 3 + last + UDP), ipv6(60, options * 40 + last + UDP))
    assert (few["protocol"], few["sport"], few["data_offset"]) == (17, 53, 40 + 40 + 8)
    assert "protocol" not in many
    assert "sport" not in many


def test_what_an_icmp_error_quotes_is_not_its_own() -> None:
    error, echo = fields(
        IPV4, ipv4(1, bytes((3, 3)) + bytes(6) + ipv4(17, UDP)), ipv4(1, bytes((8, 0, 0, 0, 0, 9, 0, 1)))
    )
    assert (error["icmp_type"], error["icmp_code"], error["protocol"]) == (3, 3, 1)
    assert not {"sport", "icmp_id"} & error.keys()
    assert (echo["icmp_id"], echo["icmp_seq"]) == (9, 1)


def test_the_padding_of_short_frames_is_no_header() -> None:
    (row,) = fields(IPV4, ipv4(17, b"") + UDP)
    assert "sport" not in row


def test_vlan_tags_arp_and_strangers() -> None:
    arp = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 2) + bytes(6) + SRC + bytes(6) + DST
    tagged, twice = struct.pack(">HH", 5, 0x0806) + arp, struct.pack(">HHHH", 5, 0x8100, 6, 0x0806) + arp
    expected = {"arp_op": 2, "src": MAPPED + SRC, "dst": MAPPED + DST}
    assert fields(0x0806, arp) == fields(0x8100, tagged) == fields(0x88A8, twice) == [expected]
    assert fields(0x88CC, ipv4(17, UDP)) == [{}]
    assert fields(IPV4, ipv6(17, UDP)) == fields(IPV6, ipv4(17, UDP)) == [{}]


def test_a_prefix_that_was_not_set_is_null() -> None:
    head = logged(IPV4, b"")
    rows = agree(SCHEMA, [(PACKET, 0, head + attribute(10, text)) for text in (b"\0", b"", b"drop\0")]).rows
    assert [row["prefix"] for row in rows] == [None, None, "drop"]


def test_where_the_mac_header_comes_first_no_field_is_read() -> None:
    mac_like_ipv4 = ipv4(17, UDP)
    found = agree(SCHEMA, [(PACKET, 0, logged(IPV4, mac_like_ipv4, family)) for family in (5, 7)]).rows
    assert [row["ip_version"] for row in found] == [None, 4]
    assert found[0]["payload"] == mac_like_ipv4


def test_a_payload_before_its_ethertype_has_no_fields() -> None:
    payload = b"\x02\0\0\5" + attribute(9, ipv4(17, UDP)) + attribute(1, struct.pack(">HBx", IPV4, 1))
    (row,) = agree(SCHEMA, [(PACKET, 0, payload)]).rows
    # The reference and the decoder both need it first, as the kernel sends it.
    assert (row["ip_version"], row["payload"]) == (None, ipv4(17, UDP))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_any_packet_cut_anywhere_is_as_the_reference_has_it(seed: int) -> None:
    rng = Random(seed)
    ethertype = rng.choice(ETHERTYPES)
    packets = []
    for _ in range(8):
        packet = any_packet(rng, ethertype)
        packets += [packet, packet[: rng.randint(0, len(packet))], packet[: rng.randint(0, 60)]]
    rows = fields(ethertype, *packets)
    assert rows == [dissected(ethertype, packet) for packet in packets]
