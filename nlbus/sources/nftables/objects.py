"""What a ruleset of nftables consists of: tables, chains, rules, sets, elements, objects, flow tables.

Columns have the kernel's names. The handle of an object is unique in its table, and remains when a chain gets
another name.
"""

from nlbus.kernel.requests import NFGENMSG, Requests, attribute, attributes
from nlbus.schema.manners import Doubt, Manners
from nlbus.schema.naming import bits
from nlbus.schema.schema import (
    Attr,
    Dump,
    Each,
    Entry,
    Filter,
    List,
    Nest,
    Nests,
    Op,
    Schema,
    Select,
    ignored,
)
from nlbus.schema.types import BE16, BE32, BE64, BYTES, SBE32, TEXT, U8, Field, pad
from nlbus.sources.nftables.expressions import (
    CONNLIMIT,
    COUNTER,
    EXPRESSIONS,
    LIMIT,
    OBJECT_TYPES,
    QUOTA,
    STATEFUL,
    SYNPROXY,
    VERDICTS,
    data,
    expression,
    expressions,
)

NETFILTER = 12  # the protocol
NFNL_SUBSYS_NFTABLES = 10
MESSAGES = (
    "NEWTABLE", "GETTABLE", "DELTABLE", "NEWCHAIN", "GETCHAIN", "DELCHAIN", "NEWRULE", "GETRULE", "DELRULE",
    "NEWSET", "GETSET", "DELSET", "NEWSETELEM", "GETSETELEM", "DELSETELEM", "NEWGEN", "GETGEN", "TRACE",
    "NEWOBJ", "GETOBJ", "DELOBJ", "GETOBJ_RESET", "NEWFLOWTABLE", "GETFLOWTABLE", "DELFLOWTABLE",
)  # fmt: skip
TYPES = {name: NFNL_SUBSYS_NFTABLES << 8 | number for number, name in enumerate(MESSAGES)}

FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}  # NFPROTO_*, as nft has them
POLICIES = {number: VERDICTS[number] for number in (0, 1)}
TABLE_FLAGS = bits("DORMANT OWNER PERSIST")  # NFT_TABLE_F_*
CHAIN_FLAGS = bits("BASE HW_OFFLOAD BINDING")  # NFT_CHAIN_*
SET_FLAGS = bits("ANONYMOUS CONSTANT INTERVAL MAP TIMEOUT EVAL OBJECT CONCAT EXPR")  # NFT_SET_*
ELEMENT_FLAGS = bits("INTERVAL_END CATCHALL")  # NFT_SET_ELEM_*
FLOWTABLE_FLAGS = bits("HW_OFFLOAD COUNTER")  # NFT_FLOWTABLE_*
SET_POLICIES = {0: "performance", 1: "memory"}  # NFT_SET_POL_*

HEADER = (Field("family", U8, enum=FAMILIES), pad(3))  # struct nfgenmsg
BY_HANDLE = ("family", "table", "handle")
FAMILY = Filter("family", 1, at=0)


def _ops(what: str) -> tuple[Op, ...]:
    return Op(TYPES[f"NEW{what}"], "new"), Op(TYPES[f"DEL{what}"], "del")


def _dump(what: str) -> Dump:
    return Dump(TYPES[f"GET{what}"], (bytes(4),), (FAMILY,))


def _hook(kernel: str, number: int, prefix: str, num: str) -> Nest:
    entries: tuple[Entry, ...] = (
        Attr(prefix + num, 1, BE32),
        Attr(f"{prefix}PRIORITY", 2, SBE32),
    )
    if num == "HOOKNUM":
        entries += (Attr(f"{prefix}DEV", 3, TEXT), List(f"{prefix}DEVS", 4, TEXT, indexed=True))
    else:
        entries += (List(f"{prefix}DEVS", 3, TEXT, indexed=True),)
    return Nest(kernel, number, prefix, entries, column="hook")


TABLE = Schema(
    name="table",
    about="tables of rules",
    ops=_ops("TABLE"),
    header=HEADER,
    prefix="NFTA_TABLE_",
    entries=(
        Attr("NFTA_TABLE_NAME", 1, TEXT),
        Attr("NFTA_TABLE_FLAGS", 2, BE32, flags=TABLE_FLAGS),
        Attr("NFTA_TABLE_USE", 3, BE32),
        Attr("NFTA_TABLE_HANDLE", 4, BE64),
        Attr("NFTA_TABLE_USERDATA", 6, BYTES),
        Attr("NFTA_TABLE_OWNER", 7, BE32),
        *ignored("NFTA_TABLE_", PAD=5),
    ),
    key=("family", "name"),
    groups=("nftables",),
    manners=Manners(volatile=("use",)),
    dump=_dump("TABLE"),
)

CHAIN = Schema(
    name="chain",
    about="chains of rules; base chains have a hook",
    ops=_ops("CHAIN"),
    header=HEADER,
    prefix="NFTA_CHAIN_",
    entries=(
        Attr("NFTA_CHAIN_TABLE", 1, TEXT),
        Attr("NFTA_CHAIN_NAME", 3, TEXT),
        Attr("NFTA_CHAIN_HANDLE", 2, BE64),
        Attr("NFTA_CHAIN_TYPE", 7, TEXT),
        _hook("NFTA_CHAIN_HOOK", 4, "NFTA_HOOK_", "HOOKNUM"),
        Attr("NFTA_CHAIN_POLICY", 5, BE32, enum=POLICIES),
        Attr("NFTA_CHAIN_FLAGS", 10, BE32, flags=CHAIN_FLAGS),
        Attr("NFTA_CHAIN_USE", 6, BE32),
        Nest("NFTA_CHAIN_COUNTERS", 8, "NFTA_COUNTER_", COUNTER),
        Attr("NFTA_CHAIN_ID", 11, BE32),
        Attr("NFTA_CHAIN_USERDATA", 12, BYTES),
        *ignored("NFTA_CHAIN_", PAD=9),
    ),
    key=BY_HANDLE,
    words={"hook": "hook_hooknum", "prio": "hook_priority", "priority": "hook_priority", "dev": "hook_dev"},
    groups=("nftables",),
    manners=Manners(volatile=("use", "counters_*")),
    dump=_dump("CHAIN"),
)

RULE = Schema(
    name="rule",
    about="rules: the names of their expressions, and a list per value of these",
    ops=_ops("RULE"),
    header=HEADER,
    prefix="NFTA_RULE_",
    entries=(
        Attr("NFTA_RULE_TABLE", 1, TEXT),
        Attr("NFTA_RULE_CHAIN", 2, TEXT),
        Attr("NFTA_RULE_HANDLE", 3, BE64),
        Attr("NFTA_RULE_POSITION", 6, BE64),  # the handle of the rule before
        expressions("NFTA_RULE_EXPRESSIONS", 4, EXPRESSIONS, "expr"),
        Nest(
            "NFTA_RULE_COMPAT",
            5,
            "NFTA_RULE_COMPAT_",
            (
                Attr("NFTA_RULE_COMPAT_PROTO", 1, BE32),
                Attr("NFTA_RULE_COMPAT_FLAGS", 2, BE32, display="hex"),
            ),
        ),
        Attr("NFTA_RULE_USERDATA", 7, BYTES),
        *ignored("NFTA_RULE_", PAD=8, ID=9, POSITION_ID=10, CHAIN_ID=11),
    ),
    key=BY_HANDLE,
    groups=("nftables",),
    manners=Manners(
        volatile=(
            "position", "expr_counter_*", "expr_quota_consumed", "expr_quota_flags", "expr_last_*",
        ),
        doubts=(
            Doubt(
                of="chain",
                ops=("new",),
                why="rules of a chain that gets another name have it without a message",
            ),
        ),
    ),
    dump=_dump("RULE"),
)  # fmt: skip

SET = Schema(
    name="set",
    about="sets and maps, without their elements",
    ops=_ops("SET"),
    header=HEADER,
    prefix="NFTA_SET_",
    entries=(
        Attr("NFTA_SET_TABLE", 1, TEXT),
        Attr("NFTA_SET_NAME", 2, TEXT),
        Attr("NFTA_SET_HANDLE", 16, BE64),
        Attr("NFTA_SET_FLAGS", 3, BE32, flags=SET_FLAGS),
        Attr("NFTA_SET_KEY_TYPE", 4, BE32, display="hex"),  # numbers of nft
        Attr("NFTA_SET_KEY_LEN", 5, BE32, unit="bytes"),
        Attr("NFTA_SET_DATA_TYPE", 6, BE32, display="hex"),
        Attr("NFTA_SET_DATA_LEN", 7, BE32, unit="bytes"),
        Attr("NFTA_SET_OBJ_TYPE", 15, BE32, enum=OBJECT_TYPES),
        Attr("NFTA_SET_POLICY", 8, BE32, enum=SET_POLICIES),
        Nest(
            "NFTA_SET_DESC",
            9,
            "NFTA_SET_DESC_",
            (
                Attr("NFTA_SET_DESC_SIZE", 1, BE32),
                Nests(
                    "NFTA_SET_DESC_CONCAT",
                    2,
                    "NFTA_SET_FIELD_",
                    (Attr("NFTA_SET_FIELD_LEN", 1, BE32, unit="bytes"),),
                ),
            ),
        ),
        Attr("NFTA_SET_TIMEOUT", 11, BE64, unit="ms"),
        Attr("NFTA_SET_GC_INTERVAL", 12, BE32, unit="ms"),
        Nest(
            "NFTA_SET_EXPR",
            17,
            "NFTA_EXPR_",
            (Attr("NFTA_EXPR_NAME", 1, TEXT), *ignored("NFTA_EXPR_", DATA=2)),
        ),
        Nests(
            "NFTA_SET_EXPRESSIONS",
            18,
            "NFTA_EXPR_",
            (Attr("NFTA_EXPR_NAME", 1, TEXT), *ignored("NFTA_EXPR_", DATA=2)),
            column="exprs",
        ),
        Attr("NFTA_SET_TYPE", 19, TEXT),
        Attr("NFTA_SET_COUNT", 20, BE32),
        Attr("NFTA_SET_USERDATA", 13, BYTES),
        *ignored("NFTA_SET_", ID=10, PAD=14),
    ),
    key=BY_HANDLE,
    groups=("nftables",),
    manners=Manners(volatile=("count",)),
    dump=_dump("SET"),
)


def _sets() -> list[bytes]:
    """The header of a dump per set: its family, table and name."""
    with Requests(NETFILTER) as netfilter:
        sets = netfilter.dump(TYPES["GETSET"], NFGENMSG.pack(0, 0, 0), "listing sets")
    named = [(reply.body[:1], attributes(reply.body[NFGENMSG.size :])) for reply in sets]
    return [family + bytes(3) + attribute(1, of[1]) + attribute(2, of[2]) for family, of in named]


ELEMENT = Schema(
    name="element",
    about="elements of sets and maps",
    ops=_ops("SETELEM"),
    header=HEADER,
    prefix="NFTA_SET_ELEM_",
    each=Each(
        path=(3, 1),
        ignored=(4,),
        shared=(
            Attr("NFTA_SET_ELEM_LIST_TABLE", 1, TEXT, column="table"),
            Attr("NFTA_SET_ELEM_LIST_SET", 2, TEXT, column="set"),
        ),
    ),
    entries=(
        data("NFTA_SET_ELEM_KEY", 1),
        data("NFTA_SET_ELEM_KEY_END", 10),
        data("NFTA_SET_ELEM_DATA", 2),
        Attr("NFTA_SET_ELEM_FLAGS", 3, BE32, flags=ELEMENT_FLAGS),
        Attr("NFTA_SET_ELEM_TIMEOUT", 4, BE64, unit="ms"),
        Attr("NFTA_SET_ELEM_EXPIRATION", 5, BE64, unit="ms"),
        Attr("NFTA_SET_ELEM_OBJREF", 9, TEXT),
        Nest("NFTA_SET_ELEM_EXPR", 7, "NFTA_EXPR_", expression(STATEFUL)),
        expressions("NFTA_SET_ELEM_EXPRESSIONS", 11, STATEFUL, "exprs"),
        Attr("NFTA_SET_ELEM_USERDATA", 6, BYTES),
        *ignored("NFTA_SET_ELEM_", PAD=8),
    ),
    key=("family", "table", "set", "key_value", "key_end_value", "flags"),
    groups=("nftables",),
    manners=Manners(
        volatile=("expiration", "expr_counter_*", "expr_quota_*", "expr_last_*", "exprs_*"),
        doubts=(
            Doubt(
                of="set",
                ops=("del",),
                why="elements go with their set, without a message",
            ),
        ),
        unheard="elements that packets add or update; the end of those with a timeout",
    ),
    dump=Dump(TYPES["GETSETELEM"], _sets),
)

OBJECT_CASES: dict[str, tuple[str, tuple[Entry, ...]]] = {
    "counter": ("NFTA_COUNTER_", COUNTER),
    "quota": ("NFTA_QUOTA_", QUOTA),
    "ct_helper": (
        "NFTA_CT_HELPER_",
        (
            Attr("NFTA_CT_HELPER_NAME", 1, TEXT),
            Attr("NFTA_CT_HELPER_L3PROTO", 2, BE16),
            Attr("NFTA_CT_HELPER_L4PROTO", 3, U8),
        ),
    ),
    "limit": ("NFTA_LIMIT_", LIMIT),
    "connlimit": ("NFTA_CONNLIMIT_", CONNLIMIT),
    "secmark": ("NFTA_SECMARK_", (Attr("NFTA_SECMARK_CTX", 1, TEXT),)),
    "synproxy": ("NFTA_SYNPROXY_", SYNPROXY),
    "ct_timeout": (
        "NFTA_CT_TIMEOUT_",
        (
            Attr("NFTA_CT_TIMEOUT_L3PROTO", 1, BE16),
            Attr("NFTA_CT_TIMEOUT_L4PROTO", 2, U8),
            Attr("NFTA_CT_TIMEOUT_DATA", 3, BYTES),
        ),
    ),
    "ct_expect": (
        "NFTA_CT_EXPECT_",
        (
            Attr("NFTA_CT_EXPECT_L3PROTO", 1, BE16),
            Attr("NFTA_CT_EXPECT_L4PROTO", 2, U8),
            Attr("NFTA_CT_EXPECT_DPORT", 3, BE16),
            Attr("NFTA_CT_EXPECT_TIMEOUT", 4, BE32, unit="ms"),
            Attr("NFTA_CT_EXPECT_SIZE", 5, U8),
        ),
    ),
}
NUMBERS = {name: number.to_bytes(4, "big") for number, name in OBJECT_TYPES.items() if name in OBJECT_CASES}

OBJECT = Schema(
    name="object",
    about="counters, quotas, limits, helpers and other objects with a name",
    ops=_ops("OBJ"),
    header=HEADER,
    prefix="NFTA_OBJ_",
    entries=(
        Attr("NFTA_OBJ_TABLE", 1, TEXT),
        Attr("NFTA_OBJ_NAME", 2, TEXT),
        Attr("NFTA_OBJ_HANDLE", 6, BE64),
        Attr("NFTA_OBJ_TYPE", 3, BE32, enum=OBJECT_TYPES, selects=True),
        Attr("NFTA_OBJ_USE", 5, BE32),
        Select("NFTA_OBJ_DATA", 4, OBJECT_CASES, by="NFTA_OBJ_TYPE", values=NUMBERS),
        Attr("NFTA_OBJ_USERDATA", 8, BYTES),
        *ignored("NFTA_OBJ_", PAD=7),
    ),
    key=BY_HANDLE,
    groups=("nftables",),
    manners=Manners(volatile=("use", "counter_*", "quota_consumed", "quota_flags")),
    dump=_dump("OBJ"),
)

FLOWTABLE = Schema(
    name="flowtable",
    about="flow tables, which forward packets past the rules",
    ops=_ops("FLOWTABLE"),
    header=HEADER,
    prefix="NFTA_FLOWTABLE_",
    entries=(
        Attr("NFTA_FLOWTABLE_TABLE", 1, TEXT),
        Attr("NFTA_FLOWTABLE_NAME", 2, TEXT),
        Attr("NFTA_FLOWTABLE_HANDLE", 5, BE64),
        _hook("NFTA_FLOWTABLE_HOOK", 3, "NFTA_FLOWTABLE_HOOK_", "NUM"),
        Attr("NFTA_FLOWTABLE_FLAGS", 7, BE32, flags=FLOWTABLE_FLAGS),
        Attr("NFTA_FLOWTABLE_USE", 4, BE32),
        *ignored("NFTA_FLOWTABLE_", PAD=6),
    ),
    key=BY_HANDLE,
    groups=("nftables",),
    manners=Manners(volatile=("use",)),
    dump=_dump("FLOWTABLE"),
)
