"""The truth of a ledger round: what was sent, and what one subscriber received.

Times are CLOCK_MONOTONIC in ns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

NEVER = 1 << 62


@dataclass(eq=False)
class Call:
    """Events `first` up to `first + count` of a stream, passed in one call."""

    first: int
    count: int
    began: int
    returned: int  # NEVER: killed in the call
    sent: int  # by then surely sent; NEVER: perhaps not sent
    per: int  # most events in a datagram
    wall: tuple[int, int] = (0, NEVER)  # CLOCK_REALTIME before and after
    coarse: int | None = None  # CLOCK_MONOTONIC_COARSE before, where it was read


@dataclass
class Sent:
    """One stream: what a publisher's incarnation sent to one exact set of groups."""

    publisher: int
    incarnation: int
    mask: int
    calls: list[Call]
    portid: int = 0
    closed: bool = False  # cleanly
    instance: int | None = None
    datagrams: int | None = None  # final count, if closed
    lingers: bool = False

    @property
    def name(self) -> str:
        return f"publisher {self.publisher}.{self.incarnation}, groups {self.mask:#x}"

    @property
    def events(self) -> int:
        return self.calls[-1].first + self.calls[-1].count if self.calls else 0


@dataclass
class Change:
    began: int
    ended: int
    joined: bool
    groups: int  # mask


@dataclass(slots=True)
class Event:
    """A row of what a subscriber received."""

    batch: int
    instance: int
    portid: int
    publisher: int
    incarnation: int
    mask: int
    serial: int
    seq: int
    time_ns: int = 0


@dataclass
class Gap:
    """A row of batch.loss.rows."""

    batch: int
    instance: int
    count: int
    earliest: int = 0
    latest: int = NEVER


@dataclass
class Heard:
    """What one subscriber received and counted, and its memberships over time."""

    name: str
    opened: tuple[int, int]
    groups: int  # mask, at the start
    until: int  # its queue was emptied after that
    closed: int
    changes: list[Change] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    stats: dict[str, Any] = field(default_factory=dict)
    early: bool = False  # opened before anything was published, closed after everything

    def __post_init__(self) -> None:
        self.changes.sort(key=lambda change: change.began)

    def membership(self) -> Iterator[tuple[int, int, int, int]]:
        """(from, to, surely, possibly): masks, over all of time."""
        cuts: list[tuple[int, int, int]] = []  # when, then surely, then possibly
        sure = possible = 0
        steps = [Change(*self.opened, True, self.groups), *self.changes]
        steps.append(Change(self.until, self.closed, False, 0xFFFFFFFF))
        marks = []
        for step in steps:
            begin, end = (step.began, step.ended)
            if step.joined:
                marks += [(begin, "possible", step.groups, True), (end, "sure", step.groups, True)]
            else:
                marks += [(begin, "sure", step.groups, False), (end, "possible", step.groups, False)]
        for when, which, groups, on in sorted(marks, key=lambda mark: mark[0]):
            if which == "sure":
                sure = sure | groups if on else sure & ~groups
            else:
                possible = possible | groups if on else possible & ~groups
            cuts.append((when, sure, possible))
        at, before = -NEVER, (0, 0)
        for when, sure, possible in cuts:
            yield at, when, *before
            at, before = when, (sure, possible)
        yield at, NEVER, *before
