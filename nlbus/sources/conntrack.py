"""conntrack: connections as netfilter tracks them, and those that it expects.

Columns have the kernel's names, with two exceptions that conntrack(8) makes as well. Names of one direction
begin with `orig` or `reply` and leave out the nests between: CTA_TUPLE_ORIG > CTA_TUPLE_IP > CTA_IP_V4_SRC is
`orig_src`, CTA_COUNTERS_REPLY > CTA_COUNTERS_BYTES is `reply_bytes`. Attributes with one number for IPv4
and another for IPv6 share a column: `orig_src`, `orig_icmp_type`.
"""

import struct
from collections.abc import Mapping

from nlbus.kernel.constants import MessageFlag, NewFlag
from nlbus.kernel.groups import Groups
from nlbus.kernel.requests import NFGENMSG, attribute
from nlbus.schema.manners import Manners, Partial
from nlbus.schema.naming import bits, numbered
from nlbus.schema.schema import Attr, Dump, Entry, Filter, Nest, Op, Schema, Struct, ignored
from nlbus.schema.types import ADDRESS, BE16, BE32, BE64, BYTES, SBE32, TEXT, U8, Field, fixed, pad
from nlbus.sources.source import NEEDS_ADMIN, Source

NFNL_SUBSYS_CTNETLINK, NFNL_SUBSYS_CTNETLINK_EXP = 1, 2
IPCTNL_MSG_CT_GET_STATS = 5
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_FILTER = 1, 2, 25
CTA_TUPLE_PROTO = 2
CTA_FILTER_F_PROTO = 1 << 3  # CTA_FILTER_F_CTA_PROTO_NUM; the bits of the ports follow
NLA_F_NESTED = 0x8000

CONNECTIONS = ("NEW", "GET", "DELETE", "GET_CTRZERO", "GET_STATS_CPU", "GET_STATS", "GET_DYING")
EXPECTATIONS = ("NEW", "GET", "DELETE", "GET_STATS_CPU")

# -- names of values ----------------------------------------------------------------------------------


FAMILY = {2: "inet", 10: "inet6"}  # AF_*

IPPROTO = {
    0: "ip", 1: "icmp", 2: "igmp", 4: "ipip", 6: "tcp", 8: "egp", 12: "pup", 17: "udp", 22: "idp", 29: "tp",
    33: "dccp", 41: "ipv6", 46: "rsvp", 47: "gre", 50: "esp", 51: "ah", 58: "icmpv6", 92: "mtp", 94: "beetph",
    98: "encap", 103: "pim", 108: "comp", 115: "l2tp", 132: "sctp", 136: "udplite", 137: "mpls",
    143: "ethernet", 144: "aggfrag", 255: "raw",
}  # fmt: skip

TCP_STATE = numbered(  # TCP_CONNTRACK_*; SYN_SENT2 was LISTEN
    "NONE SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT CLOSE_WAIT LAST_ACK TIME_WAIT CLOSE SYN_SENT2"
)
SCTP_STATE = numbered(  # SCTP_CONNTRACK_*
    "NONE CLOSED COOKIE_WAIT COOKIE_ECHOED ESTABLISHED SHUTDOWN_SENT SHUTDOWN_RECD SHUTDOWN_ACK_SENT "
    "HEARTBEAT_SENT"
)
DCCP_STATE = numbered(  # CT_DCCP_*
    "NONE REQUEST RESPOND PARTOPEN OPEN CLOSEREQ CLOSING TIMEWAIT IGNORE INVALID"
)
DCCP_ROLE = {0: "CLIENT", 1: "SERVER"}  # CT_DCCP_ROLE_*
DIRECTION = {0: "ORIGINAL", 1: "REPLY"}  # IP_CT_DIR_*

STATUS = bits(  # IPS_*
    "EXPECTED SEEN_REPLY ASSURED CONFIRMED SRC_NAT DST_NAT SEQ_ADJUST SRC_NAT_DONE DST_NAT_DONE DYING "
    "FIXED_TIMEOUT TEMPLATE UNTRACKED HELPER OFFLOAD HW_OFFLOAD"
)
TCP_FLAGS = bits(  # IP_CT_TCP_FLAG_*
    "WINDOW_SCALE SACK_PERM CLOSE_INIT BE_LIBERAL DATA_UNACKNOWLEDGED MAXACK_SET EXP_CHALLENGE_ACK "
    "SIMULTANEOUS_OPEN"
)
EXPECT_FLAGS = bits("PERMANENT INACTIVE USERSPACE")  # NF_CT_EXPECT_*

# -- messages -----------------------------------------------------------------------------------------

HEADER = (
    Field("family", U8, enum=FAMILY),
    pad(1),  # version
    pad(2),  # res_id
)  # struct nfgenmsg


def _tuple(kernel: str, number: int, column: str) -> Nest:
    """One direction of a connection; for GRE, the ports are its keys."""
    ip = (
        Attr("CTA_IP_V4_SRC", 1, ADDRESS, column="src"),
        Attr("CTA_IP_V4_DST", 2, ADDRESS, column="dst"),
        Attr("CTA_IP_V6_SRC", 3, ADDRESS, column="src"),
        Attr("CTA_IP_V6_DST", 4, ADDRESS, column="dst"),
    )
    proto = (
        Attr("CTA_PROTO_NUM", 1, U8, enum=IPPROTO, column="proto"),
        Attr("CTA_PROTO_SRC_PORT", 2, BE16, column="sport"),
        Attr("CTA_PROTO_DST_PORT", 3, BE16, column="dport"),
        Attr("CTA_PROTO_ICMP_ID", 4, BE16),
        Attr("CTA_PROTO_ICMP_TYPE", 5, U8),
        Attr("CTA_PROTO_ICMP_CODE", 6, U8),
        Attr("CTA_PROTO_ICMPV6_ID", 7, BE16, column="icmp_id"),
        Attr("CTA_PROTO_ICMPV6_TYPE", 8, U8, column="icmp_type"),
        Attr("CTA_PROTO_ICMPV6_CODE", 9, U8, column="icmp_code"),
    )
    entries = (
        Nest("CTA_TUPLE_IP", 1, "CTA_IP_", ip, column="-"),
        Nest("CTA_TUPLE_PROTO", 2, "CTA_PROTO_", proto, column="-"),
        Attr("CTA_TUPLE_ZONE", 3, BE16),  # if zones differ by direction
    )
    return Nest(kernel, number, "CTA_TUPLE_", entries, column=column)


def _counters(kernel: str, number: int, column: str) -> Nest:
    entries: tuple[Entry, ...] = (
        Attr("CTA_COUNTERS_PACKETS", 1, BE64, unit="packets"),
        Attr("CTA_COUNTERS_BYTES", 2, BE64, unit="bytes"),
        Attr("CTA_COUNTERS32_PACKETS", 3, BE32, unit="packets", column="packets"),  # of old kernels
        Attr("CTA_COUNTERS32_BYTES", 4, BE32, unit="bytes", column="bytes"),
        *ignored("CTA_COUNTERS_", PAD=5),
    )
    return Nest(kernel, number, "CTA_COUNTERS_", entries, column=column)


def _seqadj(kernel: str, number: int, column: str) -> Nest:
    """The shift of TCP sequence numbers, before and after a position where data grew or shrank."""
    entries = (
        Attr("CTA_SEQADJ_CORRECTION_POS", 1, BE32),
        Attr("CTA_SEQADJ_OFFSET_BEFORE", 2, SBE32, unit="bytes"),
        Attr("CTA_SEQADJ_OFFSET_AFTER", 3, SBE32, unit="bytes"),
    )
    return Nest(kernel, number, "CTA_SEQADJ_", entries, column=column)


def _tcp_flags(kernel: str, number: int, column: str) -> Struct:
    """A struct nf_ct_tcp_flags; the kernel fills only its flags."""
    return Struct(kernel, number, (Field(column, U8, flags=TCP_FLAGS), pad(1)), column="-")


PROTOINFO = Nest(
    "CTA_PROTOINFO",
    4,
    "CTA_PROTOINFO_",
    (
        Nest(
            "CTA_PROTOINFO_TCP",
            1,
            "CTA_PROTOINFO_TCP_",
            (
                Attr("CTA_PROTOINFO_TCP_STATE", 1, U8, enum=TCP_STATE),
                Attr("CTA_PROTOINFO_TCP_WSCALE_ORIGINAL", 2, U8, unit="bits"),
                Attr("CTA_PROTOINFO_TCP_WSCALE_REPLY", 3, U8, unit="bits"),
                _tcp_flags("CTA_PROTOINFO_TCP_FLAGS_ORIGINAL", 4, "flags_original"),
                _tcp_flags("CTA_PROTOINFO_TCP_FLAGS_REPLY", 5, "flags_reply"),
            ),
        ),
        Nest(
            "CTA_PROTOINFO_DCCP",
            2,
            "CTA_PROTOINFO_DCCP_",
            (
                Attr("CTA_PROTOINFO_DCCP_STATE", 1, U8, enum=DCCP_STATE),
                Attr("CTA_PROTOINFO_DCCP_ROLE", 2, U8, enum=DCCP_ROLE),
                Attr("CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ", 3, BE64),
                *ignored("CTA_PROTOINFO_DCCP_", PAD=4),
            ),
        ),
        Nest(
            "CTA_PROTOINFO_SCTP",
            3,
            "CTA_PROTOINFO_SCTP_",
            (
                Attr("CTA_PROTOINFO_SCTP_STATE", 1, U8, enum=SCTP_STATE),
                Attr("CTA_PROTOINFO_SCTP_VTAG_ORIGINAL", 2, BE32, display="hex"),
                Attr("CTA_PROTOINFO_SCTP_VTAG_REPLY", 3, BE32, display="hex"),
            ),
        ),
    ),
    column="-",
)

# Attributes of requests only are left out: CTA_NAT_SRC, CTA_NAT_DST, CTA_FILTER and the masks.
CONNECTION = (
    _tuple("CTA_TUPLE_ORIG", 1, "orig"),
    _tuple("CTA_TUPLE_REPLY", 2, "reply"),
    Attr("CTA_STATUS", 3, BE32, flags=STATUS),
    PROTOINFO,
    Nest(
        "CTA_HELP",
        5,
        "CTA_HELP_",
        (
            Attr("CTA_HELP_NAME", 1, TEXT, column="helper"),
            Attr("CTA_HELP_INFO", 2, BYTES, column="helper_info"),
        ),
        column="-",
    ),
    Attr("CTA_TIMEOUT", 7, BE32, unit="s"),
    Attr("CTA_MARK", 8, BE32),
    _counters("CTA_COUNTERS_ORIG", 9, "orig"),
    _counters("CTA_COUNTERS_REPLY", 10, "reply"),
    Attr("CTA_USE", 11, BE32),
    Attr("CTA_ID", 12, BE32),
    _tuple("CTA_TUPLE_MASTER", 14, "master"),  # the connection that expected it
    _seqadj("CTA_SEQ_ADJ_ORIG", 15, "orig_seqadj"),
    _seqadj("CTA_SEQ_ADJ_REPLY", 16, "reply_seqadj"),
    Attr("CTA_ZONE", 18, BE16),
    Nest("CTA_SECCTX", 19, "CTA_SECCTX_", (Attr("CTA_SECCTX_NAME", 1, TEXT, column="secctx"),), column="-"),
    Nest(
        "CTA_TIMESTAMP",
        20,
        "CTA_TIMESTAMP_",
        (
            Attr("CTA_TIMESTAMP_START", 1, BE64, unit="ns", display="time"),
            Attr("CTA_TIMESTAMP_STOP", 2, BE64, unit="ns", display="time"),
            *ignored("CTA_TIMESTAMP_", PAD=3),
        ),
    ),
    Attr("CTA_LABELS", 22, fixed(16)),  # 128 bits, the lowest first
    Nest(
        "CTA_SYNPROXY",
        24,
        "CTA_SYNPROXY_",
        (
            Attr("CTA_SYNPROXY_ISN", 1, BE32),
            Attr("CTA_SYNPROXY_ITS", 2, BE32),
            Attr("CTA_SYNPROXY_TSOFF", 3, BE32),
        ),
    ),
    Attr("CTA_TIMESTAMP_EVENT", 27, BE64, unit="ns", display="time"),  # since Linux 6.14
)

# As the kernel tells them apart. CTA_ID is a hash of 32 bits: among 100,000 connections two may share one.
CONNECTION_KEY = (
    "family", "zone", "orig_zone", "orig_src", "orig_dst", "orig_proto", "orig_sport", "orig_dport",
    "orig_icmp_type", "orig_icmp_code", "orig_icmp_id",
)  # fmt: skip

EXPECTATION = (
    _tuple("CTA_EXPECT_MASTER", 1, "master"),
    _tuple("CTA_EXPECT_TUPLE", 2, "-"),
    _tuple("CTA_EXPECT_MASK", 3, "mask"),
    Attr("CTA_EXPECT_TIMEOUT", 4, BE32, unit="s"),
    Attr("CTA_EXPECT_ID", 5, BE32),
    Attr("CTA_EXPECT_HELP_NAME", 6, TEXT, column="helper"),
    Attr("CTA_EXPECT_ZONE", 7, BE16),
    Attr("CTA_EXPECT_FLAGS", 8, BE32, flags=EXPECT_FLAGS),
    Attr("CTA_EXPECT_CLASS", 9, BE32),
    Nest(
        "CTA_EXPECT_NAT",
        10,
        "CTA_EXPECT_NAT_",
        (
            Attr("CTA_EXPECT_NAT_DIR", 1, BE32, enum=DIRECTION),
            _tuple("CTA_EXPECT_NAT_TUPLE", 2, "-"),
        ),
    ),
    Attr("CTA_EXPECT_FN", 11, TEXT),
)


def _by_tuple(equal: Mapping[str, int]) -> Mapping[int, bytes]:
    """The tuples that a dump is filtered by (CTA_FILTER, since Linux 5.8): protocol, and its ports."""
    found: dict[int, bytes] = {}
    flags = {}
    for direction, (lead, kernel) in enumerate((("orig", CTA_TUPLE_ORIG), ("reply", CTA_TUPLE_REPLY)), 1):
        protocol = equal.get(f"{lead}_proto", -1)
        if not 0 <= protocol < 256:
            continue  # the kernel knows ports of a protocol only
        flags[direction] = CTA_FILTER_F_PROTO
        proto = attribute(1, bytes([protocol]))
        for number, name in ((2, "sport"), (3, "dport")):
            if 0 <= (port := equal.get(f"{lead}_{name}", -1)) < 1 << 16:
                flags[direction] |= CTA_FILTER_F_PROTO << number - 1
                proto += attribute(number, struct.pack(">H", port))
        found[kernel | NLA_F_NESTED] = attribute(CTA_TUPLE_PROTO | NLA_F_NESTED, proto)
    if flags:
        of_flags = (attribute(number, struct.pack("=I", bits)) for number, bits in flags.items())
        found[CTA_FILTER | NLA_F_NESTED] = b"".join(of_flags)
    return found


def _ops(subsystem: int) -> tuple[Op, ...]:
    """Only the flags tell a new object from a changed one; rows of a dump have neither's flags."""
    new, delete = subsystem << 8 | CONNECTIONS.index("NEW"), subsystem << 8 | CONNECTIONS.index("DELETE")
    return (
        Op(new, "new", NewFlag.CREATE, NewFlag.CREATE),
        Op(new, "new", MessageFlag.MULTI, MessageFlag.MULTI),
        Op(new, "change"),
        Op(delete, "del"),
    )


CONNTRACK = Source(
    name="conntrack",
    protocol=12,
    kernel_name="NETLINK_NETFILTER",
    framing="nlmsg",
    groups={"new": 1, "update": 2, "destroy": 3, "exp_new": 4, "exp_update": 5, "exp_destroy": 6},
    default=Groups(1, 2, 3),
    schemas=(
        Schema(
            name="conntrack",
            ops=_ops(NFNL_SUBSYS_CTNETLINK),
            header=HEADER,
            prefix="CTA_",
            entries=CONNECTION,
            key=CONNECTION_KEY,
            words={
                "src": "orig_src",
                "dst": "orig_dst",
                "sport": "orig_sport",
                "dport": "orig_dport",
                "proto": "orig_proto",
                "protonum": "orig_proto",
                "l3proto": "family",
                "type": "orig_icmp_type",
                "code": "orig_icmp_code",
                "state": ("tcp_state", "dccp_state", "sctp_state"),
            },
            groups=("new", "update", "destroy"),
            manners=Manners(
                partial=(Partial(ops=("change",)),),
                volatile=("timeout", "use", "orig_packets", "orig_bytes", "reply_packets", "reply_bytes"),
                unheard="the end of an entry that is older than the first listener",
            ),
            dump=Dump(
                NFNL_SUBSYS_CTNETLINK << 8 | 1,
                (bytes(4),),
                (Filter("family", 1, at=0), Filter("mark", 4, number=8, big_endian=True)),
                more=_by_tuple,
                split=(b"\x02\0\0\0", b"\x0a\0\0\0"),  # the kernel knows tuples of a family only
            ),
            about="connections: new, changed, gone",
        ),
        Schema(
            name="expect",
            ops=_ops(NFNL_SUBSYS_CTNETLINK_EXP),
            header=HEADER,
            prefix="CTA_EXPECT_",
            entries=EXPECTATION,
            key=("family", "zone", "src", "dst", "proto", "sport", "dport", "mask_src", "mask_sport"),
            words={"l3proto": "family"},
            groups=("exp_new", "exp_update", "exp_destroy"),
            dump=Dump(NFNL_SUBSYS_CTNETLINK_EXP << 8 | 1, (bytes(4),), (Filter("family", 1, at=0),)),
            about="connections that a helper expects, such as the data of FTP",
        ),
    ),
    sentinel=True,
    types={NFNL_SUBSYS_CTNETLINK << 8 | n: f"IPCTNL_MSG_CT_{name}" for n, name in enumerate(CONNECTIONS)}
    | {NFNL_SUBSYS_CTNETLINK_EXP << 8 | n: f"IPCTNL_MSG_EXP_{name}" for n, name in enumerate(EXPECTATIONS)},
    privileged=True,
    needs=NEEDS_ADMIN,
    option="CONFIG_NF_CT_NETLINK",
    module="nf_conntrack_netlink",
    ask=(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS, NFGENMSG.pack(0, 0, 0)),
    note="silent until a rule of this network namespace tracks connections (`ct state` or NAT), and about "
    "connections older than the first listener; counters and times need the sysctls "
    "net.netfilter.nf_conntrack_acct and nf_conntrack_timestamp",
    example="nlbus listen conntrack -g new,destroy",
)
