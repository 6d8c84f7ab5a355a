"""Merged: the batches of several subscribers or captures as one feed."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from nlbus.bus.stream import Feed
from nlbus.errors import BusyError, ClosedError, SchemaError
from nlbus.kernel.arguments import optional_seconds
from nlbus.kernel.groups import Groups

if TYPE_CHECKING:
    from nlbus.bus.batch import Batch
    from nlbus.schema.topic import Topic
    from nlbus.sources import Source

MAX_SLEEP = 1.0  # seconds: a feed that another thread closes wakes nobody
SUMMED = ("delivered", "lost", "dropped", "open", "unbuilt", "malformed", "foreign", "untrusted", "truncated")


class Merged(Feed):
    """The batches of several subscribers, or captures, in the order of their time: one stream of the machine.

    A batch comes as its feed made it: `batch.source` is where it is from, its tables are those of that feed,
    `batch.loss` is what that feed lost. Batches of captures are in the order of `time_ns`. Those of
    subscribers are as well, and have the time of receipt: the kernel dates few events itself.

    `source`, `groups` and `feed` are those of the newest batch. Iteration, `batches` and `rows`, `fileno`,
    `wait` and `record` work as with one subscriber; `collect`, `stream` and `windows` are of one source. It
    ends once all feeds have; `close` closes them all. One thread receives at a time (BusyError). SchemaError
    without feeds, or with one twice.
    """

    def __init__(self, feeds: Iterable[Feed]) -> None:
        super().__init__("ignore")  # the feeds report their losses
        self.feeds = tuple(feeds)
        if not self.feeds or not all(isinstance(feed, Feed) for feed in self.feeds):
            raise SchemaError(
                "merge: Subscribers or captures, at least one; AsyncSubscribers: nlbus.aio.merge"
            )
        if len({id(feed) for feed in self.feeds}) < len(self.feeds):
            raise SchemaError("merge: the same subscriber twice")
        self.live = any(feed.live for feed in self.feeds)
        self.feed = self.feeds[0]  # of the newest batch
        self._open = list(self.feeds)
        self._heads: list[tuple[int, int, Feed, Batch]] = []  # time, order of taking, where from
        self._taken = 0
        self._nothing: Batch | None = None
        self._consuming = threading.Lock()
        self._closed = False
        self._news = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._news, select.EPOLLIN)
        for feed in self.feeds:
            if feed.live:
                self._epoll.register(feed.fileno(), select.EPOLLIN)
        if not all(feed.live for feed in self.feeds):
            os.eventfd_write(self._news, 1)  # a capture always has news

    # -- receiving --------------------------------------------------------------------------------

    def recv(self, timeout: float | None = None) -> Batch:
        """The oldest batch that any feed has; an empty one when `timeout` seconds are up.

        ClosedError once all feeds are closed or at their end; else the errors of their recv. A feed with
        on_loss="raise" raises here, and the next recv returns its batch.
        """
        limit = optional_seconds(timeout, "timeout")
        deadline = None if limit is None else time.monotonic() + limit
        if not self._consuming.acquire(blocking=False):
            raise BusyError("another thread is receiving: one consumer of what is merged")
        try:
            while True:
                if (held := self._take_held()) is not None:
                    return held
                self._fill()
                if self._heads:
                    return self._oldest()
                if self._closed or not self._open:
                    self._signal(True)
                    raise ClosedError("closed" if self._closed else "all feeds are closed or at their end")
                left = MAX_SLEEP if deadline is None else deadline - time.monotonic()
                if left <= 0 and self._nothing is not None:
                    return self._nothing
                self._epoll.poll(max(0.0, min(left, MAX_SLEEP)), 1)
        finally:
            self._consuming.release()

    def _fill(self) -> None:
        """Take a batch of each feed that has news and none here."""
        waiting = {id(feed) for _, _, feed, _ in self._heads}
        for feed in list(self._open):
            if id(feed) in waiting:
                continue
            try:
                batch = feed.recv(timeout=0)
            except ClosedError:
                self._open.remove(feed)
                continue
            if batch or batch.loss or batch.complete:
                self._taken += 1
                self._heads.append((batch.time_ns, self._taken, feed, batch))
            else:
                self._nothing = batch

    def _oldest(self) -> Batch:
        head = min(self._heads, key=lambda head: head[:2])
        self._heads.remove(head)
        _, _, self.feed, batch = head
        self._signal(bool(self._heads))
        return batch

    def _signal(self, news: bool) -> None:
        """Make the descriptor readable while a batch waits here."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._news)
        if news or self._closed or not self._open or not all(feed.live for feed in self._open):
            os.eventfd_write(self._news, 1)

    def rows(self, timeout: float | None = None) -> Iterator[dict[str, Any]]:
        """The rows of all batches as dicts; nl_source and nl_table say whose. They end as `batches` does."""
        for batch in self.batches(timeout):
            name = batch.source.name
            for row in batch.rows():
                yield {"nl_source": name} | row

    # -- status -----------------------------------------------------------------------------------

    @property
    def source(self) -> Source | None:
        """The source of the newest batch; before it, of the first feed."""
        return self.feed.source

    @property
    def groups(self) -> Groups:
        """The groups of the feed that the newest batch came from."""
        return self.feed.groups

    def stats(self) -> dict[str, Any]:
        """Counters since the start, summed, and in `sources` those of each feed, by the name of its source.

        Further feeds of a source are numbered: "route", "route 2".
        """
        each: dict[str, dict[str, Any]] = {}
        for feed in self.feeds:
            name = "capture" if feed.source is None else feed.source.name
            number = sum(known.split(" ")[0] == name for known in each) + 1
            each[name if number == 1 else f"{name} {number}"] = feed.stats()
        total: dict[str, Any] = {
            counter: sum(stats.get(counter, 0) for stats in each.values()) for counter in SUMMED
        }
        return total | {"sources": each}

    def explain(self) -> str:
        """What each feed says of itself."""
        return "\n\n".join(feed.explain() for feed in self.feeds)

    def fileno(self) -> int:
        """One descriptor for select, poll, epoll and event loops: readable while recv(timeout=0) has news."""
        if self._closed:
            raise ClosedError("already closed")
        return self._epoll.fileno()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Close all feeds, from any thread: a waiting recv raises ClosedError. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        os.eventfd_write(self._news, 1)
        for feed in self.feeds:
            feed.close()

    def __del__(self) -> None:
        if (news := getattr(self, "_news", None)) is not None:
            os.close(news)

    # -- what is of one source --------------------------------------------------------------------

    def collect(self, name: str | Topic, seconds: float | None = None, rows: int | None = None) -> NoReturn:
        """Not of several sources: SchemaError."""
        self.empty(name)

    def windows(self, name: str | Topic, seconds: float) -> NoReturn:
        """Not of several sources: SchemaError."""
        self.empty(name)

    def empty(self, name: str | Topic) -> NoReturn:
        """Not of several sources: SchemaError."""
        raise SchemaError(f"{name} is a table of one source: read it from that subscriber, not from merge()")

    def __repr__(self) -> str:
        names = ", ".join("capture" if feed.source is None else feed.source.name for feed in self.feeds)
        return f"<Merged {names}{' closed' if self._closed else ''}>"


def merge(feeds: Iterable[Feed]) -> Merged:
    """The batches of several subscribers or captures as one feed, in order of time. See Merged."""
    return Merged(feeds)
