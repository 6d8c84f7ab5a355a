"""The encapsulation of a route (RTA_ENCAP), in the words of `ip`."""

import struct
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address

from nlbus.table.values import labels_text

KEY_FLAGS = {0x1: "csum", 0x4: "key", 0x8: "seq"}  # TUNNEL_*
SEG6_MODES = ("inline", "encap", "l2encap", "encap.red", "l2encap.red")  # SEG6_IPTUN_MODE_*
SEG6_HEAD = struct.Struct("=i4xB3x")  # the mode, and first_segment of struct ipv6_sr_hdr

Attributes = Mapping[int, bytes]


def encapsulation(kind: str, data: bytes) -> str:
    """The encapsulation as `ip` writes it; the attributes in hex if they are unknown or malformed."""
    try:
        return f"encap {kind} {' '.join(KINDS[kind](_attributes(data)))}".rstrip()
    except (KeyError, IndexError, ValueError, struct.error):
        return f"encap {kind} {data.hex()}"


def _attributes(data: bytes) -> Attributes:
    found = {}
    while data:
        length, number = struct.unpack_from("=HH", data)
        if not 4 <= length <= len(data):
            raise ValueError(f"an attribute of {length} bytes in {len(data)}")
        found[number & 0x3FFF] = data[4:length]
        data = data[length + -length % 4 :]
    return found


def _mpls(attributes: Attributes) -> Iterator[str]:
    yield labels_text(attributes[1])
    if 2 in attributes:
        yield f"ttl {attributes[2][0]}"


def _ip(address: type[IPv4Address | IPv6Address], hops: str, traffic: str) -> Callable[..., Iterator[str]]:
    """Of lwtunnel_ip_t and lwtunnel_ip6_t, which share attribute numbers."""

    def words(attributes: Attributes) -> Iterator[str]:
        if 8 in attributes:
            raise ValueError("options of the tunnel")
        yield f"id {int.from_bytes(attributes[1], 'big')}"
        yield f"src {address(attributes[3])}"
        yield f"dst {address(attributes[2])}"
        yield f"{hops} {attributes[4][0]}"
        yield f"{traffic} {attributes[5][0]}"
        flags = int.from_bytes(attributes.get(6, b""), "big")
        yield from (name for bit, name in KEY_FLAGS.items() if flags & bit)

    return words


def _seg6(attributes: Attributes) -> Iterator[str]:
    tunnel = attributes[1]
    mode, first = SEG6_HEAD.unpack_from(tunnel)
    segments = [tunnel[at : at + 16] for at in range(SEG6_HEAD.size, SEG6_HEAD.size + 16 * (first + 1), 16)]
    yield f"mode {SEG6_MODES[mode]}"
    # The header lists them from last to first.
    yield f"segs {len(segments)} [ {' '.join(str(IPv6Address(each)) for each in reversed(segments))} ]"


KINDS: Mapping[str, Callable[[Attributes], Iterator[str]]] = {
    "mpls": _mpls,
    "ip": _ip(IPv4Address, "ttl", "tos"),
    "ip6": _ip(IPv6Address, "hoplimit", "tc"),
    "seg6": _seg6,
}
