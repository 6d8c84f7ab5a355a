"""From batches to jobs: which rules handle which events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from nlbus.listener.debounce import Debounce
from nlbus.listener.dispatch import Job
from nlbus.listener.events import ordering_key
from nlbus.listener.rule import Rule

if TYPE_CHECKING:
    from nlbus.bus.batch import Batch
    from nlbus.bus.stream import Feed


def planned(rules: Sequence[Rule], feed: Feed) -> Iterator[Job]:
    """The jobs of a capture, in order; debounced events come after a quiet period of the capture's clock."""
    debounce = Debounce()
    for batch in feed:
        source, now = feed.source, batch.time_ns / 1e9
        yield from debounce.take(now)
        for job in jobs(
            (rule for rule in rules if source and rule.resolved_source.name == source.name), batch
        ):
            if job.rule.debounce:
                debounce.add(job, now)
            else:
                yield job
    yield from debounce.take()


def jobs(rules: Iterable[Rule], batch: Batch, limit: int | None = None) -> list[Job]:
    """The jobs of a batch for these rules, in the order of events, then of rules. At most `limit`."""
    lost = lost_in(batch)
    found: list[tuple[int, int, Job]] = []
    for number, rule in enumerate(rules):
        rule.lost += lost
        for row, event in rule.events(batch):
            key = (rule.source, ordering_key(rule.resolved_source, event))
            found.append((row, number, Job(rule, event, key)))
    found.sort(key=lambda each: each[:2])
    chosen = [job for _, _, job in found[:limit]]
    for job in chosen:
        job.rule.count("matched")
        if job.rule.lost:
            job.event["nl_lost"], job.rule.lost = job.rule.lost, 0
    return chosen


def lost_in(batch: Batch) -> int:
    """How many events or datagrams a batch reports as lost."""
    return batch.loss.events + batch.loss.datagrams + batch.loss.unbuilt
