"""Messages as the kernel makes them: routes, links, connections, forks; and a full datagram of the bus."""

from __future__ import annotations

import socket
import struct

import numpy as np

from nlbus._core.block import MSG_BATCH
from nlbus.bench import chains
from nlbus.bench.native.floor import HEAD, new_batch
from nlbus.kernel.requests import Requests, attribute, message


def u32(number: int, value: int) -> bytes:
    return attribute(number, struct.pack("=I", value))


def routes(count: int) -> list[bytes]:
    """IPv4 routes by a gateway, as the kernel lists them."""
    head = struct.pack("=BBBBBBBBI", socket.AF_INET, 24, 0, 0, 254, 3, 0, 1, 0)
    source = attribute(7, bytes((10, 0, 0, 1)))
    return [
        message(
            24,
            head + u32(15, 254) + attribute(1, struct.pack(">I", 0x0A00_0000 + 256 * i)) + u32(6, 5) + source
            + attribute(5, struct.pack(">I", 0x0A00_0000 + i % 256)) + u32(4, 3),
            2,
            i,
        )
        for i in range(count)
    ]  # fmt: skip


def words_of_lo() -> bytes:
    """What this kernel says of the loopback interface, without the header."""
    with Requests(socket.NETLINK_ROUTE) as requests:
        (first, *_) = requests.dump(18, bytes(16), "links")
    return first.body


def links(count: int, words: bytes = b"") -> list[bytes]:
    """The kernel's own words of a network interface."""
    words = words or words_of_lo()
    return [message(16, words, 2, i) for i in range(count)]


def changing_links(count: int, words: bytes = b"") -> list[bytes]:
    """The same with addresses of many lengths: in 64 messages, no two have the same shape."""
    words = words or words_of_lo()
    begin = words.index(attribute(1, bytes(6)))
    before, after = words[:begin], words[begin + 2 * len(attribute(1, bytes(6))) :]
    return [
        message(
            16,
            before + attribute(1, bytes(1 + 4 * (i % 8))) + attribute(2, bytes(1 + 4 * (i // 8 % 8))) + after,
            2,
            i,
        )
        for i in range(count)
    ]


def connections(count: int) -> list[bytes]:
    """New TCP connections, as conntrack tells of them."""

    def nest(number: int, *inner: bytes) -> bytes:
        return attribute(0x8000 | number, b"".join(inner))

    def side(number: int, sport: int, dport: int) -> bytes:
        host = bytes((127, 0, 0, 1))
        ports = attribute(2, struct.pack(">H", sport)), attribute(3, struct.pack(">H", dport))
        address = nest(1, attribute(1, host), attribute(2, host))
        return nest(number, address, nest(2, attribute(1, b"\6"), *ports))

    tcp = [attribute(1, b"\1"), attribute(2, b"\x0a"), attribute(3, b"\0")]
    state = nest(4, nest(1, *tcp, attribute(4, b"\3\0"), attribute(5, b"\0\0")))
    rest = attribute(3, struct.pack(">I", 8)) + attribute(7, struct.pack(">I", 120)) + state
    return [
        message(
            0x100,
            b"\2\0\0\0" + side(1, i % 60000, 80) + side(2, 80, i % 60000) + u32(12, i) + rest,
            0x600,
            i,
        )
        for i in range(count)
    ]


def packets(count: int) -> list[bytes]:
    """Logged TCP packets with a prefix, as nflog tells of them at the hook `input`."""

    def be(number: int, form: str, *values: int) -> bytes:
        return attribute(number, struct.pack(f">{form}", *values))

    mac = b"\x02\0\0\0\0\1"
    head = b"\2\0\0\5" + be(1, "HBx", 0x0800, 1) + attribute(10, b"in: \0") + be(4, "I", 2)
    head += be(15, "H", 1) + be(17, "H", 14) + attribute(16, mac * 2 + b"\x08\0")
    head += be(8, "HH6s2x", 6, 0, mac)
    made = []
    for i in range(count):
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 60, i & 0xFFFF, 0x4000, 64, 6, 0) + bytes(
            (10, 0, 0, 1, 10, 0, 0, 2)
        )
        tcp = struct.pack(">HHIIHHHH", i % 60000, 443, i, 0, 0xA002, 64240, 0, 0) + bytes(20)
        rest = be(3, "QQ", 1_700_000_000, i) + attribute(9, ip + tcp) + be(12, "I", i)
        made.append(message(0x400, head + rest, 0, 0))
    return made


def forks(count: int) -> list[bytes]:
    """Forks, as the process connector tells of them."""
    return [
        message(
            3,
            struct.pack("=IIIIHH", 1, 1, i, 0, 40, 0)
            + struct.pack("=IIQ4I", 1, 0, 10**12 + i, 7, 7, i, i)
            + bytes(8),
            0,
            i,
        )
        for i in range(count)
    ]


def packed(count: int) -> bytes:
    """One datagram of the bus."""
    batch = new_batch(1, chains.EVENT.itemsize)
    batch["count"] = count
    header = np.zeros(1, chains.HEADER)
    header["len"] = HEAD + count * chains.EVENT.itemsize
    header["type"] = MSG_BATCH
    return header.tobytes() + batch.tobytes() + chains.events(count).tobytes()
