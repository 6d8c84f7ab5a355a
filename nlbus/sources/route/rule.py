"""rule: policy routing, the choice of a routing table per packet."""

from nlbus.schema.manners import Doubt, Manners
from nlbus.schema.schema import Attr, Dump, Filter, Schema, Struct, ignored
from nlbus.schema.types import ADDRESS, BE32, BE64, TEXT, U8, U16, U32, Field, pad
from nlbus.sources.route.names import (
    FAMILIES,
    IP_PROTOCOLS,
    NEW_RULE,
    ROUTE_PROTOCOLS,
    RULE_ACTIONS,
    RULE_FLAGS,
    TABLES,
    ops,
)

FIB_RULE_INVERT = 2

RULE = Schema(
    words={
        "iif": "iifname", "oif": "oifname", "from": "src", "to": "dst", "lookup": "table", "pref": "priority",
        "ipproto": "ip_proto", "proto": "protocol", "realms": "flow",
        "suppress_prefixlength": "suppress_prefixlen",
    },
    name="rule",
    about="rules of policy routing",
    ops=ops(NEW_RULE),
    key=(
        "family", "priority", "action", "table", "src", "src_len", "dst", "dst_len", "tos", "iifname",
        "oifname", "fwmark", "fwmask", "goto", "ip_proto", "sport_range_start", "dport_range_start",
        "uid_range_start", "sport_range_end", "dport_range_end", "uid_range_end", "suppress_prefixlen",
        "suppress_ifgroup", "tun_id", "l3mdev", "protocol", "flow", "dscp", "dscp_mask", "flowlabel",
        "flowlabel_mask", "sport_mask", "dport_mask",
    ),
    groups=("ipv4_rule", "ipv6_rule"),
    manners=Manners(
        beside=("flags",),
        masks={"flags": FIB_RULE_INVERT},
        doubts=(
            Doubt(of="link", why="whether a rule's interfaces exist shows in its flags, without a message"),
            Doubt(of="rule", why="a rule that others go to shows in their flags, without a message"),
        ),
    ),
    dump=Dump(34, (bytes(12),), (Filter("family", 1, at=0),)),
    header=(  # struct fib_rule_hdr
        Field("family", U8, enum=FAMILIES),
        Field("dst_len", U8, "bits"),
        Field("src_len", U8, "bits"),
        Field("tos", U8),
        Field("table", U8, enum=TABLES),
        pad(2),
        Field("action", U8, enum=RULE_ACTIONS),
        Field("flags", U32, flags=RULE_FLAGS),
    ),
    prefix="FRA_",
    entries=(
        Attr("FRA_DST", 1, ADDRESS),
        Attr("FRA_SRC", 2, ADDRESS),
        Attr("FRA_IIFNAME", 3, TEXT),
        Attr("FRA_GOTO", 4, U32),
        Attr("FRA_PRIORITY", 6, U32),
        Attr("FRA_FWMARK", 10, U32, display="hex"),
        Attr("FRA_FLOW", 11, U32),
        Attr("FRA_TUN_ID", 12, BE64),
        Attr("FRA_SUPPRESS_IFGROUP", 13, U32),
        # The kernel always sends it; -1 means none.
        Struct("FRA_SUPPRESS_PREFIXLEN", 14, (Field("suppress_prefixlen", U32, absent=-1),), column="-"),
        Attr("FRA_TABLE", 15, U32, enum=TABLES),
        Attr("FRA_FWMASK", 16, U32, display="hex"),
        Attr("FRA_OIFNAME", 17, TEXT),
        Attr("FRA_L3MDEV", 19, U8),
        Struct("FRA_UID_RANGE", 20, (Field("start", U32), Field("end", U32))),
        Attr("FRA_PROTOCOL", 21, U8, enum=ROUTE_PROTOCOLS),
        Attr("FRA_IP_PROTO", 22, U8, enum=IP_PROTOCOLS),
        Struct("FRA_SPORT_RANGE", 23, (Field("start", U16), Field("end", U16))),
        Struct("FRA_DPORT_RANGE", 24, (Field("start", U16), Field("end", U16))),
        Attr("FRA_DSCP", 25, U8),
        Attr("FRA_FLOWLABEL", 26, BE32, display="hex"),
        Attr("FRA_FLOWLABEL_MASK", 27, BE32, display="hex"),
        Attr("FRA_SPORT_MASK", 28, U16, display="hex"),
        Attr("FRA_DPORT_MASK", 29, U16, display="hex"),
        Attr("FRA_DSCP_MASK", 30, U8, display="hex"),
        *ignored("FRA_", PAD=18),
    ),
)  # fmt: skip
