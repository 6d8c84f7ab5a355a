"""addr: the addresses of links; multicast, anycast: the groups that a link has joined."""

from dataclasses import replace

from nlbus.schema.manners import Doubt, Manners
from nlbus.schema.schema import Attr, Dump, Filter, Op, Schema, Struct, ignored
from nlbus.schema.types import ADDRESS, S32, TEXT, U8, U32, Field
from nlbus.sources.route.names import (
    ADDR_FLAGS,
    ADDR_PROTOCOLS,
    CLOCK,
    FAMILIES,
    IFINDEX,
    NEW_ADDR,
    SCOPES,
    ops,
)

# struct ifaddrmsg
HEADER = (
    Field("family", U8, enum=FAMILIES),
    Field("prefixlen", U8, "bits"),
    Field("flags", U8, flags=ADDR_FLAGS),
    Field("scope", U8, enum=SCOPES),
    Field("ifindex", IFINDEX),
)

CACHEINFO = Struct(
    "IFA_CACHEINFO",
    6,
    (
        Field("prefered", U32, "s"),  # 0xffffffff: forever
        Field("valid", U32, "s"),
        Field("cstamp", U32, CLOCK),  # created, since boot
        Field("tstamp", U32, CLOCK),  # changed, since boot
    ),
)

UNTOLD = Manners(
    volatile=("cacheinfo_*",),
    doubts=(
        Doubt(of="link", why="a link joins groups when it goes up, and leaves them, without a message"),
        Doubt(of="addr", why="an address joins its groups, without a message"),
    ),
)

ADDR = Schema(
    words={
        "dev": "ifindex",
        "peer": "address",
        "valid_lft": "cacheinfo_valid",
        "metric": "rt_priority",
        "preferred_lft": "cacheinfo_prefered",
    },
    name="addr",
    about="addresses of network interfaces",
    ops=ops(NEW_ADDR),
    key=("ifindex", "family", "local", "address", "prefixlen"),
    manners=Manners(
        volatile=("cacheinfo_*",),
        doubts=(Doubt(of="link", match={"ifindex": "ifindex"}, why="addresses change with their link"),),
    ),
    groups=("ipv4_ifaddr", "ipv6_ifaddr", "phonet_ifaddr", "mctp_ifaddr"),
    dump=Dump(22, (bytes(8),), (Filter("family", 1, at=0), Filter("ifindex", 4, at=4))),
    header=HEADER,
    prefix="IFA_",
    entries=(
        Attr("IFA_ADDRESS", 1, ADDRESS),  # the peer's, if there is a peer
        Attr("IFA_LOCAL", 2, ADDRESS),
        Attr("IFA_LABEL", 3, TEXT),
        Attr("IFA_BROADCAST", 4, ADDRESS),
        Attr("IFA_ANYCAST", 5, ADDRESS),
        CACHEINFO,
        Attr("IFA_FLAGS", 8, U32, flags=ADDR_FLAGS),
        Attr("IFA_RT_PRIORITY", 9, U32),
        Attr("IFA_TARGET_NETNSID", 10, S32),
        Attr("IFA_PROTO", 11, U8, enum=ADDR_PROTOCOLS),
        *ignored("IFA_", MULTICAST=7),
    ),
)

MULTICAST = Schema(
    words={"dev": "ifindex"},
    name="multicast",
    about="multicast groups that network interfaces have joined",
    ops=(*ops(56), Op(58, "new")),  # RTM_NEWMULTICAST; rows of a dump have the type of the request
    key=("ifindex", "family", "multicast"),
    manners=replace(
        UNTOLD,
        doubts=(
            *UNTOLD.doubts,
            Doubt(of="multicast", ops=("new",), why="a message says scope universe where a dump says site"),
        ),
    ),
    groups=("ipv4_mcaddr", "ipv6_mcaddr"),
    dump=Dump(58, (b"\x02" + bytes(7), b"\x0a" + bytes(7))),  # of IPv4 since Linux 6.15
    header=HEADER,
    prefix="IFA_",
    entries=(Attr("IFA_MULTICAST", 7, ADDRESS), CACHEINFO),
)

ANYCAST = Schema(
    words={"dev": "ifindex"},
    name="anycast",
    about="anycast addresses of network interfaces",
    ops=(*ops(60), Op(62, "new")),  # RTM_NEWANYCAST
    key=("ifindex", "family", "anycast"),
    manners=UNTOLD,
    groups=("ipv6_acaddr",),
    dump=Dump(62, (b"\x0a" + bytes(7),), (Filter("ifindex", 4, at=4),)),
    header=HEADER,
    prefix="IFA_",
    entries=(Attr("IFA_ANYCAST", 5, ADDRESS), CACHEINFO),
)
