"""What nflog and nfqueue have in common: packets that a rule of netfilter sends to a numbered group."""

from __future__ import annotations

import struct
from socket import htons

from nlbus.kernel.constants import MessageType
from nlbus.kernel.requests import NFGENMSG, Reply, message
from nlbus.schema.naming import bits
from nlbus.schema.packet_headers import ETHERTYPES
from nlbus.schema.schema import Attr, Entry, Nest, Packet, Struct, ignored
from nlbus.schema.types import (
    BE16,
    BE32,
    BYTES,
    HWADDR,
    TIMEVAL,
    U8,
    Field,
    pad,
)

NETFILTER = 12  # the protocol
GROUP_0 = 1 << 16  # the number of the kernel's group 0
UNUSED = 65535
COPY_RANGE_MAX = 0xFFFF - 4

NETDEV, EGRESS = 5, 1  # NFPROTO_NETDEV, NF_NETDEV_EGRESS: there the MAC header comes first
FAMILY = {1: "inet", 2: "ipv4", 3: "arp", 5: "netdev", 7: "bridge", 10: "ipv6"}  # NFPROTO_*
HOOKS = {0: "prerouting", 1: "input", 2: "forward", 3: "output", 4: "postrouting"}  # NF_INET_*
CT_INFO = {0: "established", 1: "related", 2: "new", 3: "established_reply", 4: "related_reply"}  # IP_CT_*
CT_STATUS = bits(  # IPS_*
    "EXPECTED SEEN_REPLY ASSURED CONFIRMED SRC_NAT DST_NAT SEQ_ADJUST SRC_NAT_DONE DST_NAT_DONE DYING "
    "FIXED_TIMEOUT TEMPLATE UNTRACKED HELPER OFFLOAD HW_OFFLOAD"
)

CONNECTION: tuple[Entry, ...] = (
    Attr("CTA_STATUS", 3, BE32, flags=CT_STATUS),
    Attr("CTA_MARK", 8, BE32, display="hex"),
    Attr("CTA_ID", 12, BE32),
    Attr("CTA_ZONE", 18, BE16),
    Attr("CTA_LABELS", 22, BYTES),
    # The rest is that of the table conntrack, which has the id, too.
    *ignored(
        "CTA_", TUPLE_ORIG=1, TUPLE_REPLY=2, PROTOINFO=4, HELP=5, NAT_SRC=6, TIMEOUT=7, COUNTERS_ORIG=9,
        COUNTERS_REPLY=10, USE=11, NAT_DST=13, TUPLE_MASTER=14, SEQ_ADJ_ORIG=15, SEQ_ADJ_REPLY=16,
        SECMARK=17, SECCTX=19, TIMESTAMP=20, MARK_MASK=21, LABELS_MASK=23, SYNPROXY=24,
    ),
)  # fmt: skip

WORDS = {
    "in": "ifindex_indev",
    "iif": "ifindex_indev",
    "out": "ifindex_outdev",
    "oif": "ifindex_outdev",
    "dev": ("ifindex_indev", "ifindex_outdev"),
    "proto": "protocol",
    "ethertype": "hw_protocol",
}


def header(group: str) -> tuple[Field, ...]:
    """The fields of struct nfgenmsg, the last one being the kernel's number of the group."""
    return Field("family", U8, enum=FAMILY), pad(1), Field(group, BE16)


def packet_header(prefix: str, *first: Field) -> Struct:
    """The attribute with the EtherType and the hook, the first of each message."""
    fields = (*first, Field("hw_protocol", BE16, enum=ETHERTYPES), Field("hook", U8, enum=HOOKS))
    return Struct(f"{prefix}PACKET_HDR", 1, fields, column="-")


def packet_entries(prefix: str, numbers: dict[str, int]) -> tuple[Entry, ...]:
    """The attributes of a packet that both have; `numbers` has them by name, without those with numbers that
    only one of them has."""
    made: dict[str, Entry] = {
        "PAYLOAD": Packet(
            f"{prefix}PAYLOAD", numbers["PAYLOAD"], "hw_protocol", (("family", NETDEV), ("hook", EGRESS))
        ),
        "CT": Nest(f"{prefix}CT", numbers["CT"], "CTA_", CONNECTION),
        "CT_INFO": Attr(f"{prefix}CT_INFO", numbers["CT_INFO"], BE32, enum=CT_INFO),
        "VLAN": Nest(
            f"{prefix}VLAN",
            numbers["VLAN"],
            f"{prefix}VLAN_",
            (
                Attr(f"{prefix}VLAN_PROTO", 1, BE16, enum=ETHERTYPES),
                Attr(f"{prefix}VLAN_TCI", 2, BE16, display="hex"),
            ),
        ),
        "L2HDR": Attr(f"{prefix}L2HDR", numbers["L2HDR"], BYTES),
        "MARK": Attr(f"{prefix}MARK", numbers["MARK"], BE32, display="hex"),
        "TIMESTAMP": Attr(f"{prefix}TIMESTAMP", numbers["TIMESTAMP"], TIMEVAL, unit="ns"),
        "HWADDR": Attr(f"{prefix}HWADDR", numbers["HWADDR"], HWADDR),
        "UID": Attr(f"{prefix}UID", numbers["UID"], BE32),
        "GID": Attr(f"{prefix}GID", numbers["GID"], BE32),
    }
    devices = ("IFINDEX_INDEV", "IFINDEX_OUTDEV", "IFINDEX_PHYSINDEV", "IFINDEX_PHYSOUTDEV")
    made |= {name: Attr(f"{prefix}{name}", numbers[name], BE32, display="interface") for name in devices}
    return tuple(made[name] for name in numbers)


def config(kind: int, group: int, body: bytes, flags: int, seq: int) -> bytes:
    """A request about a group."""
    return message(kind, NFGENMSG.pack(0, 0, htons(group % GROUP_0)) + body, flags, seq)


def answer(reply: Reply, seq: int) -> int | None:
    """The errno of the answer to the request with this number, 0 for an ack; None for another message."""
    # An ack has the errno and then the header of the request.
    if reply.type != MessageType.ERROR or len(reply.body) < 20:
        return None
    error, _, _, _, acked = struct.unpack_from("=iIHHI", reply.body)
    return -error if acked == seq else None
