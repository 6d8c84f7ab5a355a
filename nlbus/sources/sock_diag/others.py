"""Sockets of other families: unix, netlink, packet, vsock, xdp."""

import struct

from nlbus.schema.schema import Attr, Dump, Entry, List, Op, Schema, Struct, ignored
from nlbus.schema.types import BYTES, U8, U16, U32, U64, Field, pad
from nlbus.schema.words import NO_WORDS, Words
from nlbus.sources.sock_diag.inet import EVERY_STATE, SOCK_DIAG_BY_FAMILY, skmeminfo
from nlbus.sources.sock_diag.names import (
    FAMILIES,
    NETLINK_FLAGS,
    NETLINK_PROTOCOLS,
    PACKET_FLAGS,
    SHUTDOWNS,
    STATES,
    TYPES,
    UMEM_FLAGS,
)

AF_UNIX, AF_NETLINK, AF_PACKET, AF_VSOCK, AF_XDP = 1, 16, 17, 40, 44
EVERY_PROTOCOL = 0xFF  # NDIAG_PROTO_ALL
# What to report: bits of *_show, all that these tables have.
UNIX_SHOW, NETLINK_SHOW, PACKET_SHOW, XDP_SHOW = 0x7F & ~0x08, 0x0B, 0x15, 0x1F


def _table(
    name: str,
    about: str,
    family: int,
    request: bytes,
    header: tuple[Field, ...],
    prefix: str,
    entries: tuple[Entry, ...] = (),
    *,
    option: str,
    repeats: str = "",
    words: Words = NO_WORDS,
) -> Schema:
    return Schema(
        name=name,
        about=about,
        ops=(Op(SOCK_DIAG_BY_FAMILY, "new", seq=family),),
        selector=(0, 1, family),
        key=("cookie",),
        words={"ino": "inode", "sk": "cookie", **words},
        dump=Dump(SOCK_DIAG_BY_FAMILY, (request,), seq=family, repeats=repeats, option=option),
        header=(Field("family", U8, enum=FAMILIES), *header),
        prefix=prefix,
        entries=entries,
    )


XDP_COUNTERS = (
    "n_rx_dropped",
    "n_rx_invalid",
    "n_rx_full",
    "n_fill_ring_empty",
    "n_tx_invalid",
    "n_tx_ring_empty",
)

UNIX = _table(
    "unix",
    "UNIX domain sockets",
    AF_UNIX,
    struct.pack("=2B2x3I8x", AF_UNIX, 0, EVERY_STATE, 0, UNIX_SHOW),
    (  # struct unix_diag_msg
        Field("type", U8, enum=TYPES),
        Field("state", U8, enum=STATES),
        pad(1),
        Field("inode", U32),
        Field("cookie", U64),
    ),
    "UNIX_DIAG_",
    (
        # An abstract name begins with NUL, and has no end but its length.
        Attr("UNIX_DIAG_NAME", 0, BYTES),
        Struct("UNIX_DIAG_VFS", 1, (Field("ino", U32), Field("dev", U32, display="hex"))),
        Attr("UNIX_DIAG_PEER", 2, U32, column="peer_inode"),
        *ignored("UNIX_DIAG_", ICONS=3),
        Struct("UNIX_DIAG_RQLEN", 4, (Field("rqueue", U32), Field("wqueue", U32)), column="-"),
        skmeminfo("UNIX_DIAG_MEMINFO", 5),
        Attr("UNIX_DIAG_SHUTDOWN", 6, U8, flags=SHUTDOWNS),
        Attr("UNIX_DIAG_UID", 7, U32),
    ),
    option="CONFIG_UNIX_DIAG",
    words={"recv_q": "rqueue", "send_q": "wqueue"},
)

NETLINK = _table(
    "netlink",
    "netlink sockets",
    AF_NETLINK,
    struct.pack("=2B2x2I8x", AF_NETLINK, EVERY_PROTOCOL, 0, NETLINK_SHOW),
    (  # struct netlink_diag_msg
        Field("type", U8, enum=TYPES),
        Field("protocol", U8, enum=NETLINK_PROTOCOLS),
        Field("state", U8, enum={0: "unconnected", 1: "connected", 7: "close"}),
        Field("portid", U32),
        Field("dst_portid", U32),
        Field("dst_group", U32),
        Field("inode", U32),
        Field("cookie", U64),
    ),
    "NETLINK_DIAG_",
    (
        skmeminfo("NETLINK_DIAG_MEMINFO", 0),
        List("NETLINK_DIAG_GROUPS", 1, U32, display="hex"),  # a mask per 32 groups
        *ignored("NETLINK_DIAG_", RX_RING=2, TX_RING=3),
        Attr("NETLINK_DIAG_FLAGS", 4, U32, flags=NETLINK_FLAGS),
    ),
    option="CONFIG_NETLINK_DIAG",
    repeats="cookie",  # members of groups
)

PACKET = _table(
    "packet",
    "packet sockets",
    AF_PACKET,
    struct.pack("=2B2x2I8x", AF_PACKET, 0, 0, PACKET_SHOW),
    (  # struct packet_diag_msg
        Field("type", U8, enum=TYPES),
        Field("num", U16, display="hex"),
        Field("inode", U32),
        Field("cookie", U64),
    ),
    "PACKET_DIAG_",
    (
        Struct(
            "PACKET_DIAG_INFO",
            0,
            (
                Field("ifindex", U32, absent=0, display="interface"),
                Field("version", U32),
                Field("reserve", U32, "bytes"),
                Field("copy_thresh", U32),
                Field("tstamp", U32),
                Field("flags", U32, flags=PACKET_FLAGS),
            ),
            column="-",
        ),
        *ignored("PACKET_DIAG_", MCLIST=1, RX_RING=2, TX_RING=3),
        Attr("PACKET_DIAG_FANOUT", 4, U32, display="hex"),
        Attr("PACKET_DIAG_UID", 5, U32),
        skmeminfo("PACKET_DIAG_MEMINFO", 6),
        *ignored("PACKET_DIAG_", FILTER=7),
    ),
    option="CONFIG_PACKET_DIAG",
    words={"dev": "ifindex"},
)

VSOCK = _table(
    "vsock",
    "sockets between a virtual machine and its host",
    AF_VSOCK,
    struct.pack("=2B2x3I8x", AF_VSOCK, 0, EVERY_STATE, 0, 0),
    (  # struct vsock_diag_msg
        Field("type", U8, enum=TYPES),
        Field("state", U8, enum=STATES),
        Field("shutdown", U8, flags=SHUTDOWNS),
        Field("src_cid", U32),
        Field("src_port", U32),
        Field("dst_cid", U32),
        Field("dst_port", U32),
        Field("inode", U32),
        Field("cookie", U64),
    ),
    "VSOCK_DIAG_",
    option="CONFIG_VSOCKETS_DIAG",
)

XDP = _table(
    "xdp",
    "AF_XDP sockets",
    AF_XDP,
    struct.pack("=2B2x2I8x", AF_XDP, 0, 0, XDP_SHOW),
    (  # struct xdp_diag_msg
        Field("type", U8, enum=TYPES),
        pad(2),
        Field("inode", U32),
        Field("cookie", U64),
    ),
    "XDP_DIAG_",
    (
        Struct(
            "XDP_DIAG_INFO",
            1,
            (Field("ifindex", U32, absent=0, display="interface"), Field("queue_id", U32)),
            column="-",
        ),
        Attr("XDP_DIAG_UID", 2, U32),
        Attr("XDP_DIAG_RX_RING", 3, U32),
        Attr("XDP_DIAG_TX_RING", 4, U32),
        Struct(
            "XDP_DIAG_UMEM",
            5,
            (
                Field("size", U64, "bytes"),
                Field("id", U32),
                Field("num_pages", U32),
                Field("chunk_size", U32, "bytes"),
                Field("headroom", U32, "bytes"),
                Field("ifindex", U32, display="interface"),
                Field("queue_id", U32),
                Field("flags", U32, flags=UMEM_FLAGS),
                Field("refs", U32),
            ),
        ),
        Attr("XDP_DIAG_UMEM_FILL_RING", 6, U32),
        Attr("XDP_DIAG_UMEM_COMPLETION_RING", 7, U32),
        skmeminfo("XDP_DIAG_MEMINFO", 8),
        Struct(
            "XDP_DIAG_STATS",
            9,
            tuple(Field(name, U64) for name in XDP_COUNTERS),
            column="-",
        ),
    ),
    option="CONFIG_XDP_SOCKETS_DIAG",
    words={"dev": "ifindex"},
)
