"""Random packets: mostly whole, of the protocols whose headers are columns, with what makes headers hard."""

import struct
from random import Random

IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
ETHERTYPES = (*(IPV4,) * 6, *(IPV6,) * 6, ARP, 0x8100, 0x88A8, 0x88CC)


def any_packet(rng: Random, ethertype: int) -> bytes:
    """A packet of this EtherType from its network header on, of 200 bytes at most."""
    if ethertype in (0x8100, 0x88A8):
        inner = rng.choice(ETHERTYPES)
        return rng.randbytes(2) + struct.pack(">H", inner) + any_packet(rng, inner)[:150]
    build = {IPV4: _ipv4, IPV6: _ipv6, ARP: _arp}.get(ethertype)
    return rng.randbytes(rng.randint(0, 60)) if build is None else build(rng)


def _ipv4(rng: Random) -> bytes:
    words = rng.choice((5, 5, 5, 5, 6, 15, rng.randint(0, 15)))
    protocol, rest = _transport(rng, 4)
    fragment = rng.choice((0, 0, 0, 0x4000, 0x4000, 0x2000, 0x0010, 0x2001, rng.randint(0, 0xFFFF)))
    length = rng.choice((4 * words + len(rest), 4 * words + len(rest), 0, rng.randint(0, 200)))
    fixed = struct.pack(
        ">BBHHHBBH", rng.choice((4, 4, 4, 6)) << 4 | words, rng.randint(0, 255), length,
        rng.randint(0, 0xFFFF), fragment, rng.randint(0, 255), protocol, 0,
    )  # fmt: skip
    return fixed + rng.randbytes(max(4 * words - 12, 8)) + rest + bytes(rng.choice((0, 0, 6)))


def _ipv6(rng: Random) -> bytes:
    protocol, rest = _transport(rng, 6)
    for _ in range(rng.choice((0, 0, 0, 0, 1, 2, 3, 18))):
        kind = rng.choice((0, 43, 60, 51, 44))
        if kind == 44:
            fragment = rng.choice((0, 1, 8, rng.randint(0, 0xFFFF)))
            rest = struct.pack(">BBHI", protocol, 0, fragment, rng.randint(0, 2**32 - 1)) + rest
        else:
            size = rng.choice((0, 0, 1, 255)) if kind != 51 else rng.choice((1, 4))
            length = (size + 2) * 4 if kind == 51 else (size + 1) * 8
            rest = bytes((protocol, size)) + bytes(min(length, 40) - 2) + rest
        protocol = kind
    length = rng.choice((len(rest), len(rest), 0, rng.randint(0, 200)))
    word = rng.choice((6, 6, 6, 4)) << 28 | rng.randint(0, 2**28 - 1)
    return struct.pack(">IHBB", word, length, protocol, rng.randint(0, 255)) + rng.randbytes(32) + rest


def _arp(rng: Random) -> bytes:
    hardware, protocol = rng.choice((6, 6, 0, 255)), rng.choice((4, 4, 16))
    kind = rng.choice((0x0800, 0x0800, 0x86DD))
    return struct.pack(">HHBBH", 1, kind, hardware, protocol, rng.randint(0, 9)) + rng.randbytes(20)


def _transport(rng: Random, version: int) -> tuple[int, bytes]:
    protocol = rng.choice(
        (6, 6, 6, 17, 17, 1, 58, *((1, 58)[version == 6],) * 3, 132, 33, 136, 50, rng.randint(0, 255))
    )
    data = bytearray(rng.randbytes(rng.choice((0, 3, 8, 13, 20, 40, 40, 60, 60))))
    if protocol == 6 and len(data) > 12:
        data[12] = rng.choice((0x50, 0x50, 0xA0, 0x10)) | data[12] & 15
    if protocol in (1, 58) and data:
        data[0] = rng.choice(((0, 8), (128, 129))[version == 6] + (3, 1, 11, 128, 8))
    return protocol, bytes(data)
