"""Publishers of the ledger's rounds; they log what they send to memory that survives SIGKILL."""

from __future__ import annotations

import errno
import mmap
import random
import time
from typing import Any

import numpy as np

import nlbus
from nlbus import Publisher
from nlbus.errors import NlbusError
from tests.support.ledger.plans import HEADER, PublisherPlan, seal
from tests.support.ledger.truth import NEVER, Call, Sent

CALL = np.dtype(
    [("mask", "<u4"), ("first", "<u4"), ("count", "<u4"), ("per", "<u4"), ("began", "<i8"),
     ("returned", "<i8"), ("wall_began", "<i8"), ("wall_returned", "<i8"), ("coarse", "<i8")]
)  # fmt: skip
STREAM = np.dtype(
    [("mask", "<u4"), ("pad", "<u4"), ("instance", "<u8"), ("events", "<u8"), ("datagrams", "<u8")]
)
CLOCK_MONOTONIC_COARSE = 6
CALLS = 8000
STREAMS = 16
PORTIDS = 0x40000000


class Log:
    """What one incarnation of a publisher sent, in shared memory."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 16 + CALLS * CALL.itemsize + STREAMS * STREAM.itemsize)
        self.header = np.frombuffer(self.memory, "<u8", 2)  # calls, closed
        self.calls = np.frombuffer(self.memory, CALL, CALLS, 16)
        self.streams = np.frombuffer(self.memory, STREAM, STREAMS, 16 + CALLS * CALL.itemsize)

    @property
    def room(self) -> bool:
        return int(self.header[0]) < CALLS - 2 * STREAMS

    def begin(self, parts: list[tuple[int, int, int, int]]) -> slice:
        """Note (mask, first, count, per) before they are published."""
        at = int(self.header[0])
        where = slice(at, at + len(parts))
        for i, part in enumerate(parts, at):
            coarse = time.clock_gettime_ns(CLOCK_MONOTONIC_COARSE)
            self.calls[i] = (*part, time.monotonic_ns(), 0, time.time_ns(), 0, coarse)
        self.header[0] = at + len(parts)
        return where

    def end(self, where: slice) -> None:
        self.calls["wall_returned"][where] = time.time_ns()
        self.calls["returned"][where] = time.monotonic_ns()

    def note_streams(self, stats: dict[str, Any]) -> None:
        for i, row in enumerate(stats["streams"]):
            self.streams[i] = (row["groups"], 0, row["instance"], row["events"], row["datagrams"])

    def streams_of(self, plan: PublisherPlan, incarnation: int) -> list[Sent]:
        """The truth, after the publisher is gone."""
        found: dict[int, Sent] = {}
        flushes: list[tuple[int, int]] = []
        closed = bool(self.header[1])
        for mask, first, count, per, began, returned, *wall, coarse in self.calls[
            : int(self.header[0])
        ].tolist():
            if not mask:
                if returned:
                    flushes.append((began, returned))
                continue
            stream = found.setdefault(
                mask,
                Sent(
                    plan.number, incarnation, mask, [], PORTIDS + plan.number, closed, lingers=plan.linger > 0
                ),
            )
            done = returned or NEVER
            sent = done if not plan.linger else NEVER
            stream.calls.append(
                Call(first, count, began, done, sent, per, (wall[0], wall[1] or NEVER), coarse)
            )
        if plan.linger:
            for stream in found.values():
                for call in stream.calls:
                    call.sent = next((end for begin, end in flushes if begin >= call.returned), NEVER)
        for mask, _, instance, _, datagrams in self.streams.tolist():
            if mask and mask in found:
                found[mask].instance = instance
                found[mask].datagrams = datagrams if closed else None
        return list(found.values())

    def stats(self) -> dict[str, Any] | None:
        if not self.header[1]:
            return None
        rows = [{"groups": mask, "events": events} for mask, _, _, events, _ in self.streams.tolist() if mask]
        return {"streams": rows, "failed": 0, "evicted": 0}


def open_publisher(plan: PublisherPlan) -> Publisher:
    """Reuse the previous incarnation's portid as soon as the kernel frees it."""

    class Pinned(Publisher):
        _portid = PORTIDS + plan.number

    deadline = time.monotonic() + 5
    while True:
        try:
            return Pinned(plan.linger, datagram_bytes=plan.datagram_bytes)
        except NlbusError as error:
            if getattr(error, "errno", 0) != errno.EADDRINUSE or time.monotonic() > deadline:
                raise


def publish(plan: PublisherPlan, incarnation: int, log: Log) -> None:
    rng = random.Random(plan.seed + incarnation)
    limit = plan.datagram_bytes - 96
    largest = limit - 16
    serials = dict.fromkeys(plan.masks, 0)
    known: set[int] = set()
    time.sleep(plan.delay)
    pub = open_publisher(plan)
    until = time.monotonic() + plan.seconds

    def events(size: int, masks: np.ndarray) -> np.ndarray:
        records = np.zeros((len(masks), size), np.uint8)
        rows = np.ndarray(len(masks), HEADER, records, strides=(size,))
        rows["publisher"] = plan.number
        rows["incarnation"] = incarnation
        rows["mask"] = masks
        for mask in set(masks.tolist()):
            mine = masks == mask
            rows["serial"][mine] = np.arange(serials[mask], serials[mask] + mine.sum())
        rows["seal"] = seal(rows["serial"].astype(np.uint64), masks)
        records[:, 16:] = (rows["serial"] & 0xFF)[:, None]
        return records

    while time.monotonic() < until and log.room:
        act = rng.random()
        size = min(largest, rng.choice([16, 16, 24, 64, rng.randint(16, 200)]))
        kind = rng.choice([1, 1, 1, 2, 3])
        mask = rng.choice(plan.masks)
        if act < 0.05 and plan.linger:
            where = log.begin([(0, 0, 0, 0)])
            pub.flush()
            log.end(where)
        elif act < 0.45:
            record = events(size, np.array([mask], np.uint32))
            # Alone in its datagram, unless other events may join it there.
            where = log.begin([(mask, serials[mask], 1, limit // size if plan.linger else 1)])
            pub.publish(record.tobytes(), groups=nlbus.Groups.from_mask(mask), type=kind)
            log.end(where)
            serials[mask] += 1
        elif act < 0.75:
            count = rng.randint(1, plan.many)
            records = events(size, np.full(count, mask, np.uint32))
            where = log.begin([(mask, serials[mask], count, limit // size)])
            pub.publish_many(records, groups=nlbus.Groups.from_mask(mask), type=kind)
            log.end(where)
            serials[mask] += count
        elif act < 0.99:
            chosen = np.array(rng.choices(plan.masks, k=rng.randint(1, plan.many)), np.uint32)
            records = events(size, chosen)
            parts = [
                (m, serials[m], int((chosen == m).sum()), limit // size) for m in sorted(set(chosen.tolist()))
            ]
            where = log.begin(parts)
            pub.publish_many(records, masks=chosen, type=kind)
            log.end(where)
            for part in parts:
                serials[part[0]] += part[2]
        else:
            time.sleep(0.13)  # long enough for a heartbeat
        if len(known) < len(plan.masks):
            seen = {mask for mask, serial in serials.items() if serial}
            if seen != known:
                known = seen
                log.note_streams(pub.stats())
        if plan.pace and rng.random() < 0.5:
            time.sleep(rng.expovariate(1 / plan.pace))
    where = log.begin([(0, 0, 0, 0)])
    pub.close()
    log.end(where)
    stats = pub.stats()
    assert not stats["failed"]
    assert not stats["evicted"]
    log.note_streams(stats)
    log.header[1] = 1
