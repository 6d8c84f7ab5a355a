"""Filters by the headers of messages, for sources without tables, and for the bus."""

from __future__ import annotations

from collections.abc import Iterator

from nlbus.filters.compile import Condition
from nlbus.filters.messages import LIMITS, Filter, parts_of
from nlbus.filters.nodes import ALWAYS, Length, Node, Place, Ranges, Single, any_of, negated
from nlbus.filters.places import HEADER, Spot
from nlbus.filters.values import Budget
from nlbus.kernel.constants import MessageType
from nlbus.schema.types import U8, U16, U32, U64, Type
from nlbus.sources import Source
from nlbus.table.expressions import Expression
from nlbus.table.heads import head_columns

# Offsets in the datagram; <linux/netlink.h>, <linux/genetlink.h>, kmod/uapi/nlbus.h.
MESSAGES: dict[str, tuple[int, Type]] = {"type": (4, U16), "flags": (6, U16), "seq": (8, U32)}
GENERIC = {"cmd": (HEADER, U8), "version": (HEADER + 1, U8)}
BUS: dict[str, tuple[int, Type]] = {
    "type": (36, U32),
    "groups": (80, U32),
    "fingerprint": (40, U64),
    "count": (32, U32),
    "record_size": (28, U32),
    "instance": (48, U64),
}
MAGIC, BATCH = 0x7375626E, 80
CONSTANT = frozenset({"groups", "instance", "portid", "uid"})  # of all datagrams of a stream


def head_filters(source: Source, where: Expression) -> Iterator[Filter]:
    """Yield filters of messages whose headers meet a condition, the sharpest first; none if all would pass.

    Control messages pass, and datagrams of several messages. On the bus, a filter by what is the same in a
    whole stream drops whole streams; any other passes heartbeats, which tell how far a stream has come.
    """
    bus = source.framing == "bus"
    tree, columns = where.tree(), head_columns(source)
    known = BUS if bus else MESSAGES | (GENERIC if "cmd" in columns else {})
    unknown = [Spot(Place((), 0), None)]
    spots = {
        name: [Spot(Place((), known[name][0]), known[name][1], longer=True)] if name in known else unknown
        for name in columns
    }
    gappy = bus and not where.columns <= CONSTANT
    beside: list[Node] = [negated(Length(HEADER + (BATCH if bus else 4 if "cmd" in columns else 0)))]
    if bus:
        beside.append(negated(_equal(HEADER, MAGIC)))
    else:
        beside.append(Ranges(Place((), 4), 2, False, False, ((0, MessageType.MIN_TYPE - 1),)))
    if gappy:
        beside.append(_equal(BUS["count"][0], 0))
    if gappy or not bus:
        beside.append(negated(Single()))  # all batches of a datagram are of one stream, but of any types
    before: Node = ALWAYS
    for limit in LIMITS:
        node = Condition(columns, spots, (), Budget(limit)).may(tree)
        if node == ALWAYS:
            return
        if node != before:
            parts = parts_of("header", tree, lambda budget: Condition(columns, spots, (), budget), limit)
            yield Filter(any_of([*beside, node]), False, gappy, tuple(parts))
        before = node


def _equal(at: int, value: int) -> Node:
    return Ranges(Place((), at), 4, False, False, ((value, value),))
