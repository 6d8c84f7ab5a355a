"""route: the routing tables, of unicast and multicast."""

from nlbus.schema.manners import Doubt, Manners
from nlbus.schema.schema import Attr, Dump, Elements, Filter, Nest, Schema, Struct, ignored
from nlbus.schema.types import (
    ADDRESS,
    BE16,
    BE32,
    BYTES,
    LABEL,
    LABELS,
    S32,
    TEXT,
    U8,
    U16,
    U32,
    U64,
    UINT,
    VIA,
    VIA6,
    Field,
)
from nlbus.sources.route.names import (
    CLOCK,
    ENCAPSULATIONS,
    FAMILIES,
    FEATURES,
    HOP_FLAGS,
    IFINDEX,
    IP_PROTOCOLS,
    METRICS,
    NEW_ROUTE,
    ROUTE_FLAGS,
    ROUTE_PROTOCOLS,
    ROUTE_TYPES,
    ROUTER_PREFERENCES,
    SCOPES,
    TABLES,
    ops,
)

AF_INET6, AF_MPLS = 10, 28
RTN_BLACKHOLE = 6
RTPROT_STATIC, RTPROT_MROUTED = 4, 17

# struct rtmsg
HEADER = (
    Field("family", U8, enum=FAMILIES),
    Field("dst_len", U8, "bits"),
    Field("src_len", U8, "bits"),
    Field("tos", U8),
    Field("table", U8, enum=TABLES),
    Field("protocol", U8, enum=ROUTE_PROTOCOLS),
    Field("scope", U8, enum=SCOPES),
    Field("type", U8, enum=ROUTE_TYPES),
    Field("flags", U32, flags=ROUTE_FLAGS),
)

# struct rtnexthop
HOP = (
    Field("", U16),  # length
    Field("flags", U8, flags=HOP_FLAGS),
    Field("hops", U8),  # weight - 1; of multicast routes the TTL threshold
    Field("ifindex", IFINDEX),
)

# What one message may replace: IPv6 may have several routes of it that differ by their next hop only, as
# fe80::/64 on every link, and both families may have been told to append one.
SLOT = ("family", "table", "dst", "dst_len", "src", "src_len", "tos", "priority")

ROUTES = Schema(
    words={
        "dev": "oif",
        "via": "gateway",
        "from": "src",
        "src": "prefsrc",
        "proto": "protocol",
        "metric": "priority",
        "nhid": "nh_id",
        "realm": "flow",
        "realms": "flow",
    },
    name="route",
    about="routes, except those of MPLS",
    ops=ops(NEW_ROUTE),
    unless=(0, 1, AF_MPLS),
    key=(*SLOT, "oif", "gateway", "prefsrc", "protocol", "scope", "type", "nh_id", "via"),
    groups=("ipv4_route", "ipv6_route", "ipv4_mroute", "ipv6_mroute", "phonet_route"),
    manners=Manners(
        slot=SLOT,
        beside=(
            "metrics_*",
            "multipath_ifindex",
            "multipath_gateway",
            "multipath_via",
            "multipath_hops",
            "iif",
        ),
        merging={"family": AF_INET6},
        volatile=("cacheinfo_*", "expires", "mfc_stats_*", "flags", "multipath_flags"),
        doubts=(
            Doubt(
                of="link",
                match={("oif", "multipath_ifindex", "iif"): "ifindex"},
                why="a link that goes down or away takes its IPv4 routes along, without a message",
            ),
            Doubt(
                of="addr",
                ops=("del",),
                match={"prefsrc": "local"},
                why="routes go with the address that they name as source",
            ),
            Doubt(
                of="addr",
                ops=("del",),
                match={("oif", "multipath_ifindex"): "ifindex"},
                why="a link without IPv4 addresses has no IPv4 routes: they go with the last address",
            ),
            Doubt(
                of="nexthop",
                why="routes through a next hop object go with it, and change with it",
            ),
        ),
    ),
    dump=Dump(
        26,
        (bytes(12),),
        (
            # Not the family: of one alone, the kernel ends the dump as if it were complete before a route
            # of more than 32 KiB. Of all, it refuses.
            Filter("table", 4, number=15),
            # The kernel's filter never lists multicast routes, which have these protocols.
            Filter("protocol", 1, at=5, unless=(RTPROT_STATIC, RTPROT_MROUTED)),
            # A route whose nexthop object is a blackhole has another type in the kernel's table.
            Filter("type", 1, at=7, unless=(RTN_BLACKHOLE,)),
            Filter("oif", 4, number=4),
        ),
    ),
    header=HEADER,
    prefix="RTA_",
    entries=(
        Attr("RTA_DST", 1, ADDRESS),
        Attr("RTA_SRC", 2, ADDRESS),
        Attr("RTA_IIF", 3, IFINDEX),
        Attr("RTA_OIF", 4, IFINDEX),
        Attr("RTA_GATEWAY", 5, ADDRESS),
        Attr("RTA_PRIORITY", 6, U32),
        Attr("RTA_PREFSRC", 7, ADDRESS),
        Nest(
            "RTA_METRICS",
            8,
            "RTAX_",
            (
                Attr("RTAX_LOCK", 1, U32, flags=METRICS),
                Attr("RTAX_MTU", 2, U32, "bytes"),
                Attr("RTAX_WINDOW", 3, U32, "bytes"),
                Attr("RTAX_RTT", 4, U32, "ms/8"),
                Attr("RTAX_RTTVAR", 5, U32, "ms/4"),
                Attr("RTAX_SSTHRESH", 6, U32, "packets"),
                Attr("RTAX_CWND", 7, U32, "packets"),
                Attr("RTAX_ADVMSS", 8, U32, "bytes"),
                Attr("RTAX_REORDERING", 9, U32, "packets"),
                Attr("RTAX_HOPLIMIT", 10, U32),
                Attr("RTAX_INITCWND", 11, U32, "packets"),
                Attr("RTAX_FEATURES", 12, U32, flags=FEATURES),
                Attr("RTAX_RTO_MIN", 13, U32, "ms"),
                Attr("RTAX_INITRWND", 14, U32, "packets"),
                Attr("RTAX_QUICKACK", 15, U32),
                Attr("RTAX_CC_ALGO", 16, TEXT),
                Attr("RTAX_FASTOPEN_NO_COOKIE", 17, U32),
            ),
        ),
        Elements(
            "RTA_MULTIPATH",
            9,
            HOP,
            "RTA_",
            (
                Attr("RTA_GATEWAY", 5, ADDRESS),
                Attr("RTA_FLOW", 11, U32),
                Attr("RTA_VIA", 18, VIA6),
                Attr("RTA_ENCAP_TYPE", 21, U16, enum=ENCAPSULATIONS),
                Attr("RTA_ENCAP", 22, BYTES, display="hex"),
            ),
        ),
        Attr("RTA_FLOW", 11, U32),
        Struct(
            "RTA_CACHEINFO",
            12,
            (
                Field("clntref", U32),
                Field("lastuse", U32, CLOCK),
                Field("expires", S32, CLOCK),
                Field("error", U32),
                Field("used", U32),
                Field("id", U32),
                Field("ts", U32),
                Field("tsage", U32),
            ),
        ),
        Attr("RTA_TABLE", 15, U32, enum=TABLES),
        Attr("RTA_MARK", 16, U32, display="hex"),
        Struct(
            "RTA_MFC_STATS",
            17,
            (
                Field("packets", U64, "packets"),
                Field("bytes", U64, "bytes"),
                Field("wrong_if", U64, "packets"),
            ),
        ),
        Attr("RTA_VIA", 18, VIA6),
        Attr("RTA_PREF", 20, U8, enum=ROUTER_PREFERENCES),
        Attr("RTA_ENCAP_TYPE", 21, U16, enum=ENCAPSULATIONS),
        Attr("RTA_ENCAP", 22, BYTES, display="hex"),  # attributes, depending on the type
        Attr("RTA_EXPIRES", 23, UINT, CLOCK),
        Attr("RTA_UID", 25, U32),
        Attr("RTA_IP_PROTO", 27, U8, enum=IP_PROTOCOLS),
        Attr("RTA_SPORT", 28, BE16),
        Attr("RTA_DPORT", 29, BE16),
        Attr("RTA_NH_ID", 30, U32),
        Attr("RTA_FLOWLABEL", 31, BE32, display="hex"),
        *ignored("RTA_", PROTOINFO=10, SESSION=13, MP_ALGO=14, NEWDST=19, PAD=24, TTL_PROPAGATE=26),
    ),
)

MPLS_ROUTE = Schema(
    words={"dev": "oif", "proto": "protocol"},
    name="mpls_route",
    about="routes of MPLS: from a label to labels",
    ops=ops(NEW_ROUTE),
    selector=(0, 1, AF_MPLS),
    key=("dst",),
    groups=("mpls_route",),
    manners=Manners(
        volatile=("flags", "multipath_flags"),
        doubts=(Doubt(of="link", why="a link that goes away takes its routes along"),),
    ),
    dump=Dump(26, (bytes([AF_MPLS]) + bytes(11),)),
    header=HEADER,
    prefix="RTA_",
    entries=(
        Attr("RTA_DST", 1, LABEL),
        Attr("RTA_OIF", 4, IFINDEX),
        Elements(
            "RTA_MULTIPATH",
            9,
            HOP,
            "RTA_",
            (Attr("RTA_VIA", 18, VIA), Attr("RTA_NEWDST", 19, LABELS)),
        ),
        Attr("RTA_TABLE", 15, U32, enum=TABLES),
        Attr("RTA_VIA", 18, VIA),
        Attr("RTA_NEWDST", 19, LABELS),
        Attr("RTA_TTL_PROPAGATE", 26, U8),
    ),
)
