"""The other messages of rtnetlink: their headers and few attributes."""

import struct

from nlbus.schema.manners import Doubt, Manners
from nlbus.schema.schema import Attr, Dump, Op, Schema, Struct, ignored
from nlbus.schema.types import ADDRESS, S32, U8, U16, U32, Field, pad
from nlbus.sources.route.link import OLDEST_STATS64, STATS64
from nlbus.sources.route.names import FAMILIES, IFINDEX, ops

FAMILY = Field("family", U8, enum=FAMILIES)


PREFIX = Schema(
    words={"dev": "ifindex"},
    name="prefix",
    about="IPv6 prefixes that routers have advertised",
    ops=ops(52),  # RTM_NEWPREFIX
    groups=("ipv6_prefix",),
    header=(  # struct prefixmsg
        FAMILY,
        pad(3),
        Field("ifindex", IFINDEX),
        Field("type", U8),
        Field("len", U8, "bits"),
        Field("flags", U8, flags={1: "onlink", 2: "autoconf"}),
        pad(1),
    ),
    prefix="PREFIX_",
    entries=(Attr("PREFIX_ADDRESS", 1, ADDRESS), *ignored("PREFIX_", CACHEINFO=2)),
)

NDUSEROPT = Schema(
    words={"dev": "ifindex"},
    name="nduseropt",
    about="options of router advertisements for user space",
    ops=ops(68),  # RTM_NEWNDUSEROPT
    groups=("nd_useropt",),
    header=(  # struct nduseroptmsg; the options follow, not attributes
        FAMILY,
        pad(1),
        Field("opts_len", U16, "bytes"),
        Field("ifindex", IFINDEX),
        Field("icmp_type", U8),
        Field("icmp_code", U8),
        pad(6),
    ),
)

DCB = Schema(
    name="dcb",
    about="data centre bridging",
    ops=(Op(78, "new"), Op(79, "new")),  # only RTM_GETDCB and RTM_SETDCB exist
    groups=("dcb",),
    header=(FAMILY, Field("cmd", U8), pad(2)),  # struct dcbmsg
)

NSID = Schema(
    name="nsid",
    about="numbers of other network namespaces",
    ops=ops(88),  # RTM_NEWNSID
    key=("nsid",),
    groups=("nsid",),
    manners=Manners(ends="nsid"),
    dump=Dump(90, (bytes(4),)),
    header=(FAMILY,),  # struct rtgenmsg
    prefix="NETNSA_",
    entries=(
        Attr("NETNSA_NSID", 1, S32),
        Attr("NETNSA_TARGET_NSID", 4, S32),
        Attr("NETNSA_CURRENT_NSID", 5, S32),
        *ignored("NETNSA_", PID=2, FD=3),
    ),
)

LINK_64 = 1  # IFLA_STATS_LINK_64; bit n - 1 requests attribute n

STATS = Schema(
    words={"dev": "ifindex"},
    name="stats",
    about="statistics of network interfaces, and, as events, which of them are collected by hardware",
    ops=ops(92),  # RTM_NEWSTATS
    key=("ifindex", "filter_mask"),
    manners=Manners(
        volatile=("link_64_*",),
        doubts=(Doubt(of="link", why="statistics come and go with their link"),),
    ),
    groups=("stats",),
    dump=Dump(94, (struct.pack("=8xI", 1 << LINK_64 - 1),)),
    header=(FAMILY, pad(3), Field("ifindex", IFINDEX), Field("filter_mask", U32, display="hex")),
    prefix="IFLA_STATS_",  # struct if_stats_msg
    entries=(
        Struct("IFLA_STATS_LINK_64", LINK_64, STATS64, min_size=OLDEST_STATS64),
        *ignored("IFLA_STATS_", UNSPEC=0),  # padding
        *ignored("IFLA_STATS_", LINK_XSTATS=2, LINK_XSTATS_SLAVE=3, LINK_OFFLOAD_XSTATS=4, AF_SPEC=5),
    ),
)

CACHEREPORT = Schema(
    name="cachereport",
    about="multicast packets that have no route",
    ops=ops(96),  # RTM_NEWCACHEREPORT
    groups=("ipv4_mroute_r", "ipv6_mroute_r"),
    header=(FAMILY,),  # struct rtgenmsg
    prefix="IPMRA_CREPORT_",  # and IP6MRA_CREPORT_, the same numbers
    entries=(
        Attr("IPMRA_CREPORT_MSGTYPE", 1, U8),
        Attr("IPMRA_CREPORT_VIF_ID", 2, U32),
        Attr("IPMRA_CREPORT_SRC_ADDR", 3, ADDRESS),
        Attr("IPMRA_CREPORT_DST_ADDR", 4, ADDRESS),
        Attr("IPMRA_CREPORT_TABLE", 6, U32),
        *ignored("IPMRA_CREPORT_", PKT=5),
    ),
)

OTHERS = (PREFIX, NDUSEROPT, DCB, NSID, STATS, CACHEREPORT)
