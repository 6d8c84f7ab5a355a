"""The packets of a queue that wait, and the fewest requests that carry out a decision on some of them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from nlbus._core.columns.waiting import requests
from nlbus.bus.verdicts.decision import U32, Decision, Verdict
from nlbus.kernel.requests import attribute

if TYPE_CHECKING:
    from nlbus._typing import Array
    from nlbus.sources.source import Answers

DATAGRAM = 32 << 10  # bytes of requests in one send
AHEAD = 1 << 30  # no queue holds as many packets: an id so far ahead stands for all that wait
NOTHING: Array = np.empty(0, np.int64)


class Queue:
    """The packets of one queue that were received and wait, by id; ids are continued beyond 32 bits.

    The kernel numbers the packets of a queue from 1 as it sends them.
    """

    def __init__(self, number: int, answers: Answers) -> None:
        self.number = number
        self.last = 0
        self.waiting = NOTHING
        self._answers = answers

    def add(self, ids: Array) -> None:
        """Packets were received. Those that were received before are ignored."""
        ahead = (ids.astype(np.int64) - (self.last & U32)) & U32
        fresh = self.last + ahead[(ahead > 0) & (ahead <= U32 >> 1)]
        if len(fresh):
            self.waiting = np.concatenate([self.waiting, fresh]) if len(self.waiting) else fresh
            self.last = int(fresh[-1])

    def places(self, ids: Array) -> Array:
        """Where these ids stand among those that wait; -1: nowhere."""
        full = self.last - (((self.last & U32) - ids.astype(np.int64)) & U32)
        if len(full) == len(self.waiting) and np.array_equal(full, self.waiting):
            return np.arange(len(full))
        places = np.searchsorted(self.waiting, full)
        found = places < len(self.waiting)
        found[found] = self.waiting[places[found]] == full[found]
        return np.where(found, places, -1)

    def decided(self, places: Array) -> None:
        """The packets at these places do not wait any more."""
        if len(places) == len(self.waiting):
            self.waiting = NOTHING
            return
        left = np.ones(len(self.waiting), bool)
        left[places] = False
        self.waiting = self.waiting[left]

    def requests(self, places: Array, decision: Decision) -> tuple[list[bytes], int]:
        """Datagrams of requests that carry out a decision on the packets at these places, which ascend, in
        this order; and how many requests there are.

        A request about all packets up to an id means also those that nobody has decided on. So it goes only
        as far as every waiting packet is decided on; what an earlier request was about waits no more.
        """
        differs = places != np.arange(len(places))
        together = int(differs.argmax()) if differs.any() else len(places)
        ids, codes, marks, payloads = decision
        keys = codes.astype(np.int64) if marks is None else codes.astype(np.int64) << 32 | marks
        for place in payloads:
            keys[place] = -1 - place
        head = keys[:together]
        runs = np.flatnonzero(np.append(head[1:] != head[:-1], together > 0))
        at = np.concatenate([runs, np.arange(together, len(places))])
        kinds = np.full(len(at), self._answers.one, np.uint16)
        kinds[: len(runs)] = self._answers.many
        if payloads:
            return self._with_payloads(at, kinds, decision), len(at)
        made = self._build(kinds, codes[at], ids[at], None if marks is None else marks[at])
        step = len(made) // len(at) * (DATAGRAM // 40)
        return [bytes(made[begin : begin + step]) for begin in range(0, len(made), step)], len(at)

    def accept_all(self) -> bytes:
        """The request that accepts all packets that wait, received or not."""
        number = np.array([self.last + AHEAD & U32], np.uint32)
        kinds = np.array([self._answers.many], np.uint16)
        return bytes(self._build(kinds, np.array([Verdict.ACCEPT], np.uint32), number, None))

    def _build(self, kinds: Array, codes: Array, ids: Array, marks: Array | None) -> bytearray:
        ids = np.ascontiguousarray(ids, np.uint32)
        return requests(kinds, self.number, codes, ids, marks, self._answers.header, self._answers.mark)

    def _with_payloads(self, at: Array, kinds: Array, decision: Decision) -> list[bytes]:
        """The same where some packets are changed: a request about one, with its new bytes."""
        made = [bytearray()]
        for i, place in enumerate(at.tolist()):
            here = slice(place, place + 1)
            data = decision.payloads.get(place)
            kind = kinds[i : i + 1] if data is None else np.array([self._answers.one], np.uint16)
            marks = None if decision.marks is None else decision.marks[here]
            one = self._build(kind, decision.codes[here], decision.ids[here], marks)
            if data is not None:
                one += attribute(self._answers.payload, data)
                one[:4] = struct.pack("=I", len(one))
            if len(made[-1]) + len(one) > DATAGRAM:
                made.append(bytearray())
            made[-1] += one
        return [bytes(each) for each in made if each]
