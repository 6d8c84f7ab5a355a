"""Doubts: which rows are in question, and when to ask the kernel for them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from nlbus.bus.state.scopes import WHOLE, Scope

# A message often comes before the kernel has done all that follows from it. So each doubt is looked at twice:
# soon, so that users hear of it, and again once no further doubts came for a while.
SOON, QUIET, LATEST = 0.02, 0.3, 2.0  # seconds; LATEST: the second look waits no longer for quiet
PAUSE = 4  # times as long as a repair took, until the next one
RETRY, RETRY_MOST = 1.0, 60.0  # seconds after a dump that failed, doubled each time
MOST_SCOPES = 8  # of a table; more are the whole table

Scopes = dict[str, set[Scope]]  # by table


class Look:
    """Doubts that are looked at together, at one time."""

    def __init__(self) -> None:
        self.scopes: Scopes = {}
        self.due: float | None = None  # by the monotonic clock
        self.since = 0.0  # of the first of them

    def add(self, name: str, scopes: Iterable[Scope]) -> None:
        """Add rows of a table."""
        known = self.scopes.setdefault(name, set())
        known.update(scopes)
        if WHOLE in known or len(known) > MOST_SCOPES:
            self.scopes[name] = {WHOLE}

    def take(self) -> Scopes:
        """All of them; none remain."""
        scopes, self.scopes, self.due = self.scopes, {}, None
        return scopes


class Doubts:
    """Doubts wait here until they are dumped. An error loses none, and dumps take a fifth of the time."""

    def __init__(self, audit: float | None) -> None:
        self._first, self._second = Look(), Look()
        self._earliest = 0.0
        self._failures = 0
        self._audit = audit
        self._next_audit = None if audit is None else time.monotonic() + audit

    def add(self, found: Mapping[str, set[Scope]]) -> None:
        """Rows may be others than those we have."""
        found = {name: scopes for name, scopes in found.items() if scopes}
        if not found:
            return
        now = time.monotonic()
        for look in (self._first, self._second):
            look.since = look.since if look.due is not None else now
            for name, scopes in found.items():
                look.add(name, scopes)
        if self._first.due is None:
            self._first.due = max(now + SOON, self._earliest)
        self._second.due = max(min(now + QUIET, self._second.since + LATEST), self._earliest)

    def add_all(self, tables: Iterable[str], *, at_once: bool = False) -> None:
        """Everything is in doubt, and looked at once: as soon as may be, or at once."""
        for name in tables:
            self._first.add(name, [WHOLE])
        now = time.monotonic()
        self._first.due = now if at_once else max(now, self._earliest)

    @property
    def next(self) -> float | None:
        """When something is due, by the monotonic clock; None: nothing is in doubt."""
        times = (self._first.due, self._second.due, self._next_audit)
        return min((each for each in times if each is not None), default=None)

    @property
    def tables(self) -> list[str]:
        """The tables with rows in doubt."""
        return sorted({*self._first.scopes, *self._second.scopes})

    @property
    def due(self) -> bool:
        """Whether it is time to dump what is doubtful."""
        at = self.next
        return at is not None and at <= time.monotonic()

    def take(self, tables: Iterable[str]) -> tuple[Scopes, bool]:
        """What is due, of all tables for an audit, and whether it is looked at for the last time."""
        now = time.monotonic()
        if self._audit is not None and self._next_audit is not None and self._next_audit <= now:
            self._next_audit = now + self._audit
            self.add_all(tables, at_once=True)
        due = [look for look in (self._first, self._second) if look.due is not None and look.due <= now]
        merged = Look()
        for look in due:
            for name, scopes in look.take().items():
                merged.add(name, scopes)
        return merged.scopes, self._second in due

    def done(self, seconds: float) -> None:
        """A repair took so long: leave the kernel alone for a while."""
        self._failures = 0
        self._rest(PAUSE * seconds)

    def failed(self, scopes: Scopes) -> float:
        """These could not be dumped: they remain in doubt. The seconds until they are tried again."""
        wait: float = min(RETRY * 2**self._failures, RETRY_MOST)
        self._failures += 1
        for look in (self._first, self._second):
            for name, each in scopes.items():
                look.add(name, each)
            if scopes and look.due is None:
                look.due = look.since = time.monotonic()
        self._rest(wait)
        return wait

    def _rest(self, seconds: float) -> None:
        self._earliest = time.monotonic() + seconds
        for look in (self._first, self._second):
            if look.due is not None:
                look.due = max(look.due, self._earliest)
