"""Tests of a value where it lies, as nodes: a node is true wherever the test may be.

`truth` False is the test's contrary. A value that is not there makes both false, as in SQL.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any as Anything
from typing import NamedTuple

import numpy as np

from nlbus._text import is_bytes, is_utf8
from nlbus.filters.nodes import (
    ALWAYS,
    NEVER,
    Address,
    Bits,
    Bytes,
    Const,
    Has,
    Node,
    Ranges,
    Text,
    all_of,
    any_of,
    negated,
)
from nlbus.filters.places import Spot
from nlbus.schema.types import Column, Type
from nlbus.table.comparisons import fitting, flag_bits, network_of
from nlbus.table.values import IPV4_FAMILIES, IPV6_FAMILIES

ORDERS: dict[str, Callable[[Anything, Anything], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip
CONTRARY = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
GLOB = frozenset("*?[")
LONGEST = 240  # bytes of text that are compared

Span = tuple[int, int]


class Budget:
    """How many ranges or texts a test may take; 0: nothing is tested but presence. `rough`: one took more, or
    is of a kind that only the decoder knows."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.rough = False

    def roughly(self, node: Node) -> Node:
        """The node instead of a test."""
        self.rough = True
        return node


def present(spot: Spot) -> Node:
    """Whether there is a value."""
    place, type = spot.place, spot.type
    if spot.absent is not None and type is not None:
        low, high = domain(type)
        absent = spot.absent % (1 << 8 * type.size)
        absent -= (1 << 8 * type.size) * (absent > high)
        return _ranges(spot, type, type.size, _without((low, high), [(absent, absent)]))
    if spot.in_header:
        return ALWAYS
    lengths: tuple[int, ...] = ()
    if type is not None and not spot.longer:
        lengths = {"ADDRESS": (4, 16), "VIA": (6, 18), "VARINT": (4, 8)}.get(type.kind, ())
    return Has(place.path, place.start, spot.least, 0 if type is None else type.longest, lengths)


class Family(NamedTuple):
    """The address family in a message's header, if any: it tells mapped addresses of IPv4 from others."""

    spot: Spot | None

    def other(self, column: Column, version: int) -> Node:
        """Whether an address of this column is known to be of the other version of IP."""
        if column.family != "family" or self.spot is None:
            return Const(column.family == "inet6" and version == 4)
        numbers = np.flatnonzero(IPV6_FAMILIES if version == 4 else IPV4_FAMILIES).tolist()
        return Ranges(self.spot.place, 1, False, False, tuple((number, number) for number in numbers))


def tested(
    spot: Spot, family: Family, column: Column, sign: str, argument: object, truth: bool, budget: Budget
) -> Node:
    """Whether the value may pass this test."""
    there = present(spot)
    type = spot.type
    if type is None or column.list or not budget.most:
        return budget.roughly(there)
    if type.kind == "FLAG":
        return there if _flag(column, sign, argument) is truth else NEVER
    if type.kind in ("UINT", "SINT", "UINT_BE", "SINT_BE", "VARINT"):
        return all_of(
            [there] * (spot.absent is not None) + [_integer(spot, column, sign, argument, truth, budget)]
        )
    if type.kind == "TEXT":
        return _text(spot, column, sign, argument, truth, budget)
    if type.kind == "ADDRESS":
        return _address(spot, family, column, sign, argument, truth, budget)
    if type.kind in ("BYTES", "FIXED") and sign in ("==", "!=", "in"):
        return _bytes(spot, column, sign, argument, truth, budget)
    return budget.roughly(there)


# -- integers -----------------------------------------------------------------------------------------


def domain(type: Type, size: int = 0) -> Span:
    """The least and the largest value of an integer of this type."""
    bits = 8 * (size or type.size)
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if "SINT" in type.kind else (0, (1 << bits) - 1)


def _integer(spot: Spot, column: Column, sign: str, argument: Anything, truth: bool, budget: Budget) -> Node:
    type = spot.type
    assert type is not None
    if sign == "has":
        bits = flag_bits(column, argument)
        if bits >> 8 * type.size:
            return NEVER if truth else present(spot)
        node = Bits(spot.place, type.size, type.kind.endswith("_BE"), bits, spot.longer)
        return node if truth else all_of([present(spot), negated(node)])
    sizes = (4, 8) if type.kind == "VARINT" and not spot.longer else (type.size,)
    found = []
    for size in sizes:
        time = column.display == "time"
        spans = _spans(column, sign, argument, domain(type, size) if not time else _signed(size))
        if spans is None or (time and not truth):  # what is no time is in no order
            return budget.roughly(present(spot))
        if not truth:
            spans = _without(domain(type, size), spans)
        found.append(_ranges(spot, type, size, _fewer(spans, budget), signed=time))
    if len(sizes) > 1:
        # Of the other length each of them is odd; hence both must be asked of their own length.
        four, eight = (Bytes(spot.place, b"", b"", size) for size in sizes)
        return any_of([all_of([four, found[0]]), all_of([eight, found[1]])])
    return found[0]


def _signed(size: int) -> Span:
    return -(1 << 8 * size - 1), (1 << 8 * size - 1) - 1


def _ranges(spot: Spot, type: Type, size: int, spans: Sequence[Span], signed: bool = False) -> Node:
    if not spans:
        return NEVER
    signed = signed or "SINT" in type.kind
    whole = _signed(size) if signed else (0, (1 << 8 * size) - 1)
    if list(spans) == [whole]:
        return ALWAYS if spot.in_header else Has(spot.place.path, spot.place.start, spot.least)
    return Ranges(spot.place, size, type.kind.endswith("_BE"), signed, tuple(spans), spot.longer)


def _spans(column: Column, sign: str, argument: Anything, within: Span) -> list[Span] | None:
    """The values that pass; None if that is not known."""
    if sign == "in":
        every = [_spans(column, "==", value, within) for value in argument]
        if None in every:
            return None
        return _joined([span for spans in every if spans for span in spans])
    if sign not in ORDERS:
        return None
    value = fitting(column, argument)
    if isinstance(value, np.datetime64):
        if np.isnat(value):
            return None
        value = value.astype(np.int64)
    if not isinstance(value, bool | int | np.integer | np.bool_):
        return None  # numpy compares as floats, which are rounded
    low, high, value = *within, int(value)
    if sign == "!=":
        return _without(within, [(value, value)])
    first = {"==": value, ">=": value, ">": value + 1}.get(sign, low)
    last = {"==": value, "<=": value, "<": value - 1}.get(sign, high)
    first, last = max(first, low), min(last, high)
    return [(first, last)] if first <= last else []


def _joined(spans: Sequence[Span]) -> list[Span]:
    """The same values in sorted ranges that do not touch."""
    found: list[Span] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found


def _without(within: Span, spans: Sequence[Span]) -> list[Span]:
    """All other values."""
    found, next_ = [], within[0]
    for first, last in spans:
        if next_ < first:
            found.append((next_, first - 1))
        next_ = last + 1
    return [*found, (next_, within[1])] if next_ <= within[1] else found


def _fewer(spans: list[Span], budget: Budget) -> list[Span]:
    """As many ranges as there may be, which have all these values; the smallest gaps are filled."""
    if len(spans) <= budget.most:
        return spans
    budget.rough = True
    gaps = sorted(range(len(spans) - 1), key=lambda i: spans[i + 1][0] - spans[i][1])
    filled = set(gaps[: len(spans) - budget.most])
    found = [spans[0]]
    for i, (first, last) in enumerate(spans[1:]):
        found[-1:] = [(found[-1][0], last)] if i in filled else [found[-1], (first, last)]
    return found


def _flag(column: Column, sign: str, argument: Anything) -> bool:
    """Whether an attribute whose presence is its value passes."""
    if sign == "in":
        return any(_flag(column, "==", value) for value in argument)
    return bool(ORDERS[sign](np.bool_(True), fitting(column, argument)))


# -- text, bytes, addresses ---------------------------------------------------------------------------


def _each(
    sign: str,
    argument: Anything,
    truth: bool,
    budget: Budget,
    there: Node,
    one: Callable[[Anything, bool], Node],
) -> Node:
    """Tests for equality with one value or one of several, from the one for equality or the contrary."""
    values = argument if sign == "in" else [argument]
    if len(values) > budget.most:
        return budget.roughly(there)
    equal = truth if sign == "in" else truth is (sign == "==")
    return (any_of if equal else all_of)(
        [one(value, equal) for value in values] or [there if not equal else NEVER]
    )


def _text(spot: Spot, column: Column, sign: str, argument: Anything, truth: bool, budget: Budget) -> Node:
    type, there = spot.type, present(spot)
    assert type is not None
    room = type.size if spot.longer else -1

    def begins(text: str, equal: bool, whole: bool) -> Node:
        # Bytes that are not UTF-8 are lone surrogates; a text may begin in the middle of a character.
        known = is_bytes(text) and "\0" not in text and (whole or equal or is_utf8(text))
        data = text.encode(errors="surrogateescape") if known else b""
        if not known or len(data) > LONGEST:
            return budget.roughly(there)
        node = Text(spot.place, data, whole, room)
        return node if equal else all_of([there, negated(node)])

    if sign == "matches":
        if not is_utf8(argument):
            budget.rough = True
        literal = next((i for i, sign in enumerate(argument) if sign in GLOB), len(argument))
        if literal == len(argument):
            return begins(argument, truth, True)
        if argument[literal:] != "*":
            budget.rough = True
            if not truth:
                return there
        return begins(argument[:literal], truth, False)
    if sign not in ("==", "!=", "in"):
        return budget.roughly(there)  # in the order of code points
    return _each(sign, argument, truth, budget, there, lambda text, equal: begins(text, equal, True))


def _bytes(spot: Spot, column: Column, sign: str, argument: Anything, truth: bool, budget: Budget) -> Node:
    type, there = spot.type, present(spot)
    assert type is not None

    def same(value: object, equal: bool) -> Node:
        data = fitting(column, value)
        if len(data) > LONGEST:
            return budget.roughly(there)
        node = Bytes(spot.place, data, b"", len(data) if type.kind == "BYTES" else -1)
        return node if equal else all_of([there, negated(node)])

    return _each(sign, argument, truth, budget, there, same)


def _address(
    spot: Spot, family: Family, column: Column, sign: str, argument: Anything, truth: bool, budget: Budget
) -> Node:
    type, there = spot.type, present(spot)
    assert type is not None
    room = type.size if spot.longer else -1

    def inside(value: Anything, equal: bool) -> Node:
        other: Node = NEVER
        if sign == "within":
            first, network, mask = network_of(column, value)
            other = family.other(column, first.version)
        else:
            network, mask = fitting(column, value), b"\xff" * 16
            if not isinstance(value, bytes):
                other = family.other(column, ip_address(value).version)
        node = Address(spot.place, network, mask, room)
        if equal:
            return all_of([node, negated(other)])
        return all_of([there, any_of([negated(node), other])])

    if sign == "within":
        return inside(argument, truth)
    if sign not in ("==", "!=", "in"):
        return budget.roughly(there)
    return _each(sign, argument, truth, budget, there, inside)
