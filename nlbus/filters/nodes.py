"""Conditions on the bytes of a datagram, as data: what expressions become before they become instructions.

A node is true or false of a datagram. It may also meet something odd, such as an attribute of another length:
the datagram then passes, and the decoder decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

Path: TypeAlias = tuple[int, ...]  # numbers of attributes, each nested in the one before; (): the header


@dataclass(frozen=True, slots=True)
class Const:
    """True or false of every datagram."""

    value: bool


@dataclass(frozen=True, slots=True)
class All:
    """All of these; use `all_of`."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """At least one of these; use `any_of`."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary; what is odd stays odd."""

    part: Node


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is: at an offset in an attribute's payload, or in the datagram if `path` is empty.

    start: where the attributes begin in the datagram.
    """

    path: Path
    at: int
    start: int = 0


@dataclass(frozen=True, slots=True)
class Has:
    """The attribute is there. Odd if its payload has less than `least` bytes, more than `most` (0: any), or
    none of `lengths`."""

    path: Path
    start: int
    least: int = 0
    most: int = 0
    lengths: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranges:
    """An integer in one of these ranges, first and last; they are sorted and do not touch.

    An attribute of another length than `size` is odd, with `longer` only a shorter one.
    """

    place: Place
    size: int  # 1, 2, 4 or 8 bytes
    big: bool  # byte order of the network
    signed: bool
    ranges: tuple[tuple[int, int], ...]
    longer: bool = False


@dataclass(frozen=True, slots=True)
class Bits:
    """An integer that has all bits of a mask; as Ranges otherwise."""

    place: Place
    size: int
    big: bool
    mask: int
    longer: bool = False


@dataclass(frozen=True, slots=True)
class Bytes:
    """These bytes, where the mask has bits (b"" for all), in a payload that has `length` bytes (-1: at least
    as many as `data`). False for an attribute of another length."""

    place: Place
    data: bytes
    mask: bytes = b""
    length: int = -1


@dataclass(frozen=True, slots=True)
class Text:
    """A text, which ends at its first NUL or with its room. `whole`: it is this one; else it begins so.

    room: bytes of a field of a struct; -1: the payload of an attribute.
    """

    place: Place
    data: bytes
    whole: bool
    room: int = -1


@dataclass(frozen=True, slots=True)
class Address:
    """An address of 4 or 16 bytes that is in a network, given as 16 bytes and a mask; IPv4 is mapped.

    An attribute of another length is odd.
    """

    place: Place
    network: bytes
    mask: bytes
    room: int = -1  # bytes of a field of a struct; -1: the payload of an attribute


@dataclass(frozen=True, slots=True)
class Length:
    """The datagram has at least so many bytes."""

    least: int


@dataclass(frozen=True, slots=True)
class Single:
    """The datagram is one netlink message and nothing else."""


Node: TypeAlias = Const | All | Any | Not | Has | Ranges | Bits | Bytes | Text | Address | Length | Single

ALWAYS = Const(True)
NEVER = Const(False)


def all_of(parts: Iterable[Node]) -> Node:
    """All of these, as simple as possible."""
    found = tuple(dict.fromkeys(part for part in parts if part != ALWAYS))
    if NEVER in found:
        return NEVER
    return found[0] if len(found) == 1 else All(found) if found else ALWAYS


def any_of(parts: Iterable[Node]) -> Node:
    """At least one of these, as simple as possible."""
    found = tuple(dict.fromkeys(part for part in parts if part != NEVER))
    if ALWAYS in found:
        return ALWAYS
    return found[0] if len(found) == 1 else Any(found) if found else NEVER


def negated(node: Node) -> Node:
    """The contrary, as simple as possible."""
    if isinstance(node, Const):
        return Const(not node.value)
    return node.part if isinstance(node, Not) else Not(node)
