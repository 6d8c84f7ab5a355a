"""From batches to jobs: which rules handle which events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING

from nlbus.listener.debounce import Debounce
from nlbus.listener.dispatch import Job
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
            (rule for rule in rules if source and rule.resolved_source.name == source.name),
            batch,
            keyed=False,
        ):
            if job.rule.debounce:
                debounce.add(job, now)
            else:
                yield job
    yield from debounce.take()


def jobs(rules: Iterable[Rule], batch: Batch, limit: int | None = None, *, keyed: bool = True) -> list[Job]:
    """The jobs of a batch for these rules, in the order of events, then of rules. At most `limit`.

    keyed: they know which of them must not overtake each other.
    """
    lost = lost_in(batch)
    rules = list(rules)
    each = []
    for rule in rules:
        rule.lost += lost
        name, key_of = rule.source, rule.key_of
        if keyed or rule.debounce:
            found = [(row, Job(rule, event, (name, key_of(event)))) for row, event in rule.events(batch)]
        else:
            found = [(row, Job(rule, event, None)) for row, event in rule.events(batch)]
        each.append(found)
    found = each[0] if len(each) == 1 else sorted(chain.from_iterable(each), key=itemgetter(0))
    chosen = [job for _, job in found[:limit]]
    for rule, matched in Counter([job.rule for job in chosen]).items():
        rule.count("matched", matched)
    if any(rule.lost for rule in rules):
        for job in chosen:
            if job.rule.lost:
                job.event["nl_lost"], job.rule.lost = job.rule.lost, 0
    return chosen


def lost_in(batch: Batch) -> int:
    """How many events or datagrams a batch reports as lost."""
    return batch.loss.events + batch.loss.datagrams + batch.loss.unbuilt
