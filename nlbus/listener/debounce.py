"""Of events that come thick and fast, the last one, once it is quiet."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator

from nlbus.listener.dispatch import Job
from nlbus.listener.rule import Rule

LONGEST = 10  # times the debounce: then it is told, quiet or not


class Debounce:
    """Holds the last job of each rule and key. Times are seconds, of whatever clock the caller has."""

    def __init__(self) -> None:
        self._held: dict[tuple[Rule, Hashable], tuple[float, float, Job]] = {}  # when due, since when, what

    def __len__(self) -> int:
        return len(self._held)

    def add(self, job: Job, now: float) -> None:
        """Hold a job in place of an earlier one. Its event tells for how many it stands, and the losses."""
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
        """When the next one is due; infinity if there is none."""
        return min((due for due, _, _ in self._held.values()), default=math.inf)

    def take(self, now: float = math.inf) -> Iterator[Job]:
        """Those that are due, in that order; all, without a time."""
        ripe = [(due, place) for place, (due, _, _) in self._held.items() if due <= now]
        for _, place in sorted(ripe, key=lambda each: each[0]):
            yield self._held.pop(place)[2]

    def forget(self) -> int:
        """Drop all; how many it were."""
        count = len(self._held)
        self._held.clear()
        return count
