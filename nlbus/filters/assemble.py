"""From nodes to instructions of classic BPF.

The program is built from its end: so each jump knows how far it goes. Where that is more than a jump can go,
an unconditional one stands behind it.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from typing import NamedTuple

from nlbus.filters import nodes
from nlbus.filters.nodes import Node, Path, Place

MOST = 4096  # instructions
FAR = 255  # the farthest conditional jump
LITTLE = sys.byteorder == "little"

# <linux/filter.h>
LD, LDX, ST, ALU, JMP, RET, MISC = 0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x07
WORD, HALF, BYTE = 0x00, 0x08, 0x10
IMM, ABS, IND, MEM, LEN = 0x00, 0x20, 0x40, 0x60, 0x80
AND, OR, LSH, RSH, XOR = 0x50, 0x40, 0x60, 0x70, 0xA0
JA, JEQ, JGT, JGE = 0x00, 0x10, 0x20, 0x30
BY_X = 0x08
TAX = MISC | 0x00
NLATTR, NLATTR_NEST = 0xFFFF_F000 + 12, 0xFFFF_F000 + 16  # SKF_AD_OFF + ...
PASS, DROP = 0xFFFF_FFFF, 0

HEAD = 4  # bytes of a struct nlattr
TMP, TMP2, LOW, HIGH, FOUND = 0, 1, 2, 3, 15  # words of scratch memory
WIDTHS = {1: BYTE, 2: HALF, 4: WORD}

Label = int  # instructions from here to the end


class TooLong(Exception):  # noqa: N818 - the caller always has another way
    """The program has more instructions than the kernel takes."""


class Instruction(NamedTuple):
    """A struct sock_filter."""

    code: int
    jt: int
    jf: int
    k: int


def assembled(node: Node) -> list[Instruction]:
    """The program that passes a datagram if the node is true of it, or odd. TooLong."""
    program = _Program()
    program.entry(node)
    if len(program.reversed) > MOST:
        raise TooLong
    return program.reversed[::-1]


def encoded(program: Sequence[Instruction]) -> bytes:
    """The program as an array of struct sock_filter."""
    return b"".join(struct.pack("=HBBI", *each) for each in program)


class _Program:
    def __init__(self) -> None:
        self.reversed: list[Instruction] = []
        self.drop = self.put(RET, DROP)
        self.accept = self.put(RET, PASS)

    def entry(self, node: Node) -> None:
        """Finish the program."""
        start = self.node(node, self.accept, self.drop)
        if start != len(self.reversed):
            self.put(JMP | JA, len(self.reversed) - start)

    # -- instructions, the last one first -----------------------------------------------------------

    def put(self, code: int, k: int = 0, jt: int = 0, jf: int = 0) -> Label:
        """One instruction before all others."""
        if len(self.reversed) > 4 * MOST:
            raise TooLong
        self.reversed.append(Instruction(code, jt, jf, k & 0xFFFF_FFFF))
        return len(self.reversed)

    def near(self, label: Label, room: int = FAR - 1) -> Label:
        """The label, or one from which a jump leads there, where that is too far away."""
        here = len(self.reversed)
        return label if here - label <= room else self.put(JMP | JA, here - label)

    def branch(self, test: int, k: int, yes: Label, no: Label) -> Label:
        """Compare A with k."""
        if yes == no:
            return self.goto(yes)
        yes = self.near(yes)
        no = self.near(no)
        here = len(self.reversed)
        return self.put(JMP | test, k, here - yes, here - no)

    def goto(self, label: Label) -> Label:
        """Nothing where the label comes next, else a jump."""
        here = len(self.reversed)
        return here if here == label else self.put(JMP | JA, here - label)

    # -- nodes --------------------------------------------------------------------------------------

    def node(self, node: Node, yes: Label, no: Label) -> Label:
        """The code of a node, before all others; where it begins."""
        match node:
            case nodes.Const(value):
                return yes if value else no
            case nodes.Not(part):
                return self.node(part, no, yes)
            case nodes.All(parts):
                for part in reversed(parts):
                    yes = self.node(part, yes, no)
                return yes
            case nodes.Any(parts):
                for part in reversed(parts):
                    no = self.node(part, yes, no)
                return no
            case nodes.Length(least):
                self.branch(JGE, least, yes, no)
                return self.put(LD | LEN | WORD)
            case nodes.Single():
                return self.single(yes, no)
            case nodes.Has():
                return self.find(node.path, node.start, self.fits(node, yes), no)
            case nodes.Ranges():
                return self.integer(node, self.ranges(node, yes, no), no)
            case nodes.Bits():
                return self.integer(node, self.bits(node, yes, no), no)
            case nodes.Bytes(place, data, mask, length):
                there = self.compare(place, data, mask, yes, no)
                if not place.path:
                    return there
                if length < 0:
                    return self.find(
                        place.path, place.start, self.longer(place.at + len(data), there, no), no
                    )
                return self.find(place.path, place.start, self.exactly(length, there, no), no)
            case nodes.Text():
                return self.text(node, yes, no)
            case nodes.Address():
                return self.address(node, yes, no)

    def single(self, yes: Label, no: Label) -> Label:
        """nlmsg_len, which has the host's byte order, is the length of the datagram; longer ones pass."""
        low, high, upper = (0, 1, 2) if LITTLE else (3, 2, 0)
        self.put(JMP | JEQ | BY_X, 0, *self._offsets(yes, no))
        self.put(LD | LEN | WORD)
        self.put(TAX)
        self.put(ALU | OR | BY_X)
        self.put(LD | ABS | BYTE, low)
        self.put(TAX)
        self.put(ALU | LSH, 8)
        there = self.put(LD | ABS | BYTE, high)
        self.branch(JEQ, 0, there, no)
        return self.put(LD | ABS | HALF, upper)

    def _offsets(self, yes: Label, no: Label) -> tuple[int, int]:
        yes = self.near(yes)
        no = self.near(no)
        here = len(self.reversed)
        return here - yes, here - no

    # -- attributes ---------------------------------------------------------------------------------

    def find(self, path: Path, start: int, yes: Label, no: Label) -> Label:
        """Look for an attribute; where it begins is then in X and in the scratch word FOUND."""
        if yes != len(self.reversed):
            yes = self.goto(yes)
        self.put(TAX)
        self.put(ST, FOUND)
        there = len(self.reversed)
        for depth in range(len(path) - 1, -1, -1):
            self.branch(JEQ, 0, no, there)
            self.put(LD | ABS | WORD, NLATTR_NEST if depth else NLATTR)
            there = self.put(LDX | IMM, path[depth])
        return self.put(LD | IMM, start)

    def fits(self, node: nodes.Has, yes: Label) -> Label:
        """Whether the payload of the attribute at X has the length that it must have."""
        if node.lengths:
            there = self.accept
            for length in node.lengths:
                there = self.exactly(length, yes, there)
            return there
        there = self.longer(node.most + 1, self.accept, yes) if node.most else yes
        return self.longer(node.least, there, self.accept) if node.least else there

    def exactly(self, length: int, yes: Label, no: Label) -> Label:
        """Whether the payload of the attribute at X has this length."""
        self.branch(JEQ, _swapped(HEAD + length, 2), yes, no)
        return self.put(LD | IND | HALF, 0)

    def longer(self, length: int, yes: Label, no: Label) -> Label:
        """Whether the payload of the attribute at X has at least this length."""
        least = HEAD + length
        low, high = (0, 1) if LITTLE else (1, 0)
        if least < 1 << 8:
            there = self.branch(JGE, least, yes, no)
            there = self.put(LD | IND | BYTE, low)
            self.branch(JEQ, 0, there, yes)
            return self.put(LD | IND | BYTE, high)
        self.branch(JGE, least & 0xFF, yes, no)
        there = self.put(LD | IND | BYTE, low)
        there = self.branch(JEQ, least >> 8, there, no)
        self.branch(JGT, least >> 8, yes, there)
        return self.put(LD | IND | BYTE, high)

    # -- integers -----------------------------------------------------------------------------------

    def integer(self, node: nodes.Ranges | nodes.Bits, there: Label, no: Label) -> Label:
        """The code before that which reads the integer."""
        place = node.place
        if not place.path:
            return there
        fits = self.longer if node.longer else self.exactly
        return self.find(place.path, place.start, fits(place.at + node.size, there, self.accept), no)

    def ranges(self, node: nodes.Ranges, yes: Label, no: Label) -> Label:
        """Whether the integer, in place, is in these ranges."""
        ranges = node.ranges
        swap = LITTLE and not node.big and node.size > 1
        if node.size == 8:
            return self.wide(node, swap, yes, no)
        points = all(first == last for first, last in ranges)
        bits = 8 * node.size
        if points:
            raw = sorted(
                _swapped(first % (1 << bits), node.size) if swap else first % (1 << bits)
                for first, _ in ranges
            )
            self.tree([(value, value) for value in raw], (1 << bits) - 1, yes, no)
            return self.load(node.place, node.size, 0)
        bias = 1 << bits - 1 if node.signed else 0
        self.tree([(first + bias, last + bias) for first, last in ranges], (1 << bits) - 1, yes, no)
        if bias:
            self.put(ALU | XOR, bias)
        if swap:
            self.swap(node.size)
        return self.load(node.place, node.size, 0)

    def tree(self, ranges: Sequence[tuple[int, int]], most: int, yes: Label, no: Label) -> Label:
        """Whether A is in one of these ranges, by halves."""
        if not ranges:
            return self.goto(no)
        middle = len(ranges) // 2
        first, last = ranges[middle]
        above = self.tree(ranges[middle + 1 :], most, yes, no) if ranges[middle + 1 :] else no
        below = self.tree(ranges[:middle], most, yes, no) if ranges[:middle] else no
        if first == last:
            aside = below if above == below else self.branch(JGT, last, above, below)
            return self.branch(JEQ, first, yes, aside)
        there = self.branch(JGE, first, yes, below) if first else yes
        return self.branch(JGT, last, above, there) if last < most else self.goto(there)

    def wide(self, node: nodes.Ranges, swap: bool, yes: Label, no: Label) -> Label:
        """The same for 64 bits: both halves lie in scratch memory."""
        bias = 1 << 63 if node.signed else 0
        for first, last in reversed(node.ranges):
            no = self.wide_range(first + bias, last + bias, yes, no)
        if no != len(self.reversed):
            self.goto(no)
        low, high = (0, 4) if swap else (4, 0)
        for half, word in ((low, LOW), (high, HIGH)):
            self.put(ST, word)
            if word == HIGH and bias:
                self.put(ALU | XOR, 1 << 31)
            if swap:
                self.swap(4)
            there = self.load(node.place, 4, half)
            if node.place.path:
                there = self.put(LDX | MEM, FOUND)
        return there

    def wide_range(self, first: int, last: int, yes: Label, no: Label) -> Label:
        """Whether HIGH and LOW are in a range."""
        low_first, low_last = first & 0xFFFF_FFFF, last & 0xFFFF_FFFF
        if first >> 32 == last >> 32:
            there = self.tree([(low_first, low_last)], 0xFFFF_FFFF, yes, no)
            there = self.put(LD | MEM, LOW) if there == len(self.reversed) else there
            self.branch(JEQ, first >> 32, there, no)
            return self.put(LD | MEM, HIGH)
        self.branch(JGT, low_last, no, yes)
        at_last = self.put(LD | MEM, LOW)
        self.branch(JGE, low_first, yes, no)
        at_first = self.put(LD | MEM, LOW)
        there = self.branch(JEQ, last >> 32, at_last, yes)
        there = self.branch(JGT, last >> 32, no, there)
        there = self.branch(JEQ, first >> 32, at_first, there)
        self.branch(JGE, first >> 32, there, no)
        return self.put(LD | MEM, HIGH)

    def bits(self, node: nodes.Bits, yes: Label, no: Label) -> Label:
        """Whether the integer, in place, has these bits."""
        raw = node.mask.to_bytes(node.size, "big" if node.big else sys.byteorder)
        return self.compare(node.place, raw, raw, yes, no)

    def load(self, place: Place, size: int, at: int) -> Label:
        """A part of a value to A; an attribute's X is set. Bytes of the network's order."""
        if place.path:
            return self.put(LD | IND | WIDTHS[size], HEAD + place.at + at)
        return self.put(LD | ABS | WIDTHS[size], place.at + at)

    def swap(self, size: int) -> None:
        """Reverse the bytes of A, which uses X."""
        self.put(ALU | OR | BY_X)
        self.put(LDX | MEM, TMP2)
        if size == 2:
            self.put(ALU | RSH, 8)
            self.put(LD | MEM, TMP)
            self.put(ST, TMP2)
            self.put(ALU | AND, 0xFF00)
            self.put(ALU | LSH, 8)
            self.put(ST, TMP)
            return
        self.put(ALU | RSH, 16)
        self.put(LD | MEM, TMP)
        self.put(ST, TMP2)
        self.put(ALU | LSH, 16)
        self.put(ST, TMP)
        self.put(ALU | OR | BY_X)
        self.put(LDX | MEM, TMP2)
        self.put(ALU | AND, 0x00FF_00FF)
        self.put(ALU | RSH, 8)
        self.put(LD | MEM, TMP)
        self.put(ST, TMP2)
        self.put(ALU | LSH, 8)
        self.put(ALU | AND, 0x00FF_00FF)
        self.put(ST, TMP)

    # -- bytes --------------------------------------------------------------------------------------

    def compare(self, place: Place, data: bytes, mask: bytes, yes: Label, no: Label) -> Label:
        """Whether these bytes are there; they are within the datagram."""
        pieces = []
        at = 0
        while at < len(data):
            size = 4 if len(data) - at >= 4 else 2 if len(data) - at >= 2 else 1
            bits = int.from_bytes(mask[at : at + size] or b"\xff" * size, "big")
            pieces.append((at, size, int.from_bytes(data[at : at + size], "big") & bits, bits))
            at += size
        there = yes
        for at, size, value, bits in reversed(pieces):
            if not bits:
                continue
            self.branch(JEQ, value, there, no)
            if bits != (1 << 8 * size) - 1:
                self.put(ALU | AND, bits)
            there = self.load(place, size, at)
        return there

    def of_struct(self, place: Place, size: int, there: Label, no: Label) -> Label:
        """The code before that which reads a field of a struct."""
        if not place.path:
            return there
        return self.find(place.path, place.start, self.longer(place.at + size, there, self.accept), no)

    def text(self, node: nodes.Text, yes: Label, no: Label) -> Label:
        """Whether a text is this one, or begins so."""
        place, data, length = node.place, node.data, len(node.data)
        if node.room >= 0:
            if length > node.room:
                return no
            whole = data + b"\0" if node.whole and length < node.room else data
            return self.of_struct(place, node.room, self.compare(place, whole, b"", yes, no), no)
        end = yes
        if node.whole:
            # The payload ends here, or there is a NUL.
            end = self.branch(JEQ, 0, yes, no)
            end = self.put(LD | IND | BYTE, HEAD + place.at + length)
            end = self.exactly(place.at + length, yes, end)
        there = self.compare(place, data, b"", end, no)
        return self.find(place.path, place.start, self.longer(place.at + length, there, no), no)

    def address(self, node: nodes.Address, yes: Label, no: Label) -> Label:
        """Whether an address is in a network."""
        place, network, mask = node.place, node.network, node.mask
        mapped = b"\0" * 10 + b"\xff\xff"
        outside = any((a ^ b) & m for a, b, m in zip(mapped, network, mask[:12], strict=False))
        four = no
        if node.room in (-1, 4) and not outside:
            four = self.compare(place, network[12:], mask[12:], yes, no)
        if node.room == 4:
            return self.of_struct(place, 4, four, no)
        sixteen = self.compare(place, network, mask, yes, no)
        if node.room == 16:
            return self.of_struct(place, 16, sixteen, no)
        there = self.exactly(4, four, self.accept)
        there = self.exactly(16, sixteen, there)
        return self.find(place.path, place.start, there, no)


def _swapped(value: int, size: int) -> int:
    """What the kernel loads, as of the network, where the host's order has this value."""
    return int.from_bytes(value.to_bytes(size, sys.byteorder), "big")
