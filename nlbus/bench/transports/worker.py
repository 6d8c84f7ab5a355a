"""A process at one end of a transport: `python -m nlbus.bench.transports.worker`, driven by lines of
JSON on stdin. It answers each line with one on stdout, and ends when stdin does."""

from __future__ import annotations

import json
import select
import signal
import sys
import time
import traceback
from typing import Any

import numpy as np

from nlbus.bench.transports.jobs import HALF, event
from nlbus.bench.transports.transport import Events, Publisher, Subscriber, TransportError, load

TICK = 0.001  # seconds between two bursts at a fixed rate
PORTION = 64  # single events between two looks at the clock
GLANCE = 0.005  # seconds without an event, after which a subscriber checks whether it must end
QUIET = 0.25  # seconds without an event, after which missing events count as lost
PATIENCE = 5.0  # seconds to wait for events that are due
SAMPLES = 4096  # delays kept


class Speaker:
    """The publisher's end."""

    def __init__(self, end: Publisher) -> None:
        self._end = end

    def audience(self, count: int) -> dict[str, Any]:
        """Tell the transport the number of subscribers."""
        self._end.audience(count)
        return {}

    def probe(self) -> dict[str, Any]:
        """Publish one event by which subscribers notice us."""
        self._end.publish_one(np.zeros(1, event(64)).tobytes())
        self._end.flush()
        return {}

    def publish(self, first: int, size: int, batch: int, offered: int, seconds: float) -> dict[str, Any]:
        """Events numbered from `first`: how many, when it began and ended, what processor time it took.

        Until the time is up. At a fixed rate, in bursts: each event is stamped with the time at which its
        burst was due, however late it comes.
        """
        burst = max(batch, round(offered * TICK / batch) * batch)
        pause = burst / offered * 1e9 if offered else 0.0
        single = batch == 1
        portion = batch if not single else burst if offered else PORTION
        template = np.zeros(portion, event(size))
        template["value"] = HALF
        numbers = np.arange(first, first + portion, dtype=np.uint64)
        cpu, start = time.process_time_ns(), time.perf_counter_ns()
        until = start + int(seconds * 1e9)
        sent = 0
        while (now := time.perf_counter_ns()) < until:
            due = start + int(sent // burst * pause)
            if due > now:
                sleep_until(due)
                continue
            # New data each time, as in a real program.
            events = template if single else template.copy()
            np.add(numbers, sent, out=events["seq"], casting="unsafe")
            if offered:
                events["time"] = due
            if single:
                self._end.publish_each(events.view(f"V{size}").tolist())
            else:
                self._end.publish_batch(events)
            sent += portion
        self._end.flush()
        end = time.perf_counter_ns()
        return {"sent": sent, "start": start, "end": end, "cpu": time.process_time_ns() - cpu}

    def close(self) -> None:
        """Close this end."""
        self._end.close()


class Listener:
    """A subscriber's end."""

    def __init__(self, end: Subscriber) -> None:
        self._end = end
        self._stdin = select.poll()
        self._stdin.register(0, select.POLLIN)

    def meet(self) -> dict[str, Any]:
        """Wait until the publisher is heard. TransportError."""
        deadline = time.monotonic() + PATIENCE
        while not len(self._end.receive(event(64), GLANCE)):
            if time.monotonic() > deadline:
                raise TransportError(f"a subscriber heard nothing of the publisher for {PATIENCE:.0f} s")
        return {}

    def settle(self) -> dict[str, Any]:
        """Read until nothing is left."""
        while len(self._end.receive(event(64), 8 * GLANCE)):
            pass
        return {}

    def listen(self, first: int, size: int, timed: bool) -> dict[str, Any]:
        """Read events from `first` on, until the last one was sent and has arrived or counts as lost."""
        tally = Tally(first, event(size), timed)
        answer({})
        cpu = time.process_time_ns()
        last = time.perf_counter_ns()
        stop: int | None = None
        receive, dtype = self._end.receive, tally.dtype
        while True:
            records = receive(dtype, GLANCE)
            if len(records):
                tally.take(records)
                last = time.perf_counter_ns()
            elif stop is None and self._stdin.poll(0):
                stop = int(json.loads(read_line())["stop"])
            if stop is not None and (tally.next >= stop or time.perf_counter_ns() - last > QUIET * 1e9):
                return tally.result(stop) | {"last": last, "cpu": time.process_time_ns() - cpu}

    def close(self) -> None:
        """Close this end."""
        self._end.close()


class Tally:
    """The computation of a subscriber on each array, and its counts."""

    def __init__(self, first: int, dtype: np.dtype[Any], timed: bool) -> None:
        self.dtype = dtype
        self.next = first  # the number expected
        self.events = 0
        self._first = first
        self._lost = 0
        self._disorder = 0
        self._sum = 0.0
        self._delays: list[int] | None = [] if timed else None

    def take(self, records: Events) -> None:
        """Sum up a field and check the sequence numbers."""
        seq = records["seq"]
        if seq[0] < self._first:  # late, from before this job
            records = records[seq >= self._first]
            if not len(records):
                return
            seq = records["seq"]
        start, stop = int(seq[0]), int(seq[-1]) + 1
        steps = np.diff(seq) != 1 if len(seq) > 1 else None
        if start != self.next or stop - start != len(seq) or (steps is not None and steps.any()):
            jumps = np.diff(seq.astype(np.int64), prepend=self.next - 1)
            self._lost += int(jumps[jumps > 1].sum() - np.count_nonzero(jumps > 1))
            self._disorder += int(np.count_nonzero(jumps < 1))
        self.next = stop
        self.events += len(seq)
        self._sum += float(records["value"].sum())
        if self._delays is not None and len(self._delays) < SAMPLES:
            self._delays.append(time.perf_counter_ns() - int(records["time"][0]))

    def result(self, stop: int) -> dict[str, Any]:
        """The result. stop: the number after the last one sent."""
        return {
            "events": self.events,
            "lost": self._lost + max(stop - self.next, 0),
            "disorder": self._disorder,
            "whole": self._sum == HALF * self.events,
            "delays": self._delays or [],
        }


def sleep_until(then: int) -> None:
    """Now, by perf_counter_ns."""
    left = then - time.perf_counter_ns()
    if left > 0:
        time.sleep(left * 1e-9)


def answer(value: dict[str, Any]) -> None:
    """Write an answer as one line."""
    print(json.dumps(value), flush=True)


def read_line() -> str:
    """Unbuffered, because poll does not see the contents of a buffer."""
    return sys.stdin.readline()


def main() -> None:
    """Answer until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # our parent ends us
    end: Speaker | Listener | None = None
    while line := read_line():
        order = json.loads(line)
        do = order.pop("do")
        try:
            if do == "speak":
                end = Speaker(load(order["spec"]).publisher(order["where"]))
                answer({})
            elif do == "hear":
                end = Listener(load(order["spec"]).subscriber(order["where"], order["number"]))
                answer({})
            else:
                answer(getattr(end, do)(**order))
        except Exception as error:  # report whatever a transport raises
            traceback.print_exc()
            answer({"error": f"{type(error).__name__}: {error}"})
    if end is not None:
        end.close()


if __name__ == "__main__":
    main()
