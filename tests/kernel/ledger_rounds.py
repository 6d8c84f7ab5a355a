"""Rounds of publishers and subscribers, all of them processes, in one private network namespace.

    python -m tests.kernel.ledger_rounds SEED [ROUNDS [TRANSPORT]]      replays rounds; a line of JSON each

A round's plan follows from its seed alone; the kernel's scheduling does not, so a seed may have to be
replayed more than once. NLBUS_LEDGER_KEEP names a folder where the histories of failed rounds are kept.
Publishers write what they send to memory shared with this process, before and after each call: SIGKILL
cannot take it away.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import pickle
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import nlbus
from nlbus import Batch, Publisher, Subscriber
from nlbus.errors import NlbusError
from tests.kernel.ledger_check import NEVER, Call, Change, Checker, Event, Gap, Heard, Sent, check_publishers

HEADER = np.dtype(
    [("publisher", "<u2"), ("incarnation", "<u2"), ("mask", "<u4"), ("serial", "<u4"), ("seal", "<u4")]
)
CALL = np.dtype(
    [("mask", "<u4"), ("first", "<u4"), ("count", "<u4"), ("per", "<u4"), ("began", "<i8"),
     ("returned", "<i8"), ("wall_began", "<i8"), ("wall_returned", "<i8")]
)  # fmt: skip
STREAM = np.dtype(
    [("mask", "<u4"), ("pad", "<u4"), ("instance", "<u8"), ("events", "<u8"), ("datagrams", "<u8")]
)
CLONE_NEWNET = 0x40000000
CALLS = 8000
STREAMS = 16
SEAL = 0x9E3779B1
PORTIDS = 0x40000000
ROUND_TIMEOUT = 60.0

now = time.monotonic_ns


def enter_private_network() -> None:
    """Whatever this process opens from now on is in a network namespace of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) < 0:
        raise OSError(
            ctypes.get_errno(), "unshare(CLONE_NEWNET): needs CAP_SYS_ADMIN, or run under `unshare -Ur`"
        )


def seal(serial: Any, mask: Any) -> Any:
    return (serial * SEAL ^ mask) & 0xFFFFFFFF


# Plans


@dataclass
class PublisherPlan:
    number: int
    seed: int
    masks: list[int]
    linger: float
    datagram_bytes: int
    seconds: float
    delay: float
    pace: float  # mean pause between calls
    many: int  # most events in a call
    lives: int  # killed so often, less one


@dataclass
class SubscriberPlan:
    number: int
    seed: int
    groups: list[int]
    buffer_events: int | None
    delay: float
    seconds: float  # until it goes; 0: the end
    pause: float  # at most, after a receive
    churn: float  # seconds from one change of membership to the next, on average; 0: none
    threaded: bool  # another thread changes it


@dataclass
class Plan:
    seed: int
    universe: list[int]
    publishers: list[PublisherPlan]
    subscribers: list[SubscriberPlan]
    kills: list[tuple[float, int]] = field(default_factory=list)


def plan(seed: int) -> Plan:
    rng = random.Random(seed)
    universe = rng.sample(range(1, 33), rng.choice([1, 2, 3, 4, 6, 8, 16, 32]))
    seconds = rng.uniform(0.2, 0.5)
    merciful = rng.random() < 0.35  # nobody is killed, so that all copies can be counted

    def some() -> list[int]:
        return rng.sample(universe, rng.randint(1, len(universe)))

    def mask() -> int:
        return sum(1 << (g - 1) for g in some())

    publishers = []
    for number in range(rng.randint(1, 8)):
        publishers.append(
            PublisherPlan(
                number=number,
                seed=rng.getrandbits(32),
                masks=sorted({mask() for _ in range(rng.randint(1, 8))}),
                linger=rng.choice([0.0, 0.0, 0.0, 0.0005, 0.005, 0.05]),
                datagram_bytes=rng.choice([128, 160, 256, 1024, 4096, 16064, 32448, rng.randint(128, 32448)]),
                seconds=seconds * rng.uniform(0.5, 1),
                delay=rng.choice([0, 0, rng.uniform(0, 0.2)]),
                pace=rng.choice([0, 0.0003, 0.001, 0.003]),
                many=rng.choice([1, 8, 64, 512]),
                lives=1 if merciful else rng.choice([1, 2, 3]),
            )
        )
    subscribers = []
    for number in range(rng.randint(1, 16)):
        steady = rng.random() < 0.5
        subscribers.append(
            SubscriberPlan(
                number=number,
                seed=rng.getrandbits(32),
                groups=some(),
                buffer_events=rng.choice([1, 1, 2, 4, 16, 64, 1024, None]),
                delay=0 if steady or rng.random() < 0.5 else rng.uniform(0, 0.3),
                seconds=0 if steady or rng.random() < 0.5 else rng.uniform(0.1, 0.4),
                pause=rng.choice([0, 0, 0.0005, 0.005, 0.03]),
                churn=0 if steady else rng.choice([0.0002, 0.002, 0.02, 0.1]),
                threaded=rng.random() < 0.3,
            )
        )
    kills = [
        (rng.uniform(0.02, seconds), publisher.number)
        for publisher in publishers
        for _ in range(publisher.lives - 1)
    ]
    return Plan(seed, universe, publishers, subscribers, sorted(kills))


# Publishers


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
            self.calls[i] = (*part, now(), 0, time.time_ns(), 0)
        self.header[0] = at + len(parts)
        return where

    def end(self, where: slice) -> None:
        self.calls["wall_returned"][where] = time.time_ns()
        self.calls["returned"][where] = now()

    def note_streams(self, stats: dict[str, Any]) -> None:
        for i, row in enumerate(stats["streams"]):
            self.streams[i] = (row["groups"], 0, row["instance"], row["events"], row["datagrams"])

    def streams_of(self, plan: PublisherPlan, incarnation: int) -> list[Sent]:
        """The truth, once the publisher is gone."""
        found: dict[int, Sent] = {}
        flushes: list[tuple[int, int]] = []
        closed = bool(self.header[1])
        for mask, first, count, per, began, returned, *wall in self.calls[: int(self.header[0])].tolist():
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
            stream.calls.append(Call(first, count, began, done, sent, per, (wall[0], wall[1] or NEVER)))
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
    """Under the portid of the one before, as soon as the kernel has it back."""

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
            # Alone in its datagram, unless others may join it there.
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


# Subscribers


class Listening:
    """One subscriber at work: it notes all that it receives."""

    def __init__(self, plan: SubscriberPlan, universe: list[int], over: Callable[[], bool]) -> None:
        self.plan = plan
        self.universe = universe
        self.over = over
        self.rng = random.Random(plan.seed)
        self.batches = 0
        self.events: list[Event] = []
        self.gaps: list[Gap] = []
        self.changes: list[Change] = []
        self.failure = ""

    def run(self) -> Heard:
        plan = self.plan
        time.sleep(plan.delay)
        began = now()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            self.sub = Subscriber(
                "bus", groups=tuple(plan.groups), buffer_events=plan.buffer_events, on_loss="ignore"
            )
        opened = (began, now())
        until = time.monotonic() + (plan.seconds or ROUND_TIMEOUT)
        self.leaving = False
        other = None
        if plan.churn and plan.threaded:
            other = threading.Thread(target=self.change_on, args=(random.Random(plan.seed + 1),))
            other.start()
        next_change = time.monotonic() + self.rng.expovariate(1 / plan.churn) if plan.churn else NEVER
        while not self.over() and time.monotonic() < until:
            self.take(self.sub.recv(timeout=self.rng.choice([0, 0.001, 0.01])))
            if plan.pause and self.rng.random() < 0.5:
                time.sleep(self.rng.uniform(0, plan.pause))
            if other is None and time.monotonic() > next_change:
                self.change(self.rng)
                next_change = time.monotonic() + self.rng.expovariate(1 / plan.churn)
        self.leaving = True
        if other is not None:
            while other.is_alive():
                self.take(self.sub.recv(timeout=0.001))
            other.join()
        if self.failure:
            raise RuntimeError(self.failure)
        ended = now()
        while self.take(self.sub.recv(timeout=0)) or self.sub.stats()["buffer_used"]:
            pass
        self.take(self.sub.recv(timeout=0))
        stats = self.sub.stats()
        self.sub.close()
        return Heard(
            f"subscriber {plan.number}", opened, mask_of(plan.groups), ended, now(), self.changes,
            self.events, self.gaps, stats, early=not plan.delay and not plan.seconds,
        )  # fmt: skip

    def take(self, batch: Batch) -> bool:
        self.batches += 1
        events = batch.events
        at = 0
        for row in batch._table.tolist():
            offset, _, offsets_at, _, _, _, instance, _, count, size, _, mask, portid, *_ = row
            if offsets_at < 0:
                heads = np.ndarray(count, HEADER, batch.data, offset, (size,))
            else:
                starts = np.ndarray(count, "<u4", batch.data, offsets_at).astype(np.intp) + offset
                heads = batch.data[starts[:, None] + np.arange(16)].reshape(-1).view(HEADER)
            assert (heads["mask"] == mask).all(), "an event in the stream of other groups"
            assert (heads["seal"] == seal(heads["serial"].astype(np.uint64), mask)).all(), "damaged payload"
            rows = events[at : at + count]
            at += count
            assert (rows["groups"] == mask).all()
            assert (rows["portid"] == portid).all()
            columns = (heads.tolist(), rows["seq"].tolist(), rows["time_ns"].tolist())
            for (number, life, of, serial, _), seq, when in zip(*columns, strict=True):
                self.events.append(Event(self.batches, instance, portid, number, life, of, serial, seq, when))
        assert at == len(batch)
        if at:
            i = self.rng.randrange(at)
            event = self.events[i - at]
            payload = batch.payload(i)
            assert payload[16:] == bytes([event.serial & 0xFF]) * (len(payload) - 16), "damaged payload"
            assert np.frombuffer(payload, HEADER, 1)["serial"][0] == event.serial, "another event's payload"
        for row in batch.loss.rows.tolist():
            cause, instance, count, exact, earliest, latest = row
            assert cause == "gap"
            assert exact
            self.gaps.append(Gap(self.batches, instance, count, earliest, latest))
        return bool(at or batch.loss)

    def change(self, rng: random.Random) -> None:
        """Join or leave some groups, often one right after the other."""
        for _ in range(rng.choice([1, 1, 2, 3])):
            groups = rng.sample(self.universe, rng.randint(1, min(4, len(self.universe))))
            before = mask_of(self.sub.groups)
            joined = rng.random() < 0.5
            began = now()
            if joined:
                self.sub.join(groups)
            else:
                self.sub.leave(groups)
            ended = now()
            moved = mask_of(groups) & ~before if joined else mask_of(groups) & before
            if moved:
                self.changes.append(Change(began, ended, joined, moved))

    def change_on(self, rng: random.Random) -> None:
        try:
            while not self.leaving and len(self.changes) < 300:
                time.sleep(rng.expovariate(1 / self.plan.churn))
                self.change(rng)
        except BaseException:
            self.failure = traceback.format_exc()


def mask_of(groups: Any) -> int:
    return sum(1 << (g - 1) for g in set(groups))


# Rounds


def spawn(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


class Round:
    """One round, from fork to verdict."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.plan = plan(seed)
        self.folder = folder
        self.board = mmap.mmap(-1, 4096)  # byte 0: it is over; from 16: subscribers that are open
        self.children: dict[int, Any] = {}
        self.logs: list[tuple[PublisherPlan, int, Log]] = []

    def run(self) -> dict[str, Any]:
        try:
            self.play()
        finally:
            for pid in self.children:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        return self.judge()

    def subscriber(self, plan: SubscriberPlan) -> None:
        heard = Listening(plan, self.plan.universe, lambda: self.board[0] == 1)
        if not plan.delay:
            original = heard.take

            def ready(batch: Batch) -> bool:
                self.board[16 + plan.number] = 1
                return original(batch)

            heard.take = ready  # type: ignore[method-assign]
        found = heard.run()
        (self.folder / f"{self.plan.seed}-{plan.number}").write_bytes(pickle.dumps(found))

    def publisher(self, plan: PublisherPlan, incarnation: int) -> None:
        log = Log()
        self.logs.append((plan, incarnation, log))
        self.children[spawn(lambda: publish(plan, incarnation, log))] = plan

    def play(self) -> None:
        deadline = time.monotonic() + ROUND_TIMEOUT
        for plan in self.plan.subscribers:
            self.children[spawn(lambda plan=plan: self.subscriber(plan))] = plan  # type: ignore[misc]
        ready = [16 + plan.number for plan in self.plan.subscribers if not plan.delay]
        while not all(self.board[i] for i in ready):
            self.expect(time.monotonic() < deadline, "subscribers do not open")
            self.reap()
            time.sleep(0.001)
        for publisher in self.plan.publishers:
            self.publisher(publisher, 0)
        began = time.monotonic()
        kills = list(self.plan.kills)
        while any(isinstance(plan, PublisherPlan) for plan in self.children.values()):
            if kills and time.monotonic() >= began + kills[0][0]:
                self.kill(self.plan.publishers[kills.pop(0)[1]])
            self.expect(time.monotonic() < deadline, "publishers do not end")
            self.reap()
            time.sleep(0.001)
        self.board[0] = 1
        while self.children:
            self.expect(time.monotonic() < deadline, "subscribers do not end")
            self.reap()
            time.sleep(0.001)

    def expect(self, condition: bool, otherwise: str) -> None:
        if not condition:
            raise TimeoutError(f"{otherwise}: {list(self.children.values())}")

    def kill(self, plan: PublisherPlan) -> None:
        for pid, child in list(self.children.items()):
            if child is plan:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                del self.children[pid]
                self.publisher(plan, 1 + max(i for other, i, _ in self.logs if other is plan))

    def reap(self) -> None:
        for pid, child in list(self.children.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del self.children[pid]
                self.expect(status == 0, f"{type(child).__name__} {child.number} failed, {status}")

    def judge(self) -> dict[str, Any]:
        sent: list[Sent] = []
        told: dict[tuple[int, int], dict[str, Any]] = {}
        for plan, incarnation, log in self.logs:
            sent += log.streams_of(plan, incarnation)
            stats = log.stats()
            if stats is not None:
                told[plan.number, incarnation] = stats
        violations = check_publishers(sent, told)
        totals = {
            "sent": sum(stream.events for stream in sent),
            "delivered": 0,
            "lost": 0,
            "dropped": 0,
            "open": 0,
        }
        required = counted = 0
        everyone = []
        for listener in self.plan.subscribers:
            heard: Heard = pickle.loads((self.folder / f"{self.plan.seed}-{listener.number}").read_bytes())
            everyone.append(heard)
            checker = Checker(sent, heard)
            violations += checker.check()
            required += checker.required
            counted += checker.counted
            for name in ("delivered", "lost", "dropped", "open"):
                totals[name] += heard.stats[name]
        if violations and "NLBUS_LEDGER_KEEP" in os.environ:
            path = Path(os.environ["NLBUS_LEDGER_KEEP"]) / f"{self.plan.seed}.pickle"
            path.write_bytes(pickle.dumps((sent, everyone)))
        return {
            "seed": self.plan.seed, "publishers": len(self.plan.publishers), "incarnations": len(self.logs),
            "subscribers": len(self.plan.subscribers), **totals, "required": required, "counted": counted,
            "violations": violations,
        }  # fmt: skip


def main(seed: int, rounds: int, transport: str) -> int:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    for made in (Publisher, Subscriber):
        made.__init__.__kwdefaults__["transport"] = transport
    enter_private_network()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="nlbus-ledger-") as folder:
        for one in range(seed, seed + rounds):
            began = time.monotonic()
            try:
                result = Round(one, Path(folder)).run()
            except Exception:
                result = {"seed": one, "violations": [traceback.format_exc()]}
            result["seconds"] = round(time.monotonic() - began, 2)
            bad += bool(result["violations"])
            print(json.dumps(result), flush=True)
            for path in Path(folder).iterdir():
                path.unlink()
    return 1 if bad else 0


if __name__ == "__main__":
    seed, rounds, transport, *_ = [*sys.argv[1:], *("1", "auto")[max(len(sys.argv) - 2, 0) :]]
    sys.exit(main(int(seed), int(rounds), transport))
