"""Just enough of rtnetlink to make and remove what the demo shows: requests built with struct."""

import socket
import struct
from ipaddress import ip_interface, ip_network

from nlbus.kernel.requests import Requests, attribute

RTM_NEWLINK, RTM_DELLINK, RTM_SETLINK = 16, 17, 19
RTM_NEWADDR = 20
RTM_NEWROUTE, RTM_DELROUTE = 24, 25
EXCL, CREATE = 0x200, 0x400
IFF_UP = 1
IFLA_IFNAME, IFLA_LINKINFO, IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 3, 18, 1, 2, 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_OIF = 1, 4
RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_LINK, RTN_UNICAST = 254, 4, 253, 1


def link_header(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    """A struct ifinfomsg."""
    return struct.pack("=BxHiII", 0, 0, index, flags, change)


class Rtnetlink(Requests):
    """A socket for these requests; each waits for its ack."""

    def __init__(self) -> None:
        super().__init__(socket.NETLINK_ROUTE)

    def request(self, kind: int, body: bytes, flags: int = 0) -> None:
        """Send one request; KernelError as the kernel answers."""
        self.ask(kind, body, f"rtnetlink request {kind}", flags)

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
