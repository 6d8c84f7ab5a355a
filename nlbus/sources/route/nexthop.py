"""nexthop: next hops of routes, and groups of them; nexthop_bucket: the buckets of resilient groups."""

from nlbus.schema.manners import Doubt, Manners
from nlbus.schema.schema import Attr, Dump, Filter, Nest, Schema, Structs, ignored
from nlbus.schema.types import ADDRESS, BYTES, FLAG, U8, U16, U32, U64, WEIGHT, Field, pad
from nlbus.sources.route.names import (
    CLOCK,
    ENCAPSULATIONS,
    FAMILIES,
    HOP_FLAGS,
    IFINDEX,
    NEXTHOP_GROUPS,
    ROUTE_PROTOCOLS,
    SCOPES,
    ops,
)

# struct nhmsg
HEADER = (
    Field("family", U8, enum=FAMILIES),
    Field("scope", U8, enum=SCOPES),
    Field("protocol", U8, enum=ROUTE_PROTOCOLS),
    pad(1),
    Field("flags", U32, flags=HOP_FLAGS),
)

NEXTHOP = Schema(
    words={"dev": "oif", "via": "gateway", "proto": "protocol"},
    name="nexthop",
    about="next hops and groups of them",
    ops=ops(104),  # RTM_NEWNEXTHOP
    key=("id",),
    groups=("nexthop",),
    manners=Manners(
        volatile=("flags", "hw_stats_used", "res_group_unbalanced_time"),
        doubts=(
            Doubt(of="link", why="next hops of IPv4 go with their link, and with them groups shrink or go"),
            Doubt(of="nexthop", why="a group shrinks when a member goes"),
        ),
    ),
    dump=Dump(106, (bytes(8),), (Filter("family", 1, at=0), Filter("oif", 4, number=5))),
    header=HEADER,
    prefix="NHA_",
    entries=(
        Attr("NHA_ID", 1, U32),
        Structs("NHA_GROUP", 2, (Field("id", U32), Field("weight", WEIGHT), pad(2))),  # struct nexthop_grp
        Attr("NHA_GROUP_TYPE", 3, U16, enum=NEXTHOP_GROUPS),
        Attr("NHA_BLACKHOLE", 4, FLAG),
        Attr("NHA_OIF", 5, IFINDEX),
        Attr("NHA_GATEWAY", 6, ADDRESS),
        Attr("NHA_ENCAP_TYPE", 7, U16, enum=ENCAPSULATIONS),
        Attr("NHA_ENCAP", 8, BYTES, display="hex"),
        Attr("NHA_MASTER", 10, IFINDEX),
        Attr("NHA_FDB", 11, FLAG),
        Nest(
            "NHA_RES_GROUP",
            12,
            "NHA_RES_GROUP_",
            (
                *ignored("NHA_RES_GROUP_", PAD=0),
                Attr("NHA_RES_GROUP_BUCKETS", 1, U16),
                Attr("NHA_RES_GROUP_IDLE_TIMER", 2, U32, CLOCK),
                Attr("NHA_RES_GROUP_UNBALANCED_TIMER", 3, U32, CLOCK),
                Attr("NHA_RES_GROUP_UNBALANCED_TIME", 4, U64, CLOCK),
            ),
        ),
        Attr("NHA_HW_STATS_ENABLE", 16, U32),
        Attr("NHA_HW_STATS_USED", 17, U32),
        *ignored("NHA_", GROUPS=9, RES_BUCKET=13, OP_FLAGS=14, GROUP_STATS=15),
    ),
)

NEXTHOP_BUCKET = Schema(
    name="nexthop_bucket",
    about="buckets of resilient groups, with their next hops",
    ops=ops(116),  # RTM_NEWNEXTHOPBUCKET
    key=("id", "res_bucket_index"),
    groups=("nexthop",),
    manners=Manners(
        volatile=("flags", "res_bucket_idle_time"),
        doubts=(
            Doubt(of="link", why="buckets go with their group"),
            Doubt(of="nexthop", why="buckets come, change and go with their group"),
        ),
    ),
    dump=Dump(118, (bytes(8),)),
    header=HEADER,
    prefix="NHA_",
    entries=(
        Attr("NHA_ID", 1, U32),
        Nest(
            "NHA_RES_BUCKET",
            13,
            "NHA_RES_BUCKET_",
            (
                *ignored("NHA_RES_BUCKET_", PAD=0),
                Attr("NHA_RES_BUCKET_INDEX", 1, U16),
                Attr("NHA_RES_BUCKET_IDLE_TIME", 2, U64, CLOCK),
                Attr("NHA_RES_BUCKET_NH_ID", 3, U32),
            ),
        ),
    ),
)
