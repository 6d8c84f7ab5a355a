"""Memory: bounded under any input; a full datagram takes as many allocations as a short one."""

import ctypes
import gc
import os
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nlbus import ArenaFull, Batch, Publisher, Subscriber
from tests.support.sockets import Sender, plain

Subscribe = Callable[..., Subscriber]

GROUP = 3
EVENT = np.dtype([("id", "<u8"), ("rest", "<u8", (7,))])
HEAD = 96  # nlmsghdr and nlbus_batch
PACKED = (32_448 - HEAD) // EVENT.itemsize
ARENA_SLACK = 4 << 20  # one batch beyond max_memory, with its rows
DATAGRAMS = 16


def numbered(start: int, count: int) -> np.ndarray:
    events = np.zeros(count, EVENT)
    events["id"] = np.arange(start, start + count)
    return events


def resident() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Malloc(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks",
            "keepcost",
        )
    )  # fmt: skip


def malloced() -> int:
    """Bytes allocated with the C library's malloc in the whole process."""
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        pytest.skip("no mallinfo2: needs glibc 2.33")
    mallinfo2.restype = Malloc
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd)


def look(sub: Subscriber) -> tuple[Batch, list[np.ndarray]]:
    """Receive a batch; returns it with all its arrays."""
    batch = sub.recv(timeout=1)
    arrays = [batch.messages, batch.records(EVENT)]
    assert len(arrays[1]) == len(batch) > 0
    return batch, arrays


# Allocations


def fill_raw(per: int) -> None:
    datagram = plain(*(bytes(EVENT.itemsize) for _ in range(per)))
    with Sender() as sender:
        for _ in range(DATAGRAMS):
            sender.send(datagram, GROUP)


def fill_bus(per: int) -> None:
    with Publisher(datagram_bytes=HEAD + 16 + per * EVENT.itemsize) as pub:
        pub.publish_many(numbered(0, per * DATAGRAMS), groups=GROUP)


FILLS = {"raw:2": fill_raw, "bus": fill_bus}
PER = {"raw:2": (1, 16, 512), "bus": (1, 16, 505)}


@pytest.mark.parametrize("source", ["raw:2", "bus"])
def test_allocations_do_not_depend_on_the_messages_per_datagram(subscribe: Subscribe, source: str) -> None:
    def count(per: int) -> tuple[int, int]:
        """Memory blocks and traces of one batch and its arrays: objects of Python, numpy and the core."""
        with subscribe(source, groups=GROUP) as sub:
            # Twice, to learn the size and fill all caches.
            for _ in range(3):
                FILLS[source](per)
                batch, arrays = look(sub)
                while sub.recv(0):
                    pass
                del batch, arrays
            FILLS[source](per)
            gc.collect()
            tracemalloc.start()
            blocks = sys.getallocatedblocks()
            kept = look(sub)
            blocks = sys.getallocatedblocks() - blocks
            traces = len(tracemalloc.take_snapshot().traces)
            tracemalloc.stop()
            assert len(kept[0]) == per * DATAGRAMS
            return blocks, traces

    counts = [count(per) for per in PER[source]]
    # Numbers above 255 are objects, too: a few more or less.
    for what in zip(*counts, strict=True):
        assert max(what) - min(what) <= 8, counts
        assert max(what) < 64, counts


@pytest.mark.parametrize("source", ["raw:2", "bus"])
def test_a_large_batch_allocates_nothing_with_malloc(subscribe: Subscribe, source: str) -> None:
    sub = subscribe(source, groups=GROUP)
    for _ in range(4):
        FILLS[source](PER[source][-1])
        before = malloced()
        kept = look(sub)
        grown = malloced() - before
        size = kept[0].data.nbytes
        while sub.recv(0):
            pass
        del kept
    assert size > 400_000
    # On the bus, `messages` is made on demand: one row per datagram.
    assert grown < 16_384


# A reader that stops reading


def test_an_unread_subscriber_holds_its_buffer_and_no_more(subscribe: Subscribe) -> None:
    sub = subscribe("bus", groups=GROUP, buffer_events=1000, on_loss="ignore")
    count = 100_000
    events = numbered(0, count)
    with Publisher(datagram_bytes=HEAD + 16 + EVENT.itemsize) as pub:
        pub.publish_many(events[:1000], groups=GROUP)
        before = resident()
        for start in range(0, count, 10_000):
            pub.publish_many(events[start : start + 10_000], groups=GROUP)
        grown = resident() - before
        stats = sub.stats()
        assert stats["buffer_used"] <= stats["buffer_size"] <= 2_000_000
        assert stats["memory"] == 0
        assert grown < 2 << 20
        # Nothing is silent: queued events are delivered, dropped ones are counted with the next datagram.
        delivered = lost = 0
        while batch := sub.recv(0):
            delivered += len(batch)
        pub.publish_many(numbered(count, 1), groups=GROUP)
        while batch := sub.recv(0):
            delivered += len(batch)
            lost += batch.loss.events
    assert 1000 <= delivered < count
    assert delivered + lost == count + 1000 + 1


# A user who keeps batches


def test_kept_batches_reach_max_memory_and_dropping_them_frees_it(
    subscribe: Subscribe, publisher: Publisher
) -> None:
    limit = 8 << 20
    sub = subscribe("bus", groups=GROUP, max_memory=limit)
    bunch = 32 * PACKED
    kept: list[np.ndarray] = []
    sent = seen = 0
    before = resident()

    def keep_all() -> None:
        nonlocal sent, seen
        for _ in range(100):
            publisher.publish_many(numbered(sent, bunch), groups=GROUP)
            sent += bunch
            # The batch is dropped; the view alone keeps the memory.
            while batch := sub.recv(0):
                kept.append(batch.records(EVENT))
                seen += len(batch)
                assert sub.stats()["memory"] <= limit + ARENA_SLACK

    with pytest.raises(ArenaFull, match="max_memory"):
        keep_all()
    assert len(kept) >= 4
    assert limit <= sub.stats()["memory"] <= limit + ARENA_SLACK
    assert resident() - before < limit + 2 * ARENA_SLACK
    assert (np.concatenate(kept)["id"] == np.arange(seen)).all()

    kept.clear()
    assert sub.stats()["memory"] == 0
    while batch := sub.recv(0):
        assert batch.records(EVENT)["id"][0] == seen
        assert not batch.loss
        seen += len(batch)
    assert seen == sent


def test_viewed_memory_is_never_overwritten(subscribe: Subscribe, publisher: Publisher) -> None:
    sub = subscribe("bus", groups=GROUP)
    kept: list[tuple[int, np.ndarray, np.ndarray]] = []
    seen = 0
    for turn in range(40):
        publisher.publish_many(numbered(seen, 8 * PACKED), groups=GROUP)
        while batch := sub.recv(0):
            if turn % 10 == 0:
                records = batch.records(EVENT)
                # A view of a view of a view keeps it, too.
                kept.append((seen, records[1:][::2]["id"], batch.messages["length"]))
            seen += len(batch)
    del batch
    assert len(kept) >= 4
    for start, ids, lengths in kept:
        assert (ids == np.arange(start + 1, start + 1 + 2 * len(ids), 2)).all()
        assert (lengths == PACKED * EVENT.itemsize).all()
        assert not ids.flags.writeable


def test_memory_without_views_is_reused(subscribe: Subscribe, publisher: Publisher) -> None:
    sub = subscribe("bus", groups=GROUP)
    events = numbered(0, 64 * PACKED)
    before = 0
    for turn in range(30):
        publisher.publish_many(events, groups=GROUP)
        while sub.recv(0):
            pass
        if turn == 5:
            before = resident()
    assert resident() - before < 1 << 20
    assert sub.stats()["memory"] == 0


def test_a_small_batch_pins_little(subscribe: Subscribe, publisher: Publisher) -> None:
    sub = subscribe("bus", groups=GROUP)
    data = bytes(64)
    kept = []
    for _ in range(1000):
        publisher.publish(data, groups=GROUP)
        kept.append(sub.recv(timeout=1))
    assert sum(map(len, kept)) == 1000
    assert 64 * 1000 <= sub.stats()["memory"] <= 1000 * 1024
    del kept
    assert sub.stats()["memory"] == 0
