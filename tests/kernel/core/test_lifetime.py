"""Views outlive the objects they came from, and nothing leaks."""

import gc
import os
import sys
import threading
import tracemalloc
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nlbus import Publisher, Subscriber
from tests.support.sockets import Sender, drain, payload, plain
from tests.support.ticks import TICK

Subscribe = Callable[..., Subscriber]


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def ticks(count: int) -> "np.ndarray[tuple[int], np.dtype[np.void]]":
    rows = np.zeros(count, TICK.dtype)
    rows["id"] = np.arange(count)
    return rows


def test_views_outlive_their_batch_and_subscriber(publisher: Publisher) -> None:
    sub = Subscriber(groups=3)
    for _ in range(2):  # the second batch is not copied
        publisher.publish_many(ticks(20_000), topic=TICK)
        [batch] = drain(sub)
    records = batch.records(TICK)
    ids, data, messages = records["id"][5:], batch.data, batch.messages
    assert np.shares_memory(records, data)
    wanted = records.tobytes(), data.tobytes()
    sub.close()
    del sub, batch
    gc.collect()
    with Subscriber(groups=3) as other:  # which allocates fresh memory
        publisher.publish_many(np.full(20_000, 255, "u1"), 3)
        drain(other)
    assert (records.tobytes(), data.tobytes()) == wanted
    assert ids[0] == 5
    assert len(messages) > 1


def test_a_kept_batch_is_never_overwritten_by_later_ones(subscribe: Subscribe, publisher: Publisher) -> None:
    sub = subscribe(groups=3)
    kept = []
    for i in range(40):
        rows = ticks(5000)
        rows["px"] = i
        publisher.publish_many(rows, topic=TICK)
        kept += [(i, batch.records(TICK)) for batch in drain(sub)]
    for i, records in kept:
        assert set(records["px"].tolist()) == {float(i)}
        assert records["id"].tolist() == list(range(5000))


def test_memory_is_freed_with_the_last_view(subscribe: Subscribe, publisher: Publisher) -> None:
    sub = subscribe(groups=3)
    kept = []
    for _ in range(11):  # the first one was copied
        publisher.publish_many(ticks(20_000), topic=TICK)
        kept.append(drain(sub)[0].records(TICK)["id"])
    held = sub.stats()["memory"]
    assert held >= 10 * 20_000 * 16
    del kept[5:]
    assert sub.stats()["memory"] < held
    del kept
    assert sub.stats()["memory"] == 0


def test_many_batches_leak_no_python_objects_and_no_memory(
    subscribe: Subscribe, publisher: Publisher
) -> None:
    sub, raw = subscribe(groups=3), subscribe("raw:2", groups=3)
    rows = ticks(3000)

    def rounds(count: int) -> None:
        for _ in range(count):
            publisher.publish_many(rows, topic=TICK)
            for _ in range(5):
                publisher.publish(b"x" * 70, 3)
            for batch in (*drain(sub), *drain(raw)):
                batch.records(TICK)
                batch.events  # noqa: B018
                batch.messages  # noqa: B018
                batch.select([3]).copy().payload(0)
                batch.payload(len(batch) - 1)
            sub.stats()

    rounds(50)
    gc.collect()
    blocks, memory = sys.getallocatedblocks(), rss()
    rounds(1000)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 500  # caches of the interpreter; a leak would be one per round
    assert rss() - memory < 8 << 20


def test_losses_and_errors_leak_nothing(subscribe: Subscribe, publisher: Publisher) -> None:
    sub = subscribe(groups=3, buffer_events=5, on_loss="ignore")

    def rounds(count: int) -> None:
        for _ in range(count):
            for _ in range(30):
                publisher.publish(b"x", 3)
            drain(sub)
            for call in (lambda: Subscriber("bsu"), lambda: publisher.publish(b"x", 0), lambda: sub.join(99)):
                with pytest.raises(Exception):  # noqa: B017, PT011
                    call()

    rounds(50)
    gc.collect()
    before = sys.getallocatedblocks()
    rounds(600)
    gc.collect()
    assert sys.getallocatedblocks() - before < 300


def test_allocations_per_batch_do_not_grow_with_its_messages(subscribe: Subscribe) -> None:
    raw = subscribe("raw:2", groups=1)

    def allocations(chain: int) -> int:
        datagram = plain(*[payload(64)] * chain)
        with Sender() as sender:
            for _ in range(9):
                for _ in range(20):
                    sender.send(datagram)
                drain(raw)
            for _ in range(20):
                sender.send(datagram)
            tracemalloc.start()
            batch = raw.recv(0)
            records = batch.records("V64")
            count = sum(stat.count for stat in tracemalloc.take_snapshot().statistics("filename"))
            tracemalloc.stop()
        assert len(records) == 20 * chain
        return count

    few, many = allocations(16), allocations(256)
    assert many <= few + 5


def test_opening_and_closing_leaks_no_descriptors_threads_or_cycles() -> None:
    def cycle() -> None:
        sub, pub = Subscriber(groups=1), Publisher(linger=0.01)
        sub.fileno()
        pub.publish(b"x", 1)
        sub.recv(1)
        sub.close()
        pub.close()

    cycle()
    gc.collect()
    gc.disable()
    try:
        fds, threads, blocks = descriptors(), threading.active_count(), sys.getallocatedblocks()
        for _ in range(30):
            cycle()
        assert descriptors() == fds
        assert threading.active_count() == threads
        assert sys.getallocatedblocks() - blocks < 300
    finally:
        gc.enable()


def test_objects_dropped_without_close_are_closed_without_a_warning(publisher: Publisher) -> None:
    fds = descriptors()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sub = Subscriber(groups=1)
        sub.fileno()
        gone = weakref.ref(sub)
        del sub
        gc.collect()
    assert gone() is None
    assert descriptors() == fds


def test_a_failed_constructor_leaks_no_descriptors() -> None:
    fds = descriptors()
    for _ in range(10):
        with pytest.raises(OSError, match="33"):
            Subscriber("raw:2", groups=(1, 33))
    gc.collect()
    assert descriptors() == fds
