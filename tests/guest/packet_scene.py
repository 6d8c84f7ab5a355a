"""Traffic for the tests of nlbus_packet.ko, and its capture by packet sockets and tshark."""

import csv
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nlbus import Subscriber
from tests.guest.helpers import load, loaded

SO_MARK, IP_MTU_DISCOVER, IPV6_DSTOPTS = 36, 10, 59
IPV6_PMTU, PMTU_DONT = 23, 0
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6, PACKET_OUTGOING = 3, 0x0800, 0x86DD, 4
LINKTYPE_RAW = 101
IPPROTO_NOBODYS = 200


def run(command: str) -> str:
    """A command, which must succeed."""
    done = subprocess.run(command.split(), check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def packets(netns: int) -> None:
    """nlbus_packet.ko is loaded; lo is up."""
    if not loaded("nlbus_packet"):
        load("nlbus_packet")
    run("ip link set lo up")


def rows(sub: Subscriber, patience: float = 0.7) -> list[dict[str, Any]]:
    """The rows of all that has come, until nothing more does."""
    found: list[dict[str, Any]] = []
    while batch := sub.recv(timeout=patience):
        assert not batch.loss
        found += batch.rows()
    return found


def keep_hooks() -> None:
    """A chain of nftables at each hook, so that the kernel need not patch its code when our hooks go.

    Where code is patched while another CPU runs it, QEMU 7.2 may go on with the old instruction for ever.
    """
    run("nft add table inet keep")
    for hook in ("prerouting", "input", "forward", "output", "postrouting"):
        run(f"nft add chain inet keep {hook} {{ type filter hook {hook} priority 0 ; }}")


# -- traffic ----------------------------------------------------------------------------------------


def udp(family: int = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTU_DONT)
    return sock


def tcp_talk(address: str, port: int = 0) -> int:
    """A connection: data both ways, then its end. The port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, port), family=family) as server:
        port = server.getsockname()[1]
        with socket.create_connection((address, port), timeout=10) as client:
            other, _ = server.accept()
            with other:
                client.sendall(b"x" * 5000)
                got = 0
                while got < 5000:
                    got += len(other.recv(65536))
                other.sendall(b"thanks")
                client.recv(100)
    return port


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def echo_request(payload: bytes) -> bytes:
    header = struct.pack("!BBHHH", 8, 0, 0, 77, 1)
    return struct.pack("!BBHHH", 8, 0, checksum(header + payload), 77, 1) + payload


def talk() -> None:
    """Packets of many kinds on lo, whose MTU is 1500."""
    for address in ("127.0.0.1", "::1"):
        tcp_talk(address)
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with udp(family) as sock, udp(family) as sink:
            sink.bind((address, 9))
            sock.setsockopt(socket.SOL_SOCKET, SO_MARK, 0x2A)
            for size in (0, 1, 1000, 4000):  # the last one in fragments
                sock.sendto(b"u" * size, (address, 9))
        with socket.socket(family) as refused:
            assert refused.connect_ex((address, 1)) != 0
    with udp() as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x48)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 3)
        sock.sendto(b"t", ("127.0.0.1", 10))  # answered by ICMP, as no socket is there
    with udp(socket.AF_INET6) as sock:
        options = bytes([0, 0, 1, 4, 0, 0, 0, 0])  # PadN
        sock.sendmsg([b"o"], [(socket.IPPROTO_IPV6, IPV6_DSTOPTS, options)], 0, ("::1", 10))
    for protocol, payload in (
        (socket.IPPROTO_ICMP, echo_request(b"p" * 56)),
        (IPPROTO_NOBODYS, b"whatever"),
    ):
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) as raw:
            raw.sendto(payload, ("127.0.0.1", 0))


# -- what others see --------------------------------------------------------------------------------


class Seen:
    """A packet socket on an interface: the IP packets that came in, or went out."""

    def __init__(self, ifname: str = "lo") -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.bind((ifname, ETH_P_ALL))
        self.socket.setblocking(False)

    def packets(self, *, outgoing: bool) -> list[bytes]:
        """All that there are by now, either way."""
        found = []
        while True:
            try:
                data, address = self.socket.recvfrom(1 << 17)
            except BlockingIOError:
                return found
            _, protocol, kind, *_ = address
            if protocol in (ETH_P_IP, ETH_P_IPV6) and (kind == PACKET_OUTGOING) == outgoing:
                found.append(data)


@contextmanager
def seen(ifname: str = "lo") -> Iterator[Seen]:
    one = Seen(ifname)
    with one.socket:
        yield one


def write_pcap(path: Path, packets: list[bytes]) -> None:
    head = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, LINKTYPE_RAW)
    records = (struct.pack("=IIII", i, 0, len(data), len(data)) + data for i, data in enumerate(packets))
    path.write_bytes(head + b"".join(records))


TSHARK = {
    "src4": "ip.src", "src6": "ipv6.src", "dst4": "ip.dst", "dst6": "ipv6.dst", "ttl": "ip.ttl",
    "hlim": "ipv6.hlim", "dscp": "ip.dsfield", "tclass": "ipv6.tclass", "proto4": "ip.proto",
    "nxt6": "ipv6.nxt", "id4": "ip.id", "frag4": "ip.frag_offset", "frag6": "ipv6.fraghdr.offset",
    "mf4": "ip.flags.mf", "mf6": "ipv6.fraghdr.more", "id6": "ipv6.fraghdr.ident",
    "dst_nxt": "ipv6.dstopts.nxt",
    "frag_nxt": "ipv6.fraghdr.nxt", "tcp_sport": "tcp.srcport", "tcp_dport": "tcp.dstport",
    "udp_sport": "udp.srcport", "udp_dport": "udp.dstport", "seq": "tcp.seq_raw", "ack": "tcp.ack_raw",
    "flags": "tcp.flags", "window": "tcp.window_size_value", "tcp_len": "tcp.len",
    "type4": "icmp.type", "code4": "icmp.code", "type6": "icmpv6.type", "code6": "icmpv6.code",
    "length": "frame.len",
}  # fmt: skip


def by_tshark(path: Path) -> list[dict[str, Any]]:
    """The packets of a file as tshark reads them, under the names of our columns."""
    if shutil.which("tshark") is None:
        pytest.skip("needs tshark")
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=,", "-E", "occurrence=f"]
    # Fragments as they are; a port of ours must not look like some protocol's.
    for preference in ("ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.relative_sequence_numbers:FALSE"):
        command += ["-o", preference]
    for name in TSHARK.values():
        command += ["-e", name]
    environment = os.environ | {"HOME": "/tmp"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return [_columns(dict(zip(TSHARK, line, strict=True))) for line in csv.reader(done.stdout.splitlines())]


def _columns(told: dict[str, str]) -> dict[str, Any]:
    def number(*names: str) -> int | None:
        values = [told[name] for name in names if told[name]]
        return {"True": 1, "False": 0}.get(values[0]) or int(values[0], 0) if values else None

    fragment = number("mf4", "mf6") or number("frag4", "frag6")
    # tshark, too, shows in an ICMP error the ports of the packet that it is about.
    icmp = number("type4", "type6") is not None
    return {
        "src": told["src4"] or told["src6"],
        "dst": told["dst4"] or told["dst6"],
        "length": number("length"),
        "ttl": number("ttl", "hlim"),
        "tos": number("dscp", "tclass"),
        "protocol": number({"44": "frag_nxt", "60": "dst_nxt"}.get(told["nxt6"], "nxt6"), "proto4"),
        "id": number("id4", "id6"),
        "frag_offset": (number("frag4", "frag6") or 0) * 8 if fragment else None,
        "sport": None if icmp else number("tcp_sport", "udp_sport"),
        "dport": None if icmp else number("tcp_dport", "udp_dport"),
        "seq": number("seq"),
        "ack": number("ack"),
        "window": number("window"),
        "payload": None if icmp else number("tcp_len"),
        "tcp_flags": number("flags"),
        "icmp_type": number("type4", "type6"),
        "icmp_code": number("code4", "code6"),
    }


COMPARED = tuple(_columns(dict.fromkeys(TSHARK, "")))


# -- three namespaces -------------------------------------------------------------------------------


@contextmanager
def router() -> Iterator[None]:
    """Namespaces `left` (10.0.1.2) and `right` (10.0.2.2), and this one between them, with vl and vr."""
    try:
        for name, net in (("left", 1), ("right", 2)):
            device = f"v{name[0]}"
            run(f"ip netns add {name}")
            run(f"ip link add {device} type veth peer name eth0 netns {name}")
            run(f"ip addr add 10.0.{net}.1/24 dev {device}")
            run(f"ip link set {device} up")
            run(f"ip -n {name} addr add 10.0.{net}.2/24 dev eth0")
            run(f"ip -n {name} link set eth0 up")
            run(f"ip -n {name} link set lo up")
            run(f"ip -n {name} route add default via 10.0.{net}.1")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        time.sleep(0.5)  # until veth reports its carrier
        yield
    finally:
        for name in ("left", "right"):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
