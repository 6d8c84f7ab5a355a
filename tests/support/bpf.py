"""An interpreter of classic BPF, as socket filters on netlink run: the oracle for nlbus/filters."""

from __future__ import annotations

import operator
import struct
from collections.abc import Sequence

ALU = {
    0x40: operator.or_,
    0x50: operator.and_,
    0x60: operator.lshift,
    0x70: operator.rshift,
    0xA0: operator.xor,
}
WIDTHS = {0x00: 4, 0x08: 2, 0x10: 1}
NLATTR, NLATTR_NEST = 0xFFFFF00C, 0xFFFFF010


def passes(program: Sequence[tuple[int, int, int, int]], packet: bytes) -> bool:
    """Whether the filter passes the datagram. A load behind its end drops it, as in the kernel."""
    a = x = at = 0
    memory = [0] * 16
    while True:
        code, jt, jf, k = program[at]
        at += 1
        kind = code & 0x07
        if kind == 0x00:  # LD
            mode, size = code & 0xE0, WIDTHS[code & 0x18]
            if mode == 0x00:
                a = k
            elif mode == 0x60:
                a = memory[k]
            elif mode == 0x80:
                a = len(packet)
            elif mode == 0x20 and k == NLATTR:
                a = attribute(packet, a, len(packet), x)
            elif mode == 0x20 and k == NLATTR_NEST:
                a = nested(packet, a, x)
            else:
                start = k if mode == 0x20 else x + k
                if start + size > len(packet):
                    return False
                a = int.from_bytes(packet[start : start + size], "big")
        elif kind == 0x01:  # LDX
            x = memory[k] if code & 0xE0 == 0x60 else k
        elif kind == 0x02:  # ST
            memory[k] = a
        elif kind == 0x04:  # ALU
            other = x if code & 0x08 else k
            a = ALU[code & 0xF0](a, other) & 0xFFFFFFFF
        elif kind == 0x05:  # JMP
            other = x if code & 0x08 else k
            if code & 0xF0 == 0x00:
                at += k
            else:
                true = {0x10: a == other, 0x20: a > other, 0x30: a >= other}[code & 0xF0]
                at += jt if true else jf
        elif kind == 0x06:  # RET
            assert k in (0, 0xFFFFFFFF), "anything else cuts the datagram, for other sockets, too"
            return k != 0
        else:  # MISC
            assert code == 0x07
            x = a


def attribute(packet: bytes, start: int, end: int, number: int) -> int:
    """Where the first attribute of this number begins; 0 without one."""
    while end - start >= 4:
        length, kind = struct.unpack_from("=HH", packet, start)
        if not 4 <= length <= end - start:
            return 0
        if kind & 0x3FFF == number:
            return start
        start += length + 3 & ~3
    return 0


def nested(packet: bytes, start: int, number: int) -> int:
    """The same within the attribute at `start`."""
    if start + 4 > len(packet):
        return 0
    length = struct.unpack_from("=H", packet, start)[0]
    if length > len(packet) - start:
        return 0
    return attribute(packet, start + 4, start + length, number)
