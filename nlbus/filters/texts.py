"""Filters of uevents: by the title of the kernel's (action@devpath), and by the hashes in udev's header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from nlbus.filters.messages import Filter, Part
from nlbus.filters.nodes import ALWAYS, Bytes, Length, Node, Place, Ranges, all_of, any_of, negated
from nlbus.filters.values import GLOB, Budget
from nlbus.filters.words import condition_text
from nlbus.schema.schema import AnySchema, Envelope, TextSchema
from nlbus.table.expressions import Expression, Tree

# Offsets in udev's header of MurmurHash2 of these columns, in the network's byte order.
HASHES = {"subsystem": 24, "devtype": 28}
UDEV_HEADER = 40


def text_filters(schema: AnySchema, expressions: Sequence[Expression | None]) -> Iterator[Filter]:
    """Yield the filter of datagrams for which one of the expressions may be true; none if all would pass."""
    if (
        not isinstance(schema, TextSchema)
        or schema.envelope is None
        or not schema.title
        or None in expressions
    ):
        return
    trees = [each.tree() for each in expressions if each is not None]
    node = any_of(_may(schema.envelope, schema.op, tree, True, Budget(1)) for tree in trees)
    parts: list[Part] = []
    for tree in trees:
        for each in tree[1:] if tree[0] == "and" else (tree,):
            kernel = _may(schema.envelope, schema.op, each, True, Budget(1)) != ALWAYS
            parts.append(Part(schema.name, condition_text(each), kernel, True))
    if node != ALWAYS:
        yield Filter(node, True, parts=tuple(parts))


def _may(envelope: Envelope, action: str, tree: Tree, truth: bool, budget: Budget) -> Node:
    """Where the expression may be true, or false with `truth` False."""
    sign, *parts = tree
    below = partial(_may, envelope, action, budget=budget)
    if sign in ("and", "or"):
        return (all_of if (sign == "and") is truth else any_of)([below(part, truth=truth) for part in parts])
    if sign == "not":
        return below(parts[0], truth=not truth)
    if sign == "null":
        return ALWAYS
    name, argument = parts
    values = _values(sign, argument)
    equal = truth is (sign != "!=")
    if not values or not all(value.isascii() and value.isprintable() for value in values):
        return ALWAYS
    head = envelope.begin + envelope.magic
    of_udev = all_of([Length(UDEV_HEADER), Bytes(Place((), 0), head)])
    if name == action and "@" not in "".join(values):
        titles = [f"{value}@".encode() for value in values]
        begins = any_of(all_of([Length(len(each)), Bytes(Place((), 0), each)]) for each in titles)
        return any_of([of_udev, begins if equal else negated(begins)])
    if name in HASHES and equal:
        hashes = sorted({(murmur2(value.encode()),) * 2 for value in values})
        same = Ranges(Place((), HASHES[name]), 4, True, False, tuple(hashes))
        return any_of([negated(of_udev), same])
    return ALWAYS


def _values(sign: str, argument: object) -> list[str]:
    """The texts that a test compares with as a whole; none for other tests."""
    if sign == "in" and isinstance(argument, list):
        return argument if all(isinstance(value, str) for value in argument) else []
    plain = isinstance(argument, str) and (sign != "matches" or not GLOB.intersection(argument))
    return [argument] if plain and isinstance(argument, str) and sign in ("==", "!=", "matches") else []


def murmur2(data: bytes) -> int:
    """MurmurHash2 with seed 0, as libudev computes it."""
    factor, mask = 0x5BD1E995, 0xFFFF_FFFF
    found = len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * factor & mask
        word = (word ^ word >> 24) * factor & mask
        found = found * factor & mask ^ word
    if rest := data[whole:]:
        found = (found ^ int.from_bytes(rest, "little")) * factor & mask
    found = (found ^ found >> 13) * factor & mask
    return found ^ found >> 15
