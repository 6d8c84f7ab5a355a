"""What shall happen to packets: the words for it, and the arguments of Subscriber.verdict as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nlbus.errors import SchemaError

if TYPE_CHECKING:
    from nlbus._typing import Array

U32 = (1 << 32) - 1
LONGEST = 0xFFFF - 4 - 40  # bytes of a payload: an attribute holds no more


class Verdict(IntEnum):
    """What may happen to a packet: NF_* of the kernel."""

    DROP = 0
    ACCEPT = 1
    REPEAT = 4  # pass the hook again, from its first rule on: mark the packet, or it comes back for ever
    STOP = 5  # accept, and skip the rest of the hook

    @staticmethod
    def queue(number: int, bypass: bool = False) -> int:
        """Hand a packet over to another queue; bypass: accept it if nobody listens there."""
        if not 0 <= number <= 0xFFFF:
            raise SchemaError(f"queue {number}: from 0 to 65535")
        return number << 16 | bypass << 15 | 3


KNOWN = np.array([0, 1, 3, 4, 5], np.uint32)


class Decision(NamedTuple):
    """What shall happen to packets, in arrays side by side; new payloads by position."""

    ids: Array
    codes: Array
    marks: Array | None
    payloads: Mapping[int, bytes]

    def only(self, which: Array) -> Decision:
        """The decision on these of the packets."""
        places = {old: new for new, old in enumerate(which.tolist())} if self.payloads else {}
        payloads = {places[at]: payload for at, payload in self.payloads.items() if at in places}
        marks = None if self.marks is None else self.marks[which]
        return Decision(self.ids[which], self.codes[which], marks, payloads)


def codes_of(accept: Any, verdicts: Any, count: int) -> Array:
    """The verdicts on so many rows. SchemaError."""
    if (accept is None) == (verdicts is None):
        raise SchemaError("verdict: pass accept= (True, False or a mask) or verdicts= (of nlbus.Verdict)")
    if accept is not None:
        mask = np.asarray(accept)
        if mask.dtype != np.bool_ or mask.shape not in ((), (count,)):
            raise SchemaError(f"accept= is {_form(mask)}: True, False, or a bool for each of {count} rows")
        return np.full(count, mask, np.uint32) if mask.shape == () else mask.astype(np.uint32)
    codes = numbers_of(verdicts, count, "verdicts")
    wrong = codes[~np.isin(codes & 0xFF, KNOWN)]
    if len(wrong):
        raise SchemaError(f"verdicts= has a {wrong[0]}: pass those of nlbus.Verdict")
    return codes


def numbers_of(values: Any, count: int, what: str) -> Array:
    """A number of 32 bits for each row, from one for all or from an array. SchemaError."""
    found = np.asarray(values)
    if found.dtype.kind not in "ui" or found.shape not in ((), (count,)):
        raise SchemaError(f"{what}= is {_form(found)}: an integer, or one for each of the {count} rows")
    if found.size and (found.min() < 0 or found.max() > U32):
        raise SchemaError(f"{what}= has a number that is negative or has more than 32 bits")
    return np.full(count, found, np.uint32) if found.shape == () else found.astype(np.uint32)


def payloads_of(payload: Mapping[int, bytes], count: int) -> dict[int, bytes]:
    """New payloads by row. SchemaError."""
    found = {}
    for row, data in payload.items():
        if not isinstance(row, int | np.integer) or not 0 <= row < count:
            raise SchemaError(f"payload= has row {row!r}: there are {count} rows")
        found[int(row)] = bytes(memoryview(data))
        if not 0 < len(data) <= LONGEST:
            raise SchemaError(f"payload= has {len(data)} bytes for row {row}: 1 to {LONGEST}")
    return found


def _form(array: Array) -> str:
    return f"of type {array.dtype} and shape {array.shape}"
