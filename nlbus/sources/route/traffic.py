"""qdisc, tclass, tfilter, chain: traffic control, with its statistics."""

import struct
from collections.abc import Iterator

from nlbus.kernel.requests import Requests, attributes
from nlbus.schema.manners import Doubt, Manners
from nlbus.schema.schema import (
    Attr,
    Dump,
    Entry,
    Filter,
    List,
    Nest,
    Schema,
    Select,
    Struct,
    Structs,
    ignored,
)
from nlbus.schema.types import TEXT, U8, U32, U64, Field, Type, pad
from nlbus.sources.route.names import FAMILIES, IFINDEX, ops

TCMSG = struct.Struct("=B3xiIII")  # family, ifindex, handle, parent, info
NEW_QDISC, NEW_CLASS, NEW_FILTER, NEW_CHAIN = 36, 40, 44, 100  # RTM_NEW*
GET_QDISC, GET_CLASS = NEW_QDISC + 2, NEW_CLASS + 2
TCA_KIND, TCA_DUMP_INVISIBLE = 1, 10
CLSACT = (0xFFFF_FFF2, 0xFFFF_FFF3)  # TC_H_CLSACT with TC_H_MIN_INGRESS, TC_H_MIN_EGRESS
MOST_ACTIONS = 32  # TCA_ACT_MAX_PRIO


def _u32(prefix: str, **numbers: int) -> tuple[Attr, ...]:
    return tuple(Attr(prefix + name.upper(), number, U32) for name, number in numbers.items())


def _rates(type: Type) -> tuple[Field, Field]:
    return Field("bps", type, "bytes/s"), Field("pps", type, "packets/s")


BASIC = (
    Field("bytes", U64, "bytes"),
    Field("packets", U32, "packets"),
)  # of gnet_stats_basic
QUEUE = (  # struct gnet_stats_queue
    Field("qlen", U32, "packets"),
    Field("backlog", U32, "bytes"),
    Field("drops", U32, "packets"),
    Field("requeues", U32, "packets"),
    Field("overlimits", U32, "packets"),
)
# struct gnet_stats_*. The kernel counts packets in 64 bits, and says so only where 32 do not suffice.
STATISTICS: tuple[Entry, ...] = (
    Struct(
        "TCA_STATS_BASIC", 1, (Field("bytes", U64, "bytes"), Field("packets", U32, "packets")), column="-"
    ),
    Struct("TCA_STATS_RATE_EST", 2, _rates(U32)),
    Struct("TCA_STATS_QUEUE", 3, QUEUE, column="-"),
    Struct("TCA_STATS_RATE_EST64", 5, _rates(U64), column="rate_est"),
    Struct("TCA_STATS_BASIC_HW", 7, BASIC, column="hw"),
    Attr("TCA_STATS_PKT64", 8, U64, "packets", column="packets"),
    *ignored("TCA_STATS_", APP=4, PAD=6),
)


def _rate(name: str) -> tuple[Field, ...]:
    """A struct tc_ratespec of which the rate alone counts."""
    return (pad(8), Field(name, U32, "bytes/s"))


# Options by kind, of those in common use.
QDISC_OPTIONS: dict[str, tuple[str, tuple[Entry, ...]]] = {
    "htb": (
        "TCA_HTB_",
        (
            Struct(
                "TCA_HTB_INIT",
                2,  # struct tc_htb_glob
                (
                    pad(4),  # version
                    Field("rate2quantum", U32),
                    Field("defcls", U32, display="hex"),
                    Field("debug", U32),
                    Field("direct_pkts", U32, "packets"),
                ),
                column="-",
            ),
            Attr("TCA_HTB_DIRECT_QLEN", 5, U32, "packets"),
            *ignored("TCA_HTB_", PARMS=1, CTAB=3, RTAB=4, RATE64=6, CEIL64=7, PAD=8, OFFLOAD=9),
        ),
    ),
    "fq_codel": (
        "TCA_FQ_CODEL_",
        (
            Attr("TCA_FQ_CODEL_TARGET", 1, U32, "us"),
            Attr("TCA_FQ_CODEL_LIMIT", 2, U32, "packets"),
            Attr("TCA_FQ_CODEL_INTERVAL", 3, U32, "us"),
            *_u32("TCA_FQ_CODEL_", ecn=4, flows=5),
            Attr("TCA_FQ_CODEL_QUANTUM", 6, U32, "bytes"),
            Attr("TCA_FQ_CODEL_CE_THRESHOLD", 7, U32, "us"),
            *_u32("TCA_FQ_CODEL_", drop_batch_size=8),
            Attr("TCA_FQ_CODEL_MEMORY_LIMIT", 9, U32, "bytes"),
            Attr("TCA_FQ_CODEL_CE_THRESHOLD_SELECTOR", 10, U8),
            Attr("TCA_FQ_CODEL_CE_THRESHOLD_MASK", 11, U8, display="hex"),
        ),
    ),
    "codel": (
        "TCA_CODEL_",
        (
            Attr("TCA_CODEL_TARGET", 1, U32, "us"),
            Attr("TCA_CODEL_LIMIT", 2, U32, "packets"),
            Attr("TCA_CODEL_INTERVAL", 3, U32, "us"),
            *_u32("TCA_CODEL_", ecn=4),
            Attr("TCA_CODEL_CE_THRESHOLD", 5, U32, "us"),
        ),
    ),
    "tbf": (
        "TCA_TBF_",
        (
            Struct(
                "TCA_TBF_PARMS",
                1,  # struct tc_tbf_qopt
                (
                    *_rate("rate"),
                    *_rate("peakrate"),
                    Field("limit", U32, "bytes"),
                    Field("buffer", U32),
                    Field("mtu", U32),
                ),
                column="-",
            ),
            Attr("TCA_TBF_RATE64", 4, U64, "bytes/s", column="rate"),
            Attr("TCA_TBF_PRATE64", 5, U64, "bytes/s", column="peakrate"),
            Attr("TCA_TBF_BURST", 6, U32, "bytes"),
            Attr("TCA_TBF_PBURST", 7, U32, "bytes"),
            *ignored("TCA_TBF_", RTAB=2, PTAB=3, PAD=8),
        ),
    ),
    "fq": (
        "TCA_FQ_",
        (
            Attr("TCA_FQ_PLIMIT", 1, U32, "packets"),
            Attr("TCA_FQ_FLOW_PLIMIT", 2, U32, "packets"),
            Attr("TCA_FQ_QUANTUM", 3, U32, "bytes"),
            Attr("TCA_FQ_INITIAL_QUANTUM", 4, U32, "bytes"),
            *_u32("TCA_FQ_", rate_enable=5),
            Attr("TCA_FQ_FLOW_DEFAULT_RATE", 6, U32, "bytes/s"),
            Attr("TCA_FQ_FLOW_MAX_RATE", 7, U32, "bytes/s"),
            *_u32("TCA_FQ_", buckets_log=8),
            Attr("TCA_FQ_FLOW_REFILL_DELAY", 9, U32, "us"),
            Attr("TCA_FQ_ORPHAN_MASK", 10, U32, display="hex"),
            Attr("TCA_FQ_LOW_RATE_THRESHOLD", 11, U32, "bytes/s"),
            Attr("TCA_FQ_CE_THRESHOLD", 12, U32, "us"),
            Attr("TCA_FQ_TIMER_SLACK", 13, U32, "ns"),
            Attr("TCA_FQ_HORIZON", 14, U32, "us"),
            Attr("TCA_FQ_HORIZON_DROP", 15, U8),
            *ignored("TCA_FQ_", PRIOMAP=16, WEIGHTS=17, OFFLOAD_HORIZON=18),
        ),
    ),
}
CLASS_OPTIONS: dict[str, tuple[str, tuple[Entry, ...]]] = {
    "htb": (
        "TCA_HTB_",
        (
            Struct(
                "TCA_HTB_PARMS",
                1,  # struct tc_htb_opt
                (
                    *_rate("rate"),
                    *_rate("ceil"),
                    Field("buffer", U32),
                    Field("cbuffer", U32),
                    Field("quantum", U32, "bytes"),
                    Field("level", U32),
                    Field("prio", U32),
                ),
                column="-",
            ),
            Attr("TCA_HTB_RATE64", 6, U64, "bytes/s", column="rate"),
            Attr("TCA_HTB_CEIL64", 7, U64, "bytes/s", column="ceil"),
            *ignored("TCA_HTB_", INIT=2, CTAB=3, RTAB=4, DIRECT_QLEN=5, PAD=8, OFFLOAD=9),
        ),
    ),
}


def _item(kernel: str, number: int, type: Type, unit: str = "") -> List:
    return List(kernel, number, type, repeated=True, unit=unit)


# Of all actions of a filter, one after the other: lists.
ACTION: tuple[Entry, ...] = (
    _item("TCA_ACT_KIND", 1, TEXT),
    _item("TCA_ACT_INDEX", 3, U32),
    Nest(
        "TCA_ACT_STATS",
        4,
        "TCA_STATS_",
        (
            Structs("TCA_STATS_BASIC", 1, (*BASIC, pad(4)), column="-"),
            Structs("TCA_STATS_QUEUE", 3, QUEUE, column="-"),
            *ignored("TCA_STATS_", RATE_EST=2, APP=4, RATE_EST64=5, PAD=6, BASIC_HW=7, PKT64=8),
        ),
        column="-",
    ),
    *ignored("TCA_ACT_", OPTIONS=2, PAD=5, COOKIE=6, FLAGS=7, HW_STATS=8, USED_HW_STATS=9, IN_HW_COUNT=10),
)  # fmt: skip


def _actions(kind: str, number: int, most: int) -> tuple[str, tuple[Entry, ...]]:
    """The options of a kind of filter that has its actions in this attribute, and attributes up to `most`."""
    prefix = f"TCA_{kind.upper()}_"
    each = tuple(Nest(f"TCA_ACT_{i}", i, "TCA_ACT_", ACTION, column="-") for i in range(1, MOST_ACTIONS + 1))
    others = {str(i): i for i in range(1, most + 1) if i != number}
    return prefix, (Nest(f"{prefix}ACT", number, "TCA_ACT_", each), *ignored(prefix, **others))


FILTER_OPTIONS = {
    "u32": _actions("u32", 7, 13),
    "flower": _actions("flower", 3, 128),
    "matchall": _actions("matchall", 2, 5),
    "bpf": _actions("bpf", 1, 11),
    "basic": _actions("basic", 3, 6),
    "fw": _actions("fw", 4, 5),
}


def _qdiscs() -> Iterator[tuple[int, int, bytes]]:
    """The device, handle and kind of each queueing discipline of this network namespace."""
    with Requests(0) as route:
        for reply in route.dump(GET_QDISC, TCMSG.pack(0, 0, 0, 0, 0), "listing queueing disciplines"):
            _, ifindex, handle, _, _ = TCMSG.unpack_from(reply.body)
            kind = attributes(reply.body[TCMSG.size :]).get(TCA_KIND, b"")
            yield ifindex, handle, kind.rstrip(b"\0")


def _devices() -> list[bytes]:
    """The header of a dump for each device: the kernel has no dump of all."""
    return [TCMSG.pack(0, ifindex, 0, 0, 0) for ifindex in sorted({each for each, _, _ in _qdiscs()})]


def _parents() -> list[bytes]:
    """The header of a dump for whatever may have filters."""
    found: dict[tuple[int, int], None] = {}
    for ifindex, handle, kind in _qdiscs():
        parents = CLSACT if kind == b"clsact" else (handle,)
        found |= dict.fromkeys((ifindex, parent) for parent in parents if parent)
    with Requests(0) as route:
        for header in _devices():
            for reply in route.dump(GET_CLASS, header, "listing classes"):
                _, ifindex, handle, _, _ = TCMSG.unpack_from(reply.body)
                found[ifindex, handle] = None
    return [TCMSG.pack(0, ifindex, 0, parent, 0) for ifindex, parent in found]


# Counters, and what lists of actions count.
VOLATILE = (
    "stats_*", "htb_direct_pkts", "info",
    *(f"*_act_{each}" for each in ("bytes", "packets", "qlen", "backlog", "drops", "requeues", "overlimits")),
)  # fmt: skip


def _traffic(
    name: str,
    about: str,
    new: int,
    key: tuple[str, ...],
    dump: Dump,
    options: dict[str, tuple[str, tuple[Entry, ...]]],
    *doubts: Doubt,
) -> Schema:
    return Schema(
        words={"dev": "ifindex"},
        name=name,
        about=about,
        ops=ops(new),
        key=("ifindex", *key),
        manners=Manners(
            volatile=VOLATILE,
            doubts=(
                Doubt(of="link", match={"ifindex": "ifindex"}, why="they come and go with their link"),
                *doubts,
            ),
        ),
        groups=("tc",),
        dump=dump,
        header=(  # struct tcmsg
            Field("family", U8, enum=FAMILIES),
            pad(3),
            Field("ifindex", IFINDEX),
            Field("handle", U32, display="hex"),
            Field("parent", U32, display="hex"),
            Field("info", U32, display="hex"),
        ),
        prefix="TCA_",
        entries=(
            Attr("TCA_KIND", TCA_KIND, TEXT, selects=True),
            Select("TCA_OPTIONS", 2, options) if options else ignored("TCA_", OPTIONS=2)[0],
            Nest("TCA_STATS2", 7, "TCA_STATS_", STATISTICS, column="stats"),
            Attr("TCA_CHAIN", 11, U32),
            Attr("TCA_HW_OFFLOAD", 12, U8),
            Attr("TCA_INGRESS_BLOCK", 13, U32),
            Attr("TCA_EGRESS_BLOCK", 14, U32),
            *ignored("TCA_", STATS=3, XSTATS=4, RATE=5, FCNT=6, STAB=8, PAD=9),
            *ignored("TCA_", DUMP_INVISIBLE=TCA_DUMP_INVISIBLE, DUMP_FLAGS=15, EXT_WARN_MSG=16),
        ),
    )  # fmt: skip


_SAME: dict[str | tuple[str, ...], str] = {"ifindex": "ifindex"}
_OF_DEVICE = (Filter("ifindex", 4, at=4),)
_GONE = Doubt(
    of="qdisc", match={"ifindex": "ifindex"}, why="a queueing discipline that goes takes them along"
)

QDISC = _traffic(
    "qdisc", "queueing disciplines", NEW_QDISC, ("parent", "handle"),
    Dump(GET_QDISC, (bytes(20),)), QDISC_OPTIONS,
    Doubt(of="qdisc", match=_SAME, why="one that goes takes others along"),
)  # fmt: skip
TCLASS = _traffic(
    "tclass", "classes of queueing disciplines", NEW_CLASS, ("handle",),
    Dump(GET_CLASS, _devices, _OF_DEVICE), CLASS_OPTIONS, _GONE,
)  # fmt: skip
TFILTER = _traffic(
    "tfilter", "filters of traffic control", NEW_FILTER, ("parent", "handle", "info", "chain"),
    Dump(NEW_FILTER + 2, _parents), FILTER_OPTIONS, _GONE,
    Doubt(of="tclass", match=_SAME, why="a class that goes takes its filters along"),
    Doubt(of="tfilter", match=_SAME, why="one message may stand for all of a priority"),
)  # fmt: skip
CHAIN = _traffic(
    "chain", "chains of filters", NEW_CHAIN, ("parent", "chain"),
    Dump(NEW_CHAIN + 2, _parents), {}, _GONE,
    Doubt(of="tfilter", match=_SAME, why="a chain comes with its first filter and goes with its last"),
)  # fmt: skip
