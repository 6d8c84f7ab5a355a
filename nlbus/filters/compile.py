"""From expressions of columns to nodes, for the messages of one table.

A node may be true where the expression is not: the decoder checks again. It is never false where the
expression is true. So each test is compiled twice, for itself and for its contrary, as `not` needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nlbus.filters.nodes import (
    ALWAYS,
    NEVER,
    Bits,
    Const,
    Has,
    Node,
    Place,
    Ranges,
    all_of,
    any_of,
    negated,
)
from nlbus.filters.places import HEADER, Spot, header_size, spots
from nlbus.filters.values import ORDERS, Budget, Family, present, tested
from nlbus.schema.schema import Op, Schema
from nlbus.schema.types import NL_COLUMNS, OPS, Column
from nlbus.table.comparisons import fitting
from nlbus.table.decoded import decoder
from nlbus.table.expressions import Tree
from nlbus.table.names.conditions import asks_for_names

TYPE, FLAGS, SEQ = Place((), 4), Place((), 6), Place((), 8)
NL = {column.name: column for column in NL_COLUMNS}
LIVE = {"nl_origin": 0}  # columns that are the same for all live messages


def is_of(schema: Schema, surely: bool = False) -> Node:
    """Whether a message may be of this table, or `surely` is: no filter sees the group that it came by."""
    found = any_of(_rule(op) for op in schema.ops if not (surely and op.group))
    for what, wanted in ((schema.selector, True), (schema.unless, False)):
        if what is not None:
            at, size, value = what
            same = Ranges(Place((), HEADER + at), size, False, False, ((value, value),))
            return all_of([found, same if wanted else negated(same)])
    return found


def least(schema: Schema) -> int:
    """The bytes that the header of such a message has."""
    ends = [at + size for at, size, _ in filter(None, (schema.selector, schema.unless))]
    return HEADER + max([header_size(schema), *ends])


def _rule(op: Op) -> Node:
    bits = [bit for bit in (1 << i for i in range(16)) if bit & op.mask]
    flags = [(bit & op.value, Bits(FLAGS, 2, False, bit)) for bit in bits]
    return all_of(
        [
            _equal(TYPE, 2, op.type),
            *(test if wanted else negated(test) for wanted, test in flags),
            *([_equal(SEQ, 4, op.seq)] if op.seq else ()),
            *([_equal(Place((), HEADER + op.has[0]), 4, op.has[1])] if op.has else ()),
            *([_equal(Place((), HEADER), 1, op.command)] if op.command >= 0 else ()),
        ]
    )


def _equal(place: Place, size: int, value: int) -> Node:
    return Ranges(place, size, False, False, ((value, value),))


class Condition:
    """Compiles expressions about these columns, which lie at these spots. ops: what tells nl_op."""

    def __init__(
        self,
        columns: Mapping[str, Column],
        spots: Mapping[str, Sequence[Spot]],
        ops: Sequence[Op],
        budget: Budget,
    ) -> None:
        self._columns = columns
        self._spots = spots
        self._ops = ops
        self._budget = budget
        family = [spot for spot in spots.get("family", ()) if spot.in_header]
        self._family = Family(family[0] if family else None)

    @classmethod
    def of(cls, schema: Schema, budget: Budget) -> Condition:
        """For the messages of a table."""
        columns = {column.name: column for column in decoder(schema, None).columns}
        return cls(columns, spots(schema), schema.ops, budget)

    def may(self, tree: Tree, truth: bool = True) -> Node:
        """Where the expression may be true, or false: with `truth` False."""
        sign, *parts = tree
        if sign in ("and", "or"):
            return (all_of if (sign == "and") is truth else any_of)([self.may(part, truth) for part in parts])
        if sign == "not":
            return self.may(parts[0], not truth)
        if sign == "null":
            return self._null(parts[0], truth)
        name, argument = parts
        if name in self._columns and asks_for_names(self._columns[name], sign, argument):
            return self._budget.roughly(ALWAYS)  # names change, and the kernel's program does not
        if name not in self._columns and name not in NL:
            return self._budget.roughly(ALWAYS)  # a fact, which no message has
        if name in NL:
            return self._about_the_message(name, sign, argument, truth)
        if name not in self._spots:
            return self._budget.roughly(ALWAYS)
        return self._value(self._columns[name], self._spots[name], sign, argument, truth)

    def _null(self, name: str, truth: bool) -> Node:
        if name in NL:
            return self._budget.roughly(ALWAYS) if name == "nl_nsid" else Const(not truth)
        if name not in self._spots:
            return self._budget.roughly(ALWAYS)
        there = [present(spot) for spot in self._spots[name]]
        known = all(spot.type is not None for spot in self._spots[name])
        if truth and known:
            return all_of(map(negated, there))
        node = ALWAYS if truth else any_of(there)
        return node if known else self._budget.roughly(node)

    def _value(self, column: Column, spots: Sequence[Spot], sign: str, argument: object, truth: bool) -> Node:
        found, others = [], []
        for spot in spots:
            test = tested(spot, self._family, column, sign, argument, truth, self._budget)
            if not spot.in_header:
                others.append(Has(spot.place.path, spot.place.start))
                found.append(test)
        for spot in spots:
            if spot.in_header:
                # The header counts where no attribute has the value.
                test = tested(spot, self._family, column, sign, argument, truth, self._budget)
                found.append(all_of([test, *map(negated, others)]))
        return any_of(found)

    def _about_the_message(self, name: str, sign: str, argument: Any, truth: bool) -> Node:
        if name == "nl_op" and sign in (*ORDERS, "in"):
            passing = {number for number in OPS if self._passes(NL[name], number, sign, argument) is truth}
            found, before = list[Node](), list[Node]()
            self._budget.rough |= any(op.group for op in self._ops)
            for op in self._ops:
                rule = _rule(op)
                if {number for number, word in OPS.items() if word == op.op} & passing:
                    found.append(all_of([*map(negated, before), rule]))
                before += [] if op.group else [rule]
            return any_of(found)
        if name in LIVE and sign in (*ORDERS, "in"):
            return ALWAYS if self._passes(NL[name], LIVE[name], sign, argument) is truth else NEVER
        return self._budget.roughly(ALWAYS)

    def _passes(self, column: Column, number: int, sign: str, argument: Any) -> bool:
        if sign == "in":
            return any(self._passes(column, number, "==", value) for value in argument)
        return bool(ORDERS[sign](number, fitting(column, argument)))
