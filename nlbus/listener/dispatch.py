"""Worker threads with a bounded queue; jobs with the same key run one after the other."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import NamedTuple

from nlbus._text import escape
from nlbus.bus.stream import log
from nlbus.errors import kernel_error
from nlbus.listener.events import Event
from nlbus.listener.rule import HandlerError, Rule

MAX_WORKERS = 1024  # threads
MAX_QUEUE = 1_000_000  # events, each a dict


class Job(NamedTuple):
    """An event for a rule. Jobs with the same `key` keep their order."""

    rule: Rule
    event: Event
    key: Hashable


class Dispatcher:
    """Hands jobs to `workers` threads. `wake` is called when there is room, or all is done. KernelError."""

    def __init__(self, workers: int, room: int, wake: Callable[[], None]) -> None:
        self._room = room
        self._wake = wake
        self._lock = threading.Condition()
        self._waiting: dict[Hashable, deque[Job]] = {}  # by key; also keys with a running job
        self._ready: deque[Hashable] = deque()  # keys with jobs, none of them running
        self._queued = self._running = 0
        self._stopping = False
        self._threads: list[threading.Thread] = []
        action = f"starting {workers} workers"
        try:
            self._stop_reader, self._stop_writer = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            raise kernel_error(error.errno or 0, action) from error
        try:
            for number in range(workers):
                thread = threading.Thread(target=self._work, name=f"nlbus-worker-{number}", daemon=True)
                thread.start()
                self._threads.append(thread)
        except RuntimeError as error:
            started = len(self._threads)
            self.end(math.inf)
            raise kernel_error(errno.EAGAIN, action, f"only {started} threads could be started") from error

    @property
    def idle(self) -> bool:
        """Whether no job waits or runs."""
        with self._lock:
            return not self._queued and not self._running

    def room(self) -> int:
        """How many more jobs fit into the queue."""
        with self._lock:
            return self._room - self._queued

    def submit(self, job: Job) -> bool:
        """Queue a job; False if there is no room."""
        with self._lock:
            if self._queued >= self._room:
                return False
            self._queued += 1
            if job.key in self._waiting:
                self._waiting[job.key].append(job)
            else:
                self._waiting[job.key] = deque([job])
                self._ready.append(job.key)
                self._lock.notify()
            return True

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._ready and not self._stopping:
                    self._lock.wait()
                if self._stopping:
                    return
                key = self._ready.popleft()
                job = self._waiting[key].popleft()
                self._queued -= 1
                self._running += 1
                full = self._queued == self._room - 1
            if full:
                self._wake()
            try:
                handle(job, self._stop_reader)
            finally:
                with self._lock:
                    self._running -= 1
                    if self._waiting[key]:
                        self._ready.append(key)
                        self._lock.notify()
                    else:
                        del self._waiting[key]
                    done = not self._queued and not self._running
                if done:
                    self._wake()

    def end(self, patience: float) -> int:
        """Stop the workers; return how many waiting jobs were dropped. Threads that hang are abandoned."""
        with self._lock:
            self._stopping = True
            dropped, self._queued = self._queued, 0
            self._lock.notify_all()
        os.write(self._stop_writer, b"\0")
        deadline = time.monotonic() + patience
        for thread in self._threads:
            thread.join(min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX))
        if hanging := [thread.name for thread in self._threads if thread.is_alive()]:
            # The descriptors stay open: a handler may still poll them.
            log.error("handlers do not end, in the threads %s", ", ".join(hanging))
        else:
            os.close(self._stop_reader)
            os.close(self._stop_writer)
        return dropped


def handle(job: Job, stop: int) -> None:
    """Call the rule's handler. Whatever it raises, SystemExit included, is logged and counted.

    KeyboardInterrupt in the main thread is Ctrl-C, and propagates.
    """
    rule = job.rule
    try:
        rule.handler.handle(rule, job.event, stop)
    except HandlerError as failure:
        rule.count("timeouts" if failure.timeout else "failed")
        log.warning("%s: %s (%s)", rule, failure, describe(job.event))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise
        rule.count("failed")
        log.exception("%s: raised, for %s", rule, describe(job.event))
    else:
        rule.count("handled")


def describe(event: Event) -> str:
    """What identifies an event in a line of the log."""
    if "DEVPATH" in event:
        return escape(f"{event.get('ACTION')} {event['DEVPATH']}")
    names = [event.get("nl_table"), event.get("nl_op")]
    for key in ("ifname", "dst", "orig_dst", "process_tgid", "child_tgid", "type_name"):
        if key in event:
            with contextlib.suppress(ValueError):
                names.append(f"{key} {event[key]}")
            break
    return escape(" ".join(str(name) for name in names if name is not None)) or "event"
