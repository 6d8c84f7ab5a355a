"""The columns of a packet's headers: IPv4, IPv6, ARP, TCP, UDP, ICMP. _core/columns/headers.pxd finds them.

A field that was not copied, or that the packet does not have, is null. The headers behind IPv6's are stepped
over to the transport's; a fragment other than the first has no transport header. What an ICMP error quotes is
not taken apart.
"""

from typing import Final

from nlbus.schema.types import HEADER_ADDRESS, U8, U16, U32, Field

PROTOCOLS: Final = {  # IPPROTO_*
    0: "hopopt", 1: "icmp", 2: "igmp", 4: "ipip", 6: "tcp", 17: "udp", 33: "dccp", 41: "ipv6", 46: "rsvp",
    47: "gre", 50: "esp", 51: "ah", 58: "icmpv6", 59: "none", 89: "ospf", 94: "beetph", 103: "pim",
    108: "comp", 112: "vrrp", 115: "l2tp", 132: "sctp", 136: "udplite", 137: "mpls", 143: "ethernet",
    255: "raw",
}  # fmt: skip
TCP_FLAGS: Final = {
    0x01: "fin", 0x02: "syn", 0x04: "rst", 0x08: "psh", 0x10: "ack", 0x20: "urg", 0x40: "ece", 0x80: "cwr",
    0x100: "ae",
}  # fmt: skip
ETHERTYPES: Final = {
    0x0800: "ipv4", 0x0806: "arp", 0x8100: "vlan", 0x86DD: "ipv6", 0x8847: "mpls", 0x8863: "pppoe_discovery",
    0x8864: "pppoe", 0x88A8: "qinq", 0x88CC: "lldp",
}  # fmt: skip
ARP_OPS: Final = {1: "request", 2: "reply", 3: "rrequest", 4: "rreply", 8: "inrequest", 9: "inreply"}
IP_FLAGS: Final = {1: "mf", 2: "df", 4: "rf"}  # more fragments, do not fragment, reserved

FIELDS: Final = (
    Field("ip_version", U8),
    Field("src", HEADER_ADDRESS),
    Field("dst", HEADER_ADDRESS),
    Field("protocol", U8, enum=PROTOCOLS),
    Field("sport", U16),
    Field("dport", U16),
    Field("tcp_flags", U16, flags=TCP_FLAGS),
    Field("tcp_seq", U32),
    Field("tcp_ack", U32),
    Field("tcp_window", U16),  # as sent, not scaled
    Field("icmp_type", U8),
    Field("icmp_code", U8),
    Field("icmp_id", U16),  # of echo
    Field("icmp_seq", U16),
    Field("arp_op", U16, enum=ARP_OPS),
    Field("length", U32, unit="bytes"),  # of the packet, whatever was copied of it
    Field("ttl", U8),
    Field("tos", U8, display="hex"),
    Field("ip_id", U32),
    Field("ip_flags", U8, flags=IP_FLAGS),
    Field("frag_offset", U16, unit="bytes"),  # of a fragment
    Field("flow_label", U32, display="hex"),
    Field("data_offset", U16, unit="bytes"),  # where data behind the header of TCP or UDP begin in the packet
)
