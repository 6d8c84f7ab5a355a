"""Just enough of rtnetlink to make and remove what the demo shows: requests built with struct."""

import os
import socket
import struct
from ipaddress import ip_interface, ip_network
from typing import Self

RTM_NEWLINK, RTM_DELLINK, RTM_SETLINK = 16, 17, 19
RTM_NEWADDR = 20
RTM_NEWROUTE, RTM_DELROUTE = 24, 25
NLMSG_ERROR = 2
REQUEST, ACK, EXCL, CREATE = 0x1, 0x4, 0x200, 0x400
IFF_UP = 1
IFLA_IFNAME, IFLA_LINKINFO, IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 3, 18, 1, 2, 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_OIF = 1, 4
RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_LINK, RTN_UNICAST = 254, 4, 253, 1

NLMSGHDR = struct.Struct("=IHHII")


def attribute(kind: int, data: bytes) -> bytes:
    """A struct nlattr and its data, padded to 4."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def link_header(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    """A struct ifinfomsg."""
    return struct.pack("=BxHiII", 0, 0, index, flags, change)


class Rtnetlink:
    """A socket for requests; each waits for its ack. OSError as the kernel answers."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.bind((0, 0))
        self._seq = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def request(self, kind: int, body: bytes, flags: int = 0) -> None:
        """Send one request and wait for what the kernel says."""
        self._seq += 1
        header = NLMSGHDR.pack(NLMSGHDR.size + len(body), kind, REQUEST | ACK | flags, self._seq, 0)
        self._socket.send(header + body)
        while True:
            answer = self._socket.recv(8192)
            _, said, _, seq, _ = NLMSGHDR.unpack_from(answer)
            if said == NLMSG_ERROR and seq == self._seq:
                (error,) = struct.unpack_from("=i", answer, NLMSGHDR.size)
                if error:
                    raise OSError(-error, os.strerror(-error))
                return

    def add_veth(self, name: str, peer: str) -> None:
        """Make a pair of virtual Ethernet devices."""
        other = attribute(VETH_INFO_PEER, link_header() + attribute(IFLA_IFNAME, peer.encode() + b"\0"))
        info = attribute(IFLA_INFO_KIND, b"veth") + attribute(IFLA_INFO_DATA, other)
        body = link_header() + attribute(IFLA_IFNAME, name.encode() + b"\0") + attribute(IFLA_LINKINFO, info)
        self.request(RTM_NEWLINK, body, CREATE | EXCL)

    def set_up(self, index: int) -> None:
        """Bring a device up."""
        self.request(RTM_SETLINK, link_header(index, IFF_UP, IFF_UP))

    def delete_link(self, index: int) -> None:
        """Remove a device (and a veth's peer)."""
        self.request(RTM_DELLINK, link_header(index))

    def add_address(self, index: int, address: str) -> None:
        """Give a device an address, such as 10.0.0.1/24."""
        interface = ip_interface(address)
        family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
        header = struct.pack("=BBBBI", family, interface.network.prefixlen, 0, 0, index)
        packed = interface.ip.packed
        body = header + attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
        self.request(RTM_NEWADDR, body, CREATE | EXCL)

    def route(self, kind: int, index: int, network: str) -> None:
        """RTM_NEWROUTE or RTM_DELROUTE to an IPv4 network, through a device."""
        to = ip_network(network)
        header = struct.pack(
            "=BBBBBBBBI", socket.AF_INET, to.prefixlen, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_LINK,
            RTN_UNICAST, 0,
        )  # fmt: skip
        where = attribute(RTA_DST, to.network_address.packed) + attribute(RTA_OIF, struct.pack("=I", index))
        self.request(kind, header + where, CREATE | EXCL if kind == RTM_NEWROUTE else 0)
