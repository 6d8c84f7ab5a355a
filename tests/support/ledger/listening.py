"""Subscribers of the ledger's rounds; they record everything that they receive."""

from __future__ import annotations

import random
import threading
import time
import traceback
import warnings
from collections.abc import Callable

import numpy as np

from nlbus import Batch, Subscriber
from tests.support.ledger.plans import HEADER, ROUND_TIMEOUT, SubscriberPlan, mask_of, seal
from tests.support.ledger.truth import NEVER, Change, Event, Gap, Heard


class Listening:
    """One running subscriber; it records everything that it receives."""

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
        began = time.monotonic_ns()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            self.sub = Subscriber(
                "bus", groups=tuple(plan.groups), buffer_events=plan.buffer_events, on_loss="ignore"
            )
        opened = (began, time.monotonic_ns())
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
        ended = time.monotonic_ns()
        while self.take(self.sub.recv(timeout=0)) or self.sub.stats()["buffer_used"]:
            pass
        self.take(self.sub.recv(timeout=0))
        stats = self.sub.stats()
        self.sub.close()
        return Heard(
            f"subscriber {plan.number}", opened, mask_of(plan.groups), ended, time.monotonic_ns(),
            self.changes, self.events, self.gaps, stats, early=not plan.delay and not plan.seconds,
        )  # fmt: skip

    def take(self, batch: Batch) -> bool:
        self.batches += 1
        events = batch.events
        at = 0
        for row in batch.index.tolist():
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
        """Join or leave some groups, often in quick succession."""
        for _ in range(rng.choice([1, 1, 2, 3])):
            groups = rng.sample(self.universe, rng.randint(1, min(4, len(self.universe))))
            before = mask_of(self.sub.groups)
            joined = rng.random() < 0.5
            began = time.monotonic_ns()
            if joined:
                self.sub.join(groups)
            else:
                self.sub.leave(groups)
            ended = time.monotonic_ns()
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
