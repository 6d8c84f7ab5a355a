"""Explores interleavings with a sender built by hand, which can stop between the copies of one datagram.

Sender and subscriber share one thread, so the model knows of each copy whether it was queued, dropped, or
sent to a group that the subscriber did not belong to. From that it computes the expected result without the
ledger: the events to deliver, the events lost, and how many dropped datagrams must be open.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from nlbus import Batch, Subscriber
from tests.support.reference import bus_batch, chain
from tests.support.sockets import Sender, proc_netlink


@dataclass
class Datagram:
    """One datagram of a stream, and the fate of its copies."""

    first_seq: int
    count: int
    data: bytes
    began: int  # the model's clock
    queued: list[int] = field(default_factory=list)  # when
    dropped: int = 0
    missed: int = 0  # copies to groups that the subscriber did not belong to
    period: int = -1  # the stream's membership period in which the first copy was queued

    @property
    def seqs(self) -> range:
        return range(self.first_seq, self.first_seq + self.count)


@dataclass
class Stream:
    """One exact set of groups, of one instance of one publisher."""

    instance: int
    mask: int
    datagrams: list[Datagram] = field(default_factory=list)
    next_seq: int = 0
    left: list[int] = field(default_factory=list)  # groups that still lack the newest datagram

    @property
    def groups(self) -> list[int]:
        return [g for g in range(1, 33) if self.mask >> (g - 1) & 1]


class Model:
    """One subscriber with a tiny buffer, and streams that a test advances copy by copy."""

    def __init__(self, groups: Iterable[int], *, buffer_events: int | None = 1, pad: int = 0) -> None:
        self.clock = 0
        self.instances = 0
        self.pad = pad  # bytes per event, so that fewer datagrams fill the buffer
        self.streams: list[Stream] = []
        self.sender = Sender()
        self.members = set(groups)
        self.sub = Subscriber(
            "bus", groups=tuple(self.members), buffer_events=buffer_events, on_loss="ignore"
        )
        self.periods: dict[int, int] = {}  # stream -> how often it was left
        self.delivered: list[tuple[int, int]] = []
        self.lost: Counter[int] = Counter()
        self.open = 0

    def close(self) -> None:
        self.sub.close()
        self.sender.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def dropped(self) -> int:
        """The kernel's drop counter."""
        return proc_netlink(self.sub).drops

    # -- actions -----------------------------------------------------------------------------

    def stream(self, *groups: int) -> Stream:
        self.instances += 1
        new = Stream(0x1000 + self.instances, sum(1 << (g - 1) for g in set(groups)))
        self.streams.append(new)
        self.periods[new.instance] = 0
        return new

    def begin(self, stream: Stream, *counts: int) -> Datagram:
        """Begin the next datagram: a chain of batches with these event counts; no count is a heartbeat."""
        batches = []
        seq = stream.next_seq
        for kind, count in enumerate(counts or (0,)):
            batches.append(
                bus_batch(
                    bytes(count * (8 + self.pad)), record_size=8 + self.pad, count=count, type=kind,
                    groups=stream.mask, instance=stream.instance, first_seq=seq,
                    dgram_seq=len(stream.datagrams), time_ns=1_000_000 + self.clock, **self.sender.stamp(),
                )
            )  # fmt: skip
            seq += count
        datagram = Datagram(stream.next_seq, seq - stream.next_seq, chain(*batches), self.clock)
        stream.next_seq = seq
        stream.datagrams.append(datagram)
        stream.left = stream.groups
        return datagram

    def step(self, stream: Stream) -> None:
        """Send the next copy of the datagram that was begun."""
        self.clock += 1
        group = stream.left.pop(0)
        datagram = stream.datagrams[-1]
        before = self.dropped
        self.sender.send(datagram.data, group)
        fell = self.dropped - before
        if group not in self.members:
            assert not fell
            datagram.missed += 1
        elif fell:
            datagram.dropped += 1
        else:
            if not datagram.queued:
                datagram.period = self.periods[stream.instance]
            datagram.queued.append(self.clock)

    def send(self, stream: Stream, *counts: int) -> Datagram:
        """Send a whole datagram."""
        datagram = self.begin(stream, *counts)
        while stream.left:
            self.step(stream)
        return datagram

    def join(self, *groups: int) -> None:
        self.clock += 1
        self.sub.join(groups)
        self.members |= set(groups)

    def leave(self, *groups: int) -> None:
        self.clock += 1
        self.sub.leave(groups)
        self.members -= set(groups)
        for stream in self.streams:
            if not self.members & set(stream.groups):
                self.periods[stream.instance] += 1

    def recv(self) -> None:
        """Receive everything queued, and compare the totals."""
        while True:
            batch = self.sub.recv(timeout=0)
            self.take(batch)
            if not len(batch) and not batch.loss:
                break
        self.open = self.sub.stats()["open"]
        self.check()

    def take(self, batch: Batch) -> None:
        for row in batch.index:
            first = int(row["first_seq"])
            self.delivered += [(int(row["instance"]), seq) for seq in range(first, first + int(row["count"]))]
        for row in batch.loss.rows:
            assert row["cause"] == "gap"
            assert row["exact"]
            self.lost[int(row["stream"])] += int(row["count"])

    # -- invariants ------------------------------------------------------------------------

    def check(self) -> None:
        """With the queue empty, deliveries, losses and open must match the copies."""
        assert len(set(self.delivered)) == len(self.delivered), "delivered twice"
        must_be_open = ideal = 0
        for stream in self.streams:
            got = [seq for instance, seq in self.delivered if instance == stream.instance]
            assert got == sorted(got), "out of order"
            assert got == [s for d in stream.datagrams if d.queued for s in d.seqs], "not what was queued"
            lost = 0
            last: Datagram | None = None
            baseline: Datagram | None = None
            unknown: list[Datagram] = []  # since the last known point
            for datagram in stream.datagrams:
                if not datagram.queued:
                    unknown.append(datagram)
                    continue
                if last is not None and last.period == datagram.period:
                    lost += datagram.first_seq - (last.first_seq + last.count)
                else:
                    # Before the baseline: these are never reported.
                    must_be_open += sum(d.dropped for d in unknown)
                    ideal += sum(d.dropped for d in unknown) + datagram.dropped
                    baseline = datagram
                last = datagram
                unknown = []
            assert self.lost[stream.instance] == lost, "the loss rows disagree with the drops"
            must_be_open += sum(d.dropped for d in unknown)
            ideal += sum(d.dropped for d in unknown)
            if last is not None and last is not baseline:
                ideal += last.dropped  # until the next one reports it
        assert self.open >= must_be_open, f"{must_be_open} dropped datagrams unaccounted, {self.open} open"
        self.must_be_open, self.most_open = must_be_open, ideal
        stats = self.sub.stats()
        assert stats["dropped"] == self.dropped
        assert stats["malformed"] == stats["foreign"] == stats["untrusted"] == stats["truncated"] == 0
        for row in stats["streams"]:
            stream = next(s for s in self.streams if s.instance == row["instance"])
            base = row["next_seq"] - row["delivered"] - row["lost"]
            got = [s for i, s in self.delivered if i == stream.instance and s >= base]
            assert row["delivered"] == len(got), "stats count other events than were delivered"
            assert row["groups"] & sum(1 << (g - 1) for g in self.members), "a stream that we left is listed"


def explore(seed: int, *, churn: bool = True, steps: int = 120) -> tuple[Model, str]:
    """A random history. Returns the closed model and the history; an AssertionError contains both."""
    rng = random.Random(seed)
    universe = rng.sample(range(1, 33), rng.randint(1, 4))
    story: list[str] = []

    def some(least: int = 1) -> list[int]:
        return rng.sample(universe, rng.randint(least, len(universe)))

    model = Model(some(), buffer_events=rng.choice([1, 2, 4, 16]), pad=rng.choice([0, 0, 240, 1000]))
    story.append(f"members {sorted(model.members)}")
    try:
        alive = [model.stream(*some()) for _ in range(rng.randint(1, 4))]
        for _ in range(steps):
            stream = rng.choice(alive)
            act = rng.random()
            if act < 0.70:
                if not stream.left:
                    chains = rng.choice([1, 1, 1, 2, 3])
                    counts = [rng.randint(1, 4) for _ in range(chains)] if rng.random() < 0.9 else []
                    model.begin(stream, *counts)
                for _ in range(rng.choice([1, 1, len(stream.left)])):
                    story.append(f"{stream.instance:x}#{len(stream.datagrams) - 1} to {stream.left[0]}")
                    model.step(stream)
                    story[-1] += f" ({stream.datagrams[-1].dropped} dropped)"
            elif act < 0.85:
                story.append("recv")
                model.recv()
            elif act < 0.88:
                # The copies of its datagram that it had not sent are never sent.
                alive.remove(stream)
                alive.append(model.stream(*stream.groups))
                story.append(f"{stream.instance:x} is killed, {alive[-1].instance:x} takes its place")
            elif churn and act < 0.94:
                new = some()
                story.append(f"join {new}")
                model.join(*new)
            elif churn:
                old = some()
                story.append(f"leave {old}")
                model.leave(*old)
        story.append("recv")
        model.recv()
        if not churn:
            note = f"{model.open} open, of {model.must_be_open} to {model.most_open}"
            assert model.open <= model.most_open, note
    except AssertionError as error:
        raise AssertionError(f"{error}\nseed {seed}: " + "; ".join(story)) from error
    finally:
        model.close()
    return model, "; ".join(story)
