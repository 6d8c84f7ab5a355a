"""Filters of whole sources: several tables, and what passes beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nlbus.filters import Wanted
from nlbus.filters.assemble import Instruction, assembled
from nlbus.filters.compile import Condition, is_of, least
from nlbus.filters.nodes import ALWAYS, Length, Node, Place, Ranges, Single, all_of, any_of, negated
from nlbus.filters.values import Budget
from nlbus.filters.words import condition_text
from nlbus.kernel.constants import MessageType
from nlbus.schema.schema import AnySchema, Schema
from nlbus.table.decoded import decoder
from nlbus.table.expressions import Tree

# How many ranges and texts one comparison may take: fewer, where the program becomes too long.
LIMITS = (1 << 16, 256, 32, 4, 0)
TYPE = Place((), 4)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a condition on a table, and who checks it: the kernel, the decoder, or both."""

    table: str
    text: str
    kernel: bool
    decoder: bool


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter for a socket. `others`: messages of other tables pass."""

    node: Node
    others: bool
    # On the bus: it drops some datagrams of a stream and passes others, so gaps of the stream are no losses.
    gappy: bool = False
    parts: tuple[Part, ...] = field(default=(), compare=False)

    def program(self) -> list[Instruction]:
        """Its instructions. TooLong."""
        return assembled(self.node)


def message_filters(schemas: Sequence[AnySchema], wanted: Wanted, others: bool) -> Iterator[Filter]:
    """Yield filters of netlink messages that pass these rows, the sharpest first; none if all would pass.

    others: messages of none of the wanted tables pass, too. Control messages always do, unless they are a
    table's; so does a datagram of several messages.
    """
    known = {schema.name: schema for schema in schemas if isinstance(schema, Schema)}
    if not set(wanted) <= set(known):
        return
    before: Node = ALWAYS
    for limit in LIMITS:
        made = _filter(known, wanted, others, limit)
        if made.node == ALWAYS:
            return
        if made.node != before:
            yield made
        before = made.node


def _filter(known: Mapping[str, Schema], wanted: Wanted, others: bool, limit: int) -> Filter:
    kinds, surely, passing, parts = [], [], [], list[Part]()
    for name, expressions in wanted.items():
        condition = Condition.of(known[name], Budget(limit))
        columns = decoder(known[name], None).columns
        trees = [None if each is None else each.resolved(columns).tree() for each in expressions]
        kinds.append(is_of(known[name]))
        surely.append(is_of(known[name], surely=True))
        may = any_of(ALWAYS if tree is None else condition.may(tree) for tree in trees)
        passing.append(all_of([kinds[-1], may]))
        for tree in trees:
            parts += [] if tree is None else _parts(name, known[name], limit, tree)
    if others and kinds == passing:
        return Filter(ALWAYS, others, parts=tuple(parts))
    read = [known[name] for name in wanted]
    if others:
        rest = all_of(map(negated, surely))
    else:
        owned = [schema for schema in known.values() if _is_control(schema)]
        control = Ranges(TYPE, 2, False, False, ((0, MessageType.MIN_TYPE - 1),))
        rest = all_of([control, *(negated(is_of(schema, surely=True)) for schema in owned)])
        read += owned
    # Short messages are malformed, or of control: the decoder counts them. Nothing is read behind their end.
    short = negated(Length(max(map(least, read))))
    node = any_of([short, negated(Single()), *passing, rest])
    return Filter(node, others, parts=tuple(parts))


def _is_control(schema: Schema) -> bool:
    """Whether messages of this table have the type of a control message, as those of proc."""
    return any(op.type < MessageType.MIN_TYPE for op in schema.ops)


def _parts(table: str, schema: Schema, limit: int, tree: Tree) -> list[Part]:
    """What stands between the `and`s of a condition, and who checks it."""
    return parts_of(table, tree, lambda budget: Condition.of(schema, budget), limit)


def parts_of(table: str, tree: Tree, condition: Callable[[Budget], Condition], limit: int) -> list[Part]:
    """The same for any condition."""
    found = []
    for each in tree[1:] if tree[0] == "and" else (tree,):
        budget = Budget(limit)
        may = condition(budget).may(each)
        found.append(Part(table, condition_text(each), may != ALWAYS, budget.rough))
    return found
