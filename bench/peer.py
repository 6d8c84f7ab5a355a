"""A process of the benchmarks: `peer.py c|nlbus hear|say`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parent.parent))


from nlbus import Publisher, Subscriber
from nlbus.bench import chains
from nlbus.bench.native.floor import HEAD, Ears, Voice

GROUP = 1
LENGTH = 32448
PER = (LENGTH - HEAD) // chains.EVENT.itemsize
BURST = 256  # datagrams a call
BURSTS = 150
IDLE = 0.5  # seconds of silence that end a run


def report(events: int, cpu: float, seconds: float) -> None:
    print(json.dumps({"events": events, "cpu": cpu, "seconds": seconds}))


def hear(side: str) -> None:
    if side == "c":
        with Ears(1 << (GROUP - 1), LENGTH) as ears:
            print("ready", flush=True)
            start = time.process_time()
            events = ears.listen(int(1000 * IDLE))
            report(events, time.process_time() - start, 0)
        return
    with Subscriber("bus", groups=GROUP, on_loss="ignore") as sub:
        print("ready", flush=True)
        start = time.process_time()
        events = len(sub.recv())
        for batch in sub.batches(timeout=IDLE):
            events += len(batch.records(chains.EVENT))
        report(events, time.process_time() - start, 0)


def say(side: str) -> None:
    events = chains.events(PER * BURST)
    with Voice() as voice, Publisher() as pub:
        cpu, start = time.process_time(), time.perf_counter()
        for _ in range(BURSTS):
            if side == "c":
                voice.send(GROUP, events, PER)
            else:
                pub.publish_many(events, groups=GROUP)
        report(BURSTS * len(events), time.process_time() - cpu, time.perf_counter() - start)


if __name__ == "__main__":
    match sys.argv[1:]:
        case side, "hear":
            hear(side)
        case side, "say":
            say(side)
