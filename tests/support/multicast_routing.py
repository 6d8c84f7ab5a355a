"""Multicast routes of IPv4 and IPv6; they last as long as the sockets that made them."""

import socket
import struct
from contextlib import ExitStack

MRT_INIT, MRT_ADD_VIF, MRT_ADD_MFC = 200, 202, 204  # MRT6_* are the same
VIFF_USE_IFINDEX = 8
NEVER = 255  # TTL threshold that no packet passes
TTL = 7


def multicast_routes(stack: ExitStack, incoming: str, outgoing: str) -> None:
    """One route per family, and an IPv4 route made by a second socket, which the kernel calls static."""
    ipv4 = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP))
    ipv4.setsockopt(socket.IPPROTO_IP, MRT_INIT, 1)
    for number, name in enumerate((incoming, outgoing)):
        vif = struct.pack("=HBBIII", number, VIFF_USE_IFINDEX, 1, 0, socket.if_nametoindex(name), 0)
        ipv4.setsockopt(socket.IPPROTO_IP, MRT_ADD_VIF, vif)
    ipv4.setsockopt(socket.IPPROTO_IP, MRT_ADD_MFC, _mfc("239.9.0.1"))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP) as other:
        other.setsockopt(socket.IPPROTO_IP, MRT_ADD_MFC, _mfc("239.9.0.2"))
    ipv6 = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6))
    ipv6.setsockopt(socket.IPPROTO_IPV6, MRT_INIT, 1)
    for number, name in enumerate((incoming, outgoing)):
        mif = struct.pack("=HBBHxxI", number, 0, 1, socket.if_nametoindex(name), 0)
        ipv6.setsockopt(socket.IPPROTO_IPV6, MRT_ADD_VIF, mif)
    addresses = b"".join(
        struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, address), 0)
        for address in ("fd00::7", "ff0e::7")
    )
    ipv6.setsockopt(socket.IPPROTO_IPV6, MRT_ADD_MFC, addresses + struct.pack("=Hxx8I", 0, 1 << 1, *[0] * 7))


def _mfc(group: str) -> bytes:
    """A struct mfcctl from the first interface to the second."""
    ttls = bytes([NEVER, TTL]) + bytes([NEVER]) * 30
    addresses = socket.inet_aton("10.1.0.7") + socket.inet_aton(group)
    return addresses + struct.pack("=H32s2xIIIi", 0, ttls, 0, 0, 0, 0)
