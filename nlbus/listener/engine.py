"""The loop of a listener: receive, match, dispatch, until it is stopped."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nlbus.bus.stream import log
from nlbus.bus.subscriber import Subscriber
from nlbus.errors import SchemaError, kernel_error
from nlbus.kernel.arguments import optional_seconds, whole
from nlbus.kernel.groups import Groups
from nlbus.kernel.netns import inside
from nlbus.listener.debounce import Debounce
from nlbus.listener.dispatch import MAX_QUEUE, MAX_WORKERS, Dispatcher, Job
from nlbus.listener.plan import jobs, lost_in
from nlbus.listener.rule import Rule, wanted_rows
from nlbus.sources import find

PATIENCE = 6.0  # seconds that handlers have to end; programs are killed earlier
LOG_EVERY = 1.0  # seconds between two lines about dropped events
LONGEST_POLL = 86_400.0  # seconds

Place = tuple[Any, ...]


class Engine:
    """Receives the events of rules and dispatches them to the handlers.

    workers: handlers that run at the same time. queue: events that may wait for one. When it is full,
    overflow="block" leaves further events in the kernel's buffer, which may overrun, and "drop" drops them;
    the next event reports either as nl_lost. every: (seconds, function), a function to call periodically.
    SchemaError, PermissionDenied, KernelError.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        workers: int = 4,
        queue: int = 1024,
        overflow: str = "block",
        every: tuple[float, Callable[[], None]] | None = None,
    ) -> None:
        workers = whole(workers, "workers", 1, MAX_WORKERS)
        queue = whole(queue, "queue", 1, MAX_QUEUE)
        if overflow not in ("block", "drop"):
            raise SchemaError(f"overflow={overflow!r}: 'block' or 'drop'")
        self.rules = list(rules)
        self.events = 0  # matched so far
        self.lost = 0  # events and datagrams lost before they reached us
        self._replaced: list[Rule] = []
        self._queue = queue
        self._drops = overflow == "drop"
        self._every = every
        self._subscribers: dict[Place, Subscriber] = {}
        self._debounce = Debounce()
        self._jobs: deque[Job] = deque()  # received, not yet queued
        self._calls: deque[Callable[[], None]] = deque()
        self._stopped = False
        self._dropped = 0  # not logged yet
        self._logged = 0.0
        with contextlib.ExitStack() as undo:
            undo.callback(self._close_subscribers)
            self._subscribe()
            try:
                self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                raise kernel_error(error.errno or 0, "starting a listener") from error
            undo.callback(self._close_wake)
            self._dispatcher = Dispatcher(workers, queue, self.wake)
            undo.pop_all()

    # -- from other threads, and signal handlers ----------------------------------------------------

    def wake(self) -> None:
        """Wake the loop. Thread-safe, and safe in a signal handler."""
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._waker, b"\0")

    def stop(self) -> None:
        """Make `run` return soon: programs get SIGTERM, waiting events are dropped."""
        self._stopped = True
        self.wake()

    def call(self, work: Callable[[], None]) -> None:
        """Make the loop call `work` between two batches."""
        self._calls.append(work)
        self.wake()

    def counts(self) -> dict[str, int]:
        """The counters of all rules, replaced ones included, summed by name."""
        every = [rule.counts for rule in (*self.rules, *self._replaced)]
        return {name: sum(counts[name] for counts in every) for name in every[0]}

    # -- rules --------------------------------------------------------------------------------------

    def replace(self, rules: Sequence[Rule]) -> None:
        """Replace the rules; call it through `call`. If a new source cannot be opened, nothing changes.

        A source that stays open misses no event, and does not deliver current objects again.
        """
        before, self.rules = self.rules, list(rules)
        try:
            self._subscribe()
        except BaseException:
            self.rules = before
            raise
        self._replaced += before

    def _subscribe(self) -> None:
        """Open the subscribers that the rules need; then close the others."""
        wanted: dict[Place, Groups] = {}
        for rule in self.rules:
            wanted[_place(rule)] = wanted.get(_place(rule), Groups()) | rule.joined_groups
        opened: dict[Place, Subscriber] = {}
        try:
            for place, groups in wanted.items():
                if place not in self._subscribers:
                    opened[place] = _open(place, groups)
                elif new := groups - self._subscribers[place].groups:
                    self._subscribers[place].join(new)
        except BaseException:
            for subscriber in opened.values():
                subscriber.close()
            raise
        for place in self._subscribers.keys() - wanted.keys():
            self._subscribers.pop(place).close()
        for place, subscriber in self._subscribers.items():
            if old := subscriber.groups - wanted[place]:
                subscriber.leave(old)
        self._subscribers |= opened
        for place, subscriber in self._subscribers.items():
            if (rows := wanted_rows(rule for rule in self.rules if _place(rule) == place)) is not None:
                subscriber.narrow(rows)

    # -- the loop -----------------------------------------------------------------------------------

    def run(self, count: int | None = None, seconds: float | None = None) -> None:
        """Run until `stop`; or until `count` events matched or `seconds` are up, and all are handled.

        SchemaError, KernelError, KeyboardInterrupt; whatever `every` and `call` raise.
        """
        limit = optional_seconds(seconds, "seconds")
        deadline = math.inf if limit is None else time.monotonic() + limit
        most = math.inf if count is None else whole(count, "count", 0, sys.maxsize)
        beat = time.monotonic() if self._every else math.inf
        with self._signals():
            while not self._stopped:
                while self._calls:
                    self._calls.popleft()()
                now = time.monotonic()
                if self._every is not None and now >= beat:
                    self._every[1]()
                    beat = now + self._every[0]
                over = now >= deadline or self.events >= most
                self._jobs.extend(self._debounce.take(math.inf if over else now))
                self._dispatch_jobs()
                if over and not self._jobs and self._dispatcher.idle:
                    return
                until = min(math.inf if over else deadline, self._debounce.due(), beat)
                for place in self._wait(until, not over):
                    if not self._stopped and self.events < most:
                        self._receive(place, None if count is None else count - self.events)

    def close(self) -> int:
        """Close all; return how many waiting events were dropped."""
        self._close_subscribers()
        self._log_dropped()
        dropped = len(self._jobs) + self._debounce.forget() + self._dispatcher.end(PATIENCE)
        self._jobs.clear()
        self._close_wake()
        return dropped

    def _close_subscribers(self) -> None:
        for subscriber in self._subscribers.values():
            subscriber.close()
        self._subscribers.clear()  # each holds a descriptor for as long as it exists

    def _close_wake(self) -> None:
        wake, waker, self._waker = self._wake, self._waker, -1
        os.close(wake)
        os.close(waker)

    def _wait(self, until: float, receive: bool) -> list[Place]:
        """Wait until something is to be done; return the places whose subscribers have news."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        places: dict[int, Place] = {}
        if receive and not self._jobs and len(self._debounce) < self._queue:
            for place, subscriber in self._subscribers.items():
                places[subscriber.fileno()] = place
                poll.register(subscriber.fileno(), select.POLLIN)
        # poll() takes milliseconds of 32 bits: the loop comes back here after a day.
        timeout = min(max(0.0, until - time.monotonic()), LONGEST_POLL) * 1000
        ready = [fd for fd, _ in poll.poll(timeout)]
        if self._wake in ready:
            os.read(self._wake, 4096)
        return [places[fd] for fd in ready if fd in places]

    def _receive(self, place: Place, limit: int | None) -> None:
        batch = self._subscribers[place].recv(timeout=0)
        self.lost += lost_in(batch)
        rules = [rule for rule in self.rules if _place(rule) == place]
        now = time.monotonic()
        for job in jobs(rules, batch, limit):
            self.events += 1
            if job.rule.debounce:
                self._debounce.add(job, now)
            else:
                self._jobs.append(job)

    def _dispatch_jobs(self) -> None:
        while self._jobs:
            if self._dispatcher.submit(self._jobs[0]):
                self._jobs.popleft()
            elif self._drops:
                job = self._jobs.popleft()
                job.rule.count("dropped")
                job.rule.lost += 1 + job.event.get("nl_lost", 0)
                self._dropped += 1
            else:
                break
        if time.monotonic() - self._logged > LOG_EVERY:
            self._log_dropped()

    def _log_dropped(self) -> None:
        if self._dropped:
            log.warning("the queue is full: %d events dropped", self._dropped)
            self._dropped, self._logged = 0, time.monotonic()

    @contextlib.contextmanager
    def _signals(self) -> Any:
        """In the main thread, let a signal wake the loop, even one that comes just before it waits."""
        is_main = threading.current_thread() is threading.main_thread()
        previous = signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False) if is_main else -1
        try:
            yield
        finally:
            if is_main:
                signal.set_wakeup_fd(previous)


def _place(rule: Rule) -> Place:
    """What rules must have in common to share a subscriber."""
    settings = ((name, _frozen(value)) for name, value in sorted(rule.settings.items()))
    return (rule.source, rule.netns, tuple(settings), tuple(rule.snapshot), rule.repair)


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple(sorted(value.items()))
    return tuple(value) if isinstance(value, list) else value


def _open(place: Place, groups: Groups) -> Subscriber:
    source, netns, settings, tables, repair = place
    keywords: dict[str, Any] = {
        name: dict(value) if name == "options" else value for name, value in settings if value is not None
    }
    keywords["repair"] = repair if tables else None
    if inside(netns, lambda: find(source)).answers is not None:
        # No packet may wait for a verdict that never comes.
        keywords |= {"accept_all": True, "at_close": "accept"}
    return Subscriber(source, groups, snapshot=tables, netns=netns, **keywords)
