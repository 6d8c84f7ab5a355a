"""The columns of logged packets, beside tshark's reading of the same packets."""

import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from nlbus import Subscriber, Table, field
from tests.support.packets import IPV4, IPV6, any_packet
from tests.support.sockets import drain, ip, run

Subscribe = Callable[..., Subscriber]
LINKTYPE_RAW = 101
ETH_P_ALL = 3

# A column, and the fields of tshark with the same value, for IPv4 or IPv6.
FIELDS = {
    "ip_version": ("ip.version", "ipv6.version"),
    "src": ("ip.src", "ipv6.src"),
    "dst": ("ip.dst", "ipv6.dst"),
    "protocol": ("ip.proto", ""),
    "length": ("ip.len", ""),
    "ttl": ("ip.ttl", "ipv6.hlim"),
    "tos": ("ip.dsfield", "ipv6.tclass"),
    "ip_id": ("ip.id", "ipv6.fraghdr.ident"),
    "flow_label": ("", "ipv6.flow"),
    "sport": ("tcp.srcport", "udp.srcport"),
    "dport": ("tcp.dstport", "udp.dstport"),
    "tcp_flags": ("tcp.flags", ""),
    "tcp_seq": ("tcp.seq_raw", ""),
    "tcp_ack": ("tcp.ack_raw", ""),
    "tcp_window": ("tcp.window_size_value", ""),
    "icmp_type": ("icmp.type", "icmpv6.type"),
    "icmp_code": ("icmp.code", "icmpv6.code"),
    "icmp_seq": ("icmp.seq", "icmpv6.echo.sequence_number"),
}
NAMES = [name for pair in FIELDS.values() for name in pair if name]


def log_everything(group: int = 5, *more: str) -> None:
    ip("link set lo up mtu 1500")
    run("nft", "add table inet t; add chain inet t c { type filter hook prerouting priority -500; }")
    run("nft", f"add rule inet t c log group {group} {' '.join(more)}")


def talk(seed: int) -> None:
    """Over lo: connections, datagrams, an error, an echo, and fragments, of IPv4 and IPv6."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with (
            socket.create_server((host, 0), family=family) as server,
            socket.create_connection(server.getsockname()[:2]) as one,
            server.accept()[0] as other,
        ):
            one.sendall(b"question")
            other.recv(100)
            other.sendall(b"answer" * 100)
        with socket.socket(family, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"x", (host, 9))  # nobody listens: an ICMP error comes back
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            mtu = (socket.IPPROTO_IP, 10, 0) if family == socket.AF_INET else (socket.IPPROTO_IPV6, 23, 0)
            udp.setsockopt(*mtu)
            udp.sendto(Random(seed).randbytes(3000), (host, 9))
        number = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
        with socket.socket(family, socket.SOCK_RAW, number) as raw:
            kind = 8 if family == socket.AF_INET else 128
            echo = struct.pack(">BBHHH", kind, 0, 0, 7, 3) + b"data"
            raw.sendto(struct.pack(">BBHHH", kind, 0, checksum(echo), 7, 3) + b"data", (host, 0))


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def logged(sub: Subscriber) -> Table:
    time.sleep(0.02)
    return Table.concat([batch.table("packet") for batch in drain(sub, 0.05, atleast=1)])


def by_tshark(packets: list[bytes], directory: Path) -> list[dict[str, str]]:
    tool = shutil.which("tshark")
    if tool is None:
        pytest.skip("no `tshark` command: install tshark")
    file = directory / "packets.pcap"
    with file.open("wb") as out:
        out.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, LINKTYPE_RAW))
        for packet in packets:
            out.write(struct.pack("=IIII", 0, 0, len(packet), len(packet)) + packet)
    command = [tool, "-r", str(file), "-T", "fields", "-E", "occurrence=f", "-E", "separator=|"]
    for option in ("ip.defragment", "ipv6.defragment", "tcp.relative_sequence_numbers"):
        command += ["-o", f"{option}:FALSE"]
    for name in NAMES:
        command += ["-e", name]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return [dict(zip(NAMES, line.split("|"), strict=True)) for line in text.splitlines()]


def value(text: str) -> Any:
    return int(text, 0) if text and set(text) <= set("0123456789abcdefx") and ":" not in text else text


def agree(table: Table, theirs: list[dict[str, str]]) -> int:
    """Compare all fields of all packets; the number of values that both have."""
    assert len(table) == len(theirs)
    found = 0
    ours = {name: column(table, name) for name in FIELDS}
    for row, fields in enumerate(theirs):
        quoting = ours["icmp_type"][row] is not None  # tshark shows the ports of what an error quotes
        for name, pair in FIELDS.items():
            texts = [fields[field] for field in pair if field and fields[field]]
            if name in ("sport", "dport") and quoting:
                assert ours[name][row] is None
            elif texts:
                assert ours[name][row] == value(texts[0]), (row, name, fields)
                found += 1
            elif pair[0] and pair[1]:
                assert ours[name][row] is None, (row, name, fields)
    return found


def column(table: Table, name: str) -> list[Any]:
    valid = table.valid(name).tolist()
    if name in ("src", "dst"):
        return [row.get(name) for row in table.iter_rows()]
    return [number if there else None for number, there in zip(table[name].tolist(), valid, strict=True)]


def test_columns_are_as_tshark_reads_the_same_packets(subscribe: Subscribe, tmp_path: Path) -> None:
    log_everything()
    sub = subscribe("nflog", groups=5)
    talk(1)
    table = logged(sub)
    assert {6, 17, 1, 58} <= set(table["protocol"].tolist())
    assert (table.valid("frag_offset") & ~table.valid("sport")).any()  # a later fragment
    packets = [bytes(packet) for packet in table["payload"].tolist()]
    assert agree(table, by_tshark(packets, tmp_path)) > 10 * len(table) > 200
    assert sub.stats()["malformed"] == 0


def test_crafted_packets_are_as_tshark_reads_them(subscribe: Subscribe, tmp_path: Path) -> None:
    """Options, extension headers and AH, in what comes in by the wire."""
    rng = Random(18)
    ip("link add left type veth peer name right", "link set left up", "link set right up")
    run(
        "nft",
        "add table netdev t; add chain netdev t c { type filter hook ingress device right priority 0; }",
    )
    run("nft", "add rule netdev t c log group 5")
    sub = subscribe("nflog", groups=5)
    sent = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind(("left", 0))
        while len(sent) < 60:
            ethertype = rng.choice((IPV4, IPV6))
            packet = any_packet(rng, ethertype)
            if sound(packet, ethertype):
                wire.send(bytes(6) + b"\2" + bytes(5) + struct.pack(">H", ethertype) + packet)
                sent.append(packet)
    table = logged(sub).filter(field("hw_protocol").isin([IPV4, IPV6]))
    got = [bytes(packet) for packet in table["payload"].tolist()]
    ours = np.array([packet in sent for packet in got])  # the kernel sends some of its own
    assert ours.sum() == len(sent)
    table = table.filter(ours)
    assert set(table["hwaddr"].tolist()) == {b"\2" + bytes(5)}
    assert agree(table, by_tshark([bytes(packet) for packet in table["payload"].tolist()], tmp_path)) > 400


def sound(packet: bytes, ethertype: int) -> bool:
    """Whether the headers claim what is there: what is broken, tshark shows in its own ways."""
    if ethertype == IPV4:
        own = (packet[0] & 15) * 4
        length, fragment = struct.unpack_from(">HxxH", packet, 2)
        whole = packet[0] >> 4 == 4 and own >= 20 and own + 24 <= length == len(packet)
        return whole and not fragment & 0x8000 and packet[9] in (6, 17) and packet[own + 12] & 0x0E == 0
    length = struct.unpack_from(">H", packet, 4)[0]
    return packet[0] >> 4 == 6 and length + 40 == len(packet) and packet[6] in (17, 58) and length > 24


def test_copy_range_cuts_packets_and_the_columns_behind_it(subscribe: Subscribe) -> None:
    log_everything(5, "prefix", '"out"')
    sub = subscribe("nflog", groups=5, options={"copy_range": 22}, where=field("ip_version") == 4)
    talk(2)
    table = logged(sub)
    sizes = [len(packet) for packet in table["payload"].tolist()]
    assert set(sizes) == {22}
    assert set(table["ip_version"].tolist()) == {4}
    with_ports = np.isin(table["protocol"], (6, 17)) & ~(table["frag_offset"] > 0)
    assert np.array_equal(table.valid("sport"), with_ports)
    assert not table.valid("dport").any()
    assert set(table["prefix"].tolist()) == {"out"}
    assert "checked again" not in sub.explain()
