"""Debouncing: the last event of each key, after a quiet period."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator

from nlbus.listener.dispatch import Job
from nlbus.listener.rule import Rule

LONGEST = 10  # times the debounce: the longest that an event is held


class Debounce:
    """Holds the last job of each rule and key. Times are seconds of the caller's clock."""

    def __init__(self) -> None:
        self._held: dict[tuple[Rule, Hashable], tuple[float, float, Job]] = {}  # due, held since, job

    def __len__(self) -> int:
        return len(self._held)

    def add(self, job: Job, now: float) -> None:
        """Hold a job in place of an earlier one. Its event gets the count and losses of both."""
        place = (job.rule, job.key)
        since, event = now, job.event
        if place in self._held:
            _, since, earlier = self._held.pop(place)
            event = event | {"nl_count": earlier.event["nl_count"] + 1}
            if lost := earlier.event.get("nl_lost", 0) + event.get("nl_lost", 0):
                event["nl_lost"] = lost
            job.rule.count("merged")
        else:
            event = event | {"nl_count": 1}
        wait = job.rule.debounce
        due = min(now + wait, since + LONGEST * wait)
        self._held[place] = due, since, job._replace(event=event)

    def due(self) -> float:
        """When the next job is due; infinity if none is held."""
        return min((due for due, _, _ in self._held.values()), default=math.inf)

    def take(self, now: float = math.inf) -> Iterator[Job]:
        """Release the jobs that are due by `now`, in that order; without a time, all."""
        ready = [(due, place) for place, (due, _, _) in self._held.items() if due <= now]
        for _, place in sorted(ready, key=lambda each: each[0]):
            yield self._held.pop(place)[2]

    def forget(self) -> int:
        """Drop all jobs; return how many."""
        count = len(self._held)
        self._held.clear()
        return count
