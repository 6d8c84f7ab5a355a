"""The processes of a transport: its publisher, its subscribers, and what stands between them."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, Self

from nlbus.bench.transports.jobs import Job
from nlbus.bench.transports.transport import TransportError, load

ANSWER = 60.0  # seconds: a worker that says nothing for so long is stuck
PROBE = 0.02  # seconds between two probes
ENDING = 3.0  # seconds that a worker may take to close


class Worker:
    """A process of worker.py; leaving the context ends it in any case."""

    def __init__(self) -> None:
        self._said = TemporaryFile()  # noqa: SIM115 - __exit__ closes it
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "nlbus.bench.transports.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,  # Ctrl-C is ours
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders = self._process.stdin
        self._answers = self._process.stdout
        self._unread = b""

    def send(self, **order: Any) -> None:
        """Say what to do. TransportError."""
        try:
            self._orders.write(json.dumps(order).encode() + b"\n")
            self._orders.flush()
        except BrokenPipeError:
            raise TransportError(self._last_words()) from None

    def hear(self, timeout: float = ANSWER) -> dict[str, Any]:
        """Its answer. TransportError if it failed, died or is stuck."""
        if not self.has_news(timeout):
            raise TransportError(f"a process has said nothing for {timeout:.0f} seconds")
        line, _, self._unread = self._unread.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise TransportError(found["error"])
        return found

    def has_news(self, timeout: float) -> bool:
        """Whether an answer is there, after so many seconds at most. TransportError."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._unread:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._answers], [], [], left)[0]:
                return False
            more = os.read(self._answers.fileno(), 1 << 20)
            if not more:
                raise TransportError(self._last_words())
            self._unread += more
        return True

    def ask(self, **order: Any) -> dict[str, Any]:
        """Both."""
        self.send(**order)
        return self.hear()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").splitlines()
        return f"a process ended early, with {code}: {lines[-1] if lines else 'it said nothing'}"

    def end(self) -> None:
        """Let it close; `__exit__` waits for that."""
        with suppress(BrokenPipeError):
            self._orders.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        try:
            self._process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
        self._said.close()


@dataclass(frozen=True)
class Shot:
    """What one job came to. Processor times in ns an event: sent (publisher, server) or delivered."""

    sent: int
    delivered: tuple[int, ...]  # a subscriber
    lost: int
    rate: float  # events a second that each got, on average, until its last one; not above a fixed rate
    offered: float  # events a second that the publisher sent
    publisher_ns: float
    subscriber_ns: float
    server_ns: float
    delays_us: tuple[float, ...]


class Crew:
    """One transport at work. TransportError."""

    def __init__(self, spec: str) -> None:
        self._spec = spec
        self.transport = load(spec)
        self.name = self.transport.name
        self.note = self.transport.note
        self._stack = ExitStack()
        self._subscribers: list[Worker] = []
        self._met = 0
        self._next = 1  # 0 are probes

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            place = Path(stack.enter_context(TemporaryDirectory(prefix="nlbus-bench-")))
            self._service = stack.enter_context(self.transport.serving(place))
            self._publisher = stack.enter_context(Worker())
            self._publisher.send(do="speak", spec=self._spec, where=self._service.where)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in (*self._subscribers, self._publisher):
            worker.end()
        self._stack.close()

    def hire(self, count: int) -> None:
        """Start processes until there are so many subscribers; do not wait for them."""
        while len(self._subscribers) < count:
            self._subscribers.append(self._stack.enter_context(Worker()))

    def meet(self) -> None:
        """Wait for those that are new, and until they have heard the publisher."""
        if self._met == 0:
            self._publisher.hear()
        new = self._subscribers[self._met :]
        for number, worker in enumerate(new, self._met):
            worker.send(do="hear", spec=self._spec, where=self._service.where, number=number)
        for worker in new:
            worker.hear()
        self._met = len(self._subscribers)
        self._publisher.ask(do="audience", count=self._met)
        for worker in self._subscribers:
            worker.send(do="meet")
        for worker in self._subscribers:
            while not worker.has_news(PROBE):
                self._publisher.ask(do="probe")
            worker.hear()
        for worker in self._subscribers:
            worker.send(do="settle")
        for worker in self._subscribers:
            worker.hear()

    def run(self, job: Job) -> Shot:
        """Once. TransportError if an event came twice, out of order or spoilt."""
        first = self._next
        for worker in self._subscribers:
            worker.send(do="listen", first=first, size=job.size, timed=job.offered > 0)
        for worker in self._subscribers:
            worker.hear()
        before = _cpu_ns(self._service.pid)
        said = self._publisher.ask(
            do="publish",
            first=first,
            size=job.size,
            batch=job.batch,
            offered=job.offered,
            seconds=job.seconds,
        )
        sent, start = said["sent"], said["start"]
        self._next = first + sent
        for worker in self._subscribers:
            worker.send(stop=self._next)
        heard = [worker.hear() for worker in self._subscribers]
        for each in heard:
            if each["disorder"] or not each["whole"] or each["events"] + each["lost"] != sent:
                raise TransportError(
                    f"of {sent} events, {each['events']} came and {each['lost']} are missing, "
                    f"{each['disorder']} were out of order; "
                    f"the sum of their values is {'right' if each['whole'] else 'WRONG'}"
                )
        delivered = tuple(each["events"] for each in heard)
        due = sent / job.offered * 1e9 if job.offered else 1.0  # whoever is in time is not above the rate
        return Shot(
            sent=sent,
            delivered=delivered,
            lost=sum(each["lost"] for each in heard),
            rate=fmean(each["events"] / max(each["last"] - start, due) * 1e9 for each in heard),
            offered=sent / max(said["end"] - start, 1) * 1e9,
            publisher_ns=said["cpu"] / max(sent, 1),
            subscriber_ns=sum(each["cpu"] for each in heard) / max(sum(delivered), 1),
            server_ns=(_cpu_ns(self._service.pid) - before) / max(sent, 1),
            delays_us=tuple(delay / 1000 for each in heard for delay in each["delays"]),
        )


def _cpu_ns(pid: int) -> int:
    """Processor time of all threads of a process; 0 for none."""
    total = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat") if pid else ():
        with suppress(OSError):
            total += int(path.read_text().split()[0])
    return total
