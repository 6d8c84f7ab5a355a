"""The processes of the demo's second part: a publisher and subscribers, driven by lines of stdin.

Each answers on stdout, one JSON value per line, and ends when stdin does.
"""

import io
import json
import select
import sys
import time
from typing import Any

import numpy as np

from nlbus import Batch, Publisher, Subscriber

EVENT = np.dtype([("id", "<u8"), ("value", "<f8"), ("text", "S48")])
BLOCK = 8080  # events per call: 16 full datagrams of 505
QUIET = 0.1  # seconds without an event, after which the queue is empty


def answer(value: object) -> None:
    """Write an answer for the demo."""
    print(json.dumps(value), flush=True)


def publisher(masks: list[int], seconds: float) -> None:
    """Publish blocks of events to one mask after the other; on "finish", one event to each, and close."""
    records = np.zeros(BLOCK, EVENT)
    records["id"] = np.arange(BLOCK)
    records["text"] = b"event"
    groups = [tuple(bit + 1 for bit in range(32) if mask >> bit & 1) for mask in masks]
    pub = Publisher()
    answer("ready")
    if not sys.stdin.readline():
        return
    began = now = time.perf_counter()
    while now < began + seconds:
        for to in groups:
            pub.publish_many(records, to)
            records["id"] += BLOCK
        now = time.perf_counter()
    answer(now - began)
    sys.stdin.readline()
    # One last event per stream, so that losses at the end become known.
    for to in groups:
        records["id"] += 1
        pub.publish_many(records[-1:], to)
    pub.close()
    answer(pub.stats())


class Reader:
    """A subscriber that counts its events itself, independently of the ledger."""

    def __init__(self, groups: list[int], buffer_events: int | None) -> None:
        self.sub = Subscriber("bus", groups, buffer_events=buffer_events, on_loss="ignore")
        self.events = 0
        self.disorder = 0
        self.first = self.last = 0.0
        self._newest = -1

    def run(self) -> None:
        """Receive; on "drain" empty the queue, on "report" do the same and report the counts."""
        poll = select.poll()
        poll.register(self.sub.fileno(), select.POLLIN)
        # Unbuffered, because poll does not see the contents of a buffer.
        stdin = io.FileIO(0, closefd=False)
        poll.register(stdin, select.POLLIN)
        answer("ready")
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self.sub.fileno() in ready:
                self._take(self.sub.recv(timeout=0))
            if stdin.fileno() in ready:
                words = stdin.readline().split()
                if not words:
                    return
                while self._take(self.sub.recv(timeout=QUIET)):
                    pass
                answer("drained" if words == [b"drain"] else self._report())

    def _take(self, batch: Batch) -> bool:
        records = batch.records(EVENT)
        if not len(records):
            return bool(batch)
        self.last = time.perf_counter()
        self.first = self.first or self.last
        self.events += len(records)
        ids = records["id"]
        # One publisher numbers all its events: no id twice, and none before an earlier one.
        self.disorder += int(ids[0] <= self._newest) + int(np.count_nonzero(ids[1:] <= ids[:-1]))
        self._newest = int(ids[-1])
        return True

    def _report(self) -> dict[str, Any]:
        return {
            "stats": self.sub.stats(),
            "events": self.events,
            "disorder": self.disorder,
            "seconds": self.last - self.first,
        }


if __name__ == "__main__":
    role, arguments = sys.argv[1], json.loads(sys.argv[2])
    try:
        if role == "publisher":
            publisher(**arguments)
        else:
            Reader(**arguments).run()
    except KeyboardInterrupt:
        sys.exit(130)
