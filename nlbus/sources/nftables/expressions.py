"""The expressions of rules: each has a name, and attributes that depend on it."""

from collections.abc import Mapping, Sequence

from nlbus.schema.naming import bits, numbered
from nlbus.schema.schema import Attr, Entry, Nest, Nests, Select, ignored
from nlbus.schema.types import BE16, BE32, BE64, BYTES, TEXT, U8

# NF_* and NFT_*: a verdict of netfilter, or where the packet goes on in the rules
VERDICTS: Mapping[int, str] = {
    0: "drop", 1: "accept", 2: "stolen", 3: "queue", 4: "repeat", 0xFFFF_FFFF: "continue",
    0xFFFF_FFFE: "break", 0xFFFF_FFFD: "jump", 0xFFFF_FFFC: "goto", 0xFFFF_FFFB: "return",
}  # fmt: skip
BASES = numbered("link network transport inner tunnel")  # NFT_PAYLOAD_*
COMPARISONS = numbered("eq neq lt lte gt gte")  # NFT_CMP_*
RANGES = numbered("eq neq")  # NFT_RANGE_*
BITWISE = numbered("mask_xor lshift rshift and or xor")  # NFT_BITWISE_*
BYTEORDER = numbered("ntoh hton")  # NFT_BYTEORDER_*
LIMITS = numbered("packets bytes")  # NFT_LIMIT_*
META = numbered(  # NFT_META_*
    "len protocol priority mark iif oif iifname oifname iiftype oiftype skuid skgid nftrace rtclassid "
    "secmark nfproto l4proto bri_iifname bri_oifname pkttype cpu iifgroup oifgroup cgroup prandom secpath "
    "iifkind oifkind bri_iifpvid bri_iifvproto time_ns time_day time_hour sdif sdifname bri_broute"
)
CT = numbered(  # NFT_CT_*
    "state direction status mark secmark expiration helper l3protocol src dst protocol proto_src proto_dst "
    "labels pkts bytes avgpkt zone eventmask src_ip dst_ip src_ip6 dst_ip6 id"
)
REJECTS = numbered("icmp_unreach tcp_rst icmpx_unreach")  # NFT_REJECT_*
NATS = numbered("snat dnat")  # NFT_NAT_*
NAT_FLAGS = bits(  # NF_NAT_RANGE_*
    "MAP_IPS PROTO_SPECIFIED PROTO_RANDOM PERSISTENT PROTO_RANDOM_FULLY PROTO_OFFSET NETMAP"
)
FIBS = numbered("oif oifname addrtype", 1)  # NFT_FIB_RESULT_*
FIB_FLAGS = bits("saddr daddr mark iif oif present")  # NFTA_FIB_F_*
DYNSETS = numbered("add update delete")  # NFT_DYNSET_OP_*
LEVELS = numbered("emerg alert crit err warn notice info debug audit")  # NFT_LOGLEVEL_*
OBJECT_TYPES = numbered(  # NFT_OBJECT_*
    "counter quota ct_helper limit connlimit tunnel ct_timeout secmark ct_expect synproxy", 1
)
QUOTA_FLAGS = bits("INV DEPLETED")  # NFT_QUOTA_F_*
INVERTED = bits("INV")

VERDICT: tuple[Entry, ...] = (
    Attr("NFTA_VERDICT_CODE", 1, BE32, enum=VERDICTS),
    Attr("NFTA_VERDICT_CHAIN", 2, TEXT),
    Attr("NFTA_VERDICT_CHAIN_ID", 3, BE32),
)


def data(kernel: str, number: int, column: str = "") -> Nest:
    """A value, in network order as registers have it, or a verdict."""
    entries = (Attr("NFTA_DATA_VALUE", 1, BYTES), Nest("NFTA_DATA_VERDICT", 2, "NFTA_VERDICT_", VERDICT))
    return Nest(kernel, number, "NFTA_DATA_", entries, column=column)


def _u32(prefix: str, **numbers: int) -> tuple[Attr, ...]:
    return tuple(Attr(prefix + name, number, BE32) for name, number in numbers.items())


COUNTER: tuple[Entry, ...] = (
    Attr("NFTA_COUNTER_PACKETS", 2, BE64, unit="packets"),
    Attr("NFTA_COUNTER_BYTES", 1, BE64, unit="bytes"),
    *ignored("NFTA_COUNTER_", PAD=3),
)
LIMIT: tuple[Entry, ...] = (
    Attr("NFTA_LIMIT_RATE", 1, BE64),
    Attr("NFTA_LIMIT_UNIT", 2, BE64, unit="s"),
    Attr("NFTA_LIMIT_BURST", 3, BE32),
    Attr("NFTA_LIMIT_TYPE", 4, BE32, enum=LIMITS),
    Attr("NFTA_LIMIT_FLAGS", 5, BE32, flags=INVERTED),
    *ignored("NFTA_LIMIT_", PAD=6),
)
QUOTA: tuple[Entry, ...] = (
    Attr("NFTA_QUOTA_BYTES", 1, BE64, unit="bytes"),
    Attr("NFTA_QUOTA_FLAGS", 2, BE32, flags=QUOTA_FLAGS),
    Attr("NFTA_QUOTA_CONSUMED", 4, BE64, unit="bytes"),
    *ignored("NFTA_QUOTA_", PAD=3),
)
CONNLIMIT: tuple[Entry, ...] = (
    Attr("NFTA_CONNLIMIT_COUNT", 1, BE32),
    Attr("NFTA_CONNLIMIT_FLAGS", 2, BE32, flags=INVERTED),
)
LAST: tuple[Entry, ...] = (
    Attr("NFTA_LAST_SET", 1, BE32),
    Attr("NFTA_LAST_MSECS", 2, BE64, unit="ms"),
    *ignored("NFTA_LAST_", PAD=3),
)
SYNPROXY: tuple[Entry, ...] = (
    Attr("NFTA_SYNPROXY_MSS", 1, BE16, unit="bytes"),
    Attr("NFTA_SYNPROXY_WSCALE", 2, U8, unit="bits"),
    Attr("NFTA_SYNPROXY_FLAGS", 3, BE32, display="hex"),
)
# Expressions with a memory, which elements of sets have as well.
STATEFUL: Mapping[str, tuple[str, Sequence[Entry]]] = {
    "counter": ("NFTA_COUNTER_", COUNTER),
    "limit": ("NFTA_LIMIT_", LIMIT),
    "quota": ("NFTA_QUOTA_", QUOTA),
    "connlimit": ("NFTA_CONNLIMIT_", CONNLIMIT),
    "last": ("NFTA_LAST_", LAST),
}
NAT_REGISTERS = _u32("NFTA_NAT_", REG_ADDR_MIN=3, REG_ADDR_MAX=4, REG_PROTO_MIN=5, REG_PROTO_MAX=6)

EXPRESSIONS: Mapping[str, tuple[str, Sequence[Entry]]] = {
    "payload": (
        "NFTA_PAYLOAD_",
        (
            Attr("NFTA_PAYLOAD_BASE", 2, BE32, enum=BASES),
            *_u32("NFTA_PAYLOAD_", OFFSET=3, LEN=4, DREG=1, SREG=5, CSUM_TYPE=6, CSUM_OFFSET=7, CSUM_FLAGS=8),
        ),
    ),
    "meta": ("NFTA_META_", (Attr("NFTA_META_KEY", 2, BE32, enum=META), *_u32("NFTA_META_", DREG=1, SREG=3))),
    "ct": (
        "NFTA_CT_",
        (
            Attr("NFTA_CT_KEY", 2, BE32, enum=CT),
            Attr("NFTA_CT_DIRECTION", 3, U8),
            *_u32("NFTA_CT_", DREG=1, SREG=4),
        ),
    ),
    "cmp": (
        "NFTA_CMP_",
        (
            *_u32("NFTA_CMP_", SREG=1),
            Attr("NFTA_CMP_OP", 2, BE32, enum=COMPARISONS),
            data("NFTA_CMP_DATA", 3),
        ),
    ),
    "range": (
        "NFTA_RANGE_",
        (
            *_u32("NFTA_RANGE_", SREG=1),
            Attr("NFTA_RANGE_OP", 2, BE32, enum=RANGES),
            data("NFTA_RANGE_FROM_DATA", 3, "from"),
            data("NFTA_RANGE_TO_DATA", 4, "to"),
        ),
    ),
    "bitwise": (
        "NFTA_BITWISE_",
        (
            *_u32("NFTA_BITWISE_", SREG=1, DREG=2, LEN=3, SREG2=8),
            data("NFTA_BITWISE_MASK", 4),
            data("NFTA_BITWISE_XOR", 5),
            Attr("NFTA_BITWISE_OP", 6, BE32, enum=BITWISE),
            data("NFTA_BITWISE_DATA", 7),
        ),
    ),
    "byteorder": (
        "NFTA_BYTEORDER_",
        (
            *_u32("NFTA_BYTEORDER_", SREG=1, DREG=2, LEN=4, SIZE=5),
            Attr("NFTA_BYTEORDER_OP", 3, BE32, enum=BYTEORDER),
        ),
    ),
    "lookup": (
        "NFTA_LOOKUP_",
        (
            Attr("NFTA_LOOKUP_SET", 1, TEXT),
            *_u32("NFTA_LOOKUP_", SREG=2, DREG=3, SET_ID=4),
            Attr("NFTA_LOOKUP_FLAGS", 5, BE32, flags=INVERTED),
        ),
    ),
    "dynset": (
        "NFTA_DYNSET_",
        (
            Attr("NFTA_DYNSET_SET_NAME", 1, TEXT),
            Attr("NFTA_DYNSET_OP", 3, BE32, enum=DYNSETS),
            *_u32("NFTA_DYNSET_", SET_ID=2, SREG_KEY=4, SREG_DATA=5),
            Attr("NFTA_DYNSET_TIMEOUT", 6, BE64, unit="ms"),
            Attr("NFTA_DYNSET_FLAGS", 9, BE32, display="hex"),
            *ignored("NFTA_DYNSET_", EXPR=7, PAD=8, EXPRESSIONS=10),
        ),
    ),
    "immediate": ("NFTA_IMMEDIATE_", (*_u32("NFTA_IMMEDIATE_", DREG=1), data("NFTA_IMMEDIATE_DATA", 2))),
    **STATEFUL,
    "log": (
        "NFTA_LOG_",
        (
            Attr("NFTA_LOG_GROUP", 1, BE16),
            Attr("NFTA_LOG_PREFIX", 2, TEXT),
            Attr("NFTA_LOG_SNAPLEN", 3, BE32, unit="bytes"),
            Attr("NFTA_LOG_QTHRESHOLD", 4, BE16, unit="packets"),
            Attr("NFTA_LOG_LEVEL", 5, BE32, enum=LEVELS),
            Attr("NFTA_LOG_FLAGS", 6, BE32, display="hex"),
        ),
    ),
    "nat": (
        "NFTA_NAT_",
        (
            Attr("NFTA_NAT_TYPE", 1, BE32, enum=NATS),
            *_u32("NFTA_NAT_", FAMILY=2),
            *NAT_REGISTERS,
            Attr("NFTA_NAT_FLAGS", 7, BE32, flags=NAT_FLAGS),
        ),
    ),
    "masq": (
        "NFTA_MASQ_",
        (
            Attr("NFTA_MASQ_FLAGS", 1, BE32, flags=NAT_FLAGS),
            *_u32("NFTA_MASQ_", REG_PROTO_MIN=2, REG_PROTO_MAX=3),
        ),
    ),
    "redir": (
        "NFTA_REDIR_",
        (
            *_u32("NFTA_REDIR_", REG_PROTO_MIN=1, REG_PROTO_MAX=2),
            Attr("NFTA_REDIR_FLAGS", 3, BE32, flags=NAT_FLAGS),
        ),
    ),
    "reject": (
        "NFTA_REJECT_",
        (Attr("NFTA_REJECT_TYPE", 1, BE32, enum=REJECTS), Attr("NFTA_REJECT_ICMP_CODE", 2, U8)),
    ),
    "queue": (
        "NFTA_QUEUE_",
        (
            Attr("NFTA_QUEUE_NUM", 1, BE16),
            Attr("NFTA_QUEUE_TOTAL", 2, BE16),
            Attr("NFTA_QUEUE_FLAGS", 3, BE16, flags=bits("BYPASS CPU_FANOUT")),
            *_u32("NFTA_QUEUE_", SREG_QNUM=4),
        ),
    ),
    "fib": (
        "NFTA_FIB_",
        (
            *_u32("NFTA_FIB_", DREG=1),
            Attr("NFTA_FIB_RESULT", 2, BE32, enum=FIBS),
            Attr("NFTA_FIB_FLAGS", 3, BE32, flags=FIB_FLAGS),
        ),
    ),
    "objref": (
        "NFTA_OBJREF_",
        (
            Attr("NFTA_OBJREF_IMM_TYPE", 1, BE32, enum=OBJECT_TYPES),
            Attr("NFTA_OBJREF_IMM_NAME", 2, TEXT),
            *_u32("NFTA_OBJREF_", SET_SREG=3, SET_ID=5),
            Attr("NFTA_OBJREF_SET_NAME", 4, TEXT),
        ),
    ),
    "flow_offload": ("NFTA_FLOW_", (Attr("NFTA_FLOW_TABLE_NAME", 1, TEXT),)),
    "synproxy": ("NFTA_SYNPROXY_", SYNPROXY),
}


def expression(cases: Mapping[str, tuple[str, Sequence[Entry]]]) -> tuple[Entry, ...]:
    """The attributes of an expression; those of names that are no case here make no columns."""
    return (
        Attr("NFTA_EXPR_NAME", 1, TEXT, selects=True),
        Select("NFTA_EXPR_DATA", 2, cases, by="NFTA_EXPR_NAME"),
    )


def expressions(
    kernel: str, number: int, cases: Mapping[str, tuple[str, Sequence[Entry]]], column: str
) -> Nests:
    """A list of expressions: a list per column."""
    return Nests(kernel, number, "NFTA_EXPR_", expression(cases), column=column)
