"""Every way of publishing, through a real socket to a real subscriber."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nlbus import Groups, Publisher, SchemaError, Subscriber, Topic
from nlbus.schema.topic import MAX_RECORD
from tests.support.sockets import drain, events, payload, payloads
from tests.support.ticks import TICK, linger, ticks

pytestmark = pytest.mark.usefixtures("each_transport")

Subscribe = Callable[..., Subscriber]
BOOK = Topic("book", [("id", "<u8"), ("qty", "<i8")], groups=(3, 4), type=0x101)
EVERY = tuple(range(1, 33))
LARGEST = 32_448 - 96


@pytest.fixture
def sub(subscribe: Subscribe) -> Subscriber:
    return subscribe(groups=EVERY)


def test_arrays_that_end_in_a_short_datagram_are_received_as_one_array(sub: Subscriber) -> None:
    """505 and 505 events, then 14: after each short datagram, the next one is moved up to it."""
    dtype = np.dtype([("seq", "<u8"), ("rest", "V56")])
    rows = np.zeros(1024, dtype)
    with Publisher() as pub:
        pub.publish_many(rows, groups=1)  # the prediction learns the size
        while sub.recv(timeout=0):
            pass
        for i in range(5):
            rows["seq"] = np.arange(1024 * i, 1024 * (i + 1))
            pub.publish_many(rows, groups=1)
    batch = sub.recv(timeout=1)
    records = batch.records(dtype)
    assert records["seq"].tolist() == list(range(5 * 1024))
    assert np.shares_memory(records, batch.data)
    assert batch.payload(1023) == records[1023].tobytes()
    assert batch.payload(1024) == records[1024].tobytes()
    assert batch.events["seq"].tolist() == list(range(1024, 6 * 1024))
    assert sub.stats()["copied_batches"] == 1


def test_an_event_may_be_any_bytes_like_object(sub: Subscriber, publisher: Publisher) -> None:
    given_ = [b"bytes", bytearray(b"array"), memoryview(b"view"), ticks(1)[0], np.arange(3), b""]
    for data in given_:
        publisher.publish(data, 3, 0x100)  # type: ignore[arg-type]
    wanted = [
        bytes(memoryview(data).cast("B")) if not isinstance(data, np.void) else data.tobytes()
        for data in given_
    ]
    got = drain(sub)
    assert events(got) == [(data, 0x100, 0b100) for data in wanted]


def test_the_rows_of_a_structured_array_arrive_as_one_array(sub: Subscriber, publisher: Publisher) -> None:
    rows = ticks(10_000)
    publisher.publish_many(rows, topic=TICK)
    assert len(drain(sub)) == 1  # copied: no prediction of the datagrams' length yet
    publisher.publish_many(rows, topic=TICK)
    batches = drain(sub)
    assert np.concatenate([b.records(TICK) for b in batches]).tolist() == rows.tolist()
    for batch in batches:
        assert np.shares_memory(batch.records(TICK), batch.data)
        assert batch.records(TICK).flags.contiguous
    seqs = np.concatenate([b.events["seq"] for b in batches])
    assert seqs.tolist() == list(range(10_000, 20_000))
    assert {r["portid"] for b in batches for r in b.events[:1]} == {publisher.portid}
    assert {r["uid"] for b in batches for r in b.events[:1]} == {0}


def test_events_with_linger_0_have_the_time_of_their_call(sub: Subscriber, publisher: Publisher) -> None:
    before = time.time_ns()
    publisher.publish(b"one", 3)
    publisher.publish_many(ticks(5), topic=TICK)
    after = time.time_ns()
    times = np.concatenate([b.events["time_ns"] for b in drain(sub)]).tolist()
    assert len(times) == 6
    assert before <= min(times) <= max(times) <= after


@pytest.mark.parametrize(
    "rows",
    [
        ticks(300)[::3],
        ticks(100)[::-1],
        np.arange(600, dtype="<u4").reshape(100, 6),
        np.arange(600, dtype="<u4").reshape(6, 100).T,
        np.arange(100, dtype="u1"),
        np.zeros((100, 1), "V7"),
        np.asfortranarray(np.arange(400, dtype="<i2").reshape(100, 4)),
    ],
    ids=["every third", "backwards", "2-D", "transposed", "1-D bytes", "void", "Fortran"],
)
def test_arrays_of_any_layout_are_sent_row_by_row(sub: Subscriber, publisher: Publisher, rows: Any) -> None:
    wanted = [np.ascontiguousarray(row).tobytes() for row in rows]
    publisher.publish_many(rows, 9, 5)
    masks = np.full(len(rows), 1 << 8, np.uint32)
    publisher.publish_many(rows, type=5, masks=np.repeat(masks, 2)[::2])
    assert events(drain(sub)) == [(data, 5, 1 << 8) for data in wanted * 2]


def test_an_empty_array_publishes_nothing(sub: Subscriber, publisher: Publisher) -> None:
    publisher.publish_many(ticks(0), topic=TICK)
    publisher.publish_many(np.empty((0, 8), "u1"), 3)
    publisher.publish_many(ticks(0), masks=np.empty(0, np.uint32))
    publisher.flush()
    assert drain(sub) == []
    assert publisher.stats()["streams"] == []


def test_events_of_varying_length_share_a_datagram_while_they_linger(sub: Subscriber) -> None:
    wanted = [payload(n) for n in (5, 5, 0, 17, 300, 0, 1, 8, 8, 8)]
    with linger() as pub:
        for data in wanted:
            pub.publish(data, 3)
        assert drain(sub) == []
        pub.flush()
        [batch] = drain(sub)
        assert pub.stats()["streams"][0]["datagrams"] == 1
    assert payloads([batch]) == wanted
    assert len(batch.messages) == 1
    assert batch.records("V8").tobytes() == b"".join(wanted[-3:])
    assert batch.misfits == 7


def test_lingering_events_have_individual_times(sub: Subscriber) -> None:
    with linger() as pub:
        before = time.time_ns()
        bounds = []
        for i in range(20):
            start = time.time_ns()
            pub.publish(bytes(8 + (i > 10)), 3)
            bounds.append((start, time.time_ns()))
            time.sleep(0.001)
        pub.flush()
    [batch] = drain(sub)
    times = batch.events["time_ns"].tolist()
    assert times == sorted(times)
    assert before <= times[0]
    for (start, end), at in zip(bounds, times, strict=True):
        assert start <= at <= end


def test_types_chained_in_one_datagram_are_separated_again(sub: Subscriber) -> None:
    with linger() as pub:
        for i in range(30):
            pub.publish(bytes([i] * (3 + i % 4)), (1, 2), i // 5)
        pub.publish(ticks(1)[0], (1, 2), topic=TICK)
        pub.flush()
        assert [s["datagrams"] for s in pub.stats()["streams"]] == [1]
    [batch] = drain(sub)
    wanted = [(bytes([i] * (3 + i % 4)), i // 5, 3) for i in range(30)] + [(ticks(1).tobytes(), 0x100, 3)]
    assert events([batch]) == wanted
    assert len(batch.messages) == 7
    assert batch.records(TICK).tolist() == ticks(1).tolist()
    assert batch.records("V3", type=2).tolist() == [d for d, kind, _ in wanted if kind == 2 and len(d) == 3]


def test_a_record_of_another_schema_is_a_misfit_even_of_the_same_size_and_type(
    sub: Subscriber, publisher: Publisher
) -> None:
    other = Topic("tick", [("id", "<u8"), ("px", "<i8")], groups=3, type=0x100)
    publisher.publish_many(np.zeros(4, other.dtype), topic=other)
    publisher.publish_many(ticks(3), topic=TICK)
    publisher.publish(bytes(16), 3, 0x100)  # without a schema
    got = drain(sub)
    assert sum(len(b.records(TICK)) for b in got) == 3
    assert sum(b.misfits for b in got) == 5
    assert sum(len(b.records(TICK.dtype)) for b in got) == 8


def test_records_that_do_not_match_the_topic_are_refused(publisher: Publisher) -> None:
    with pytest.raises(SchemaError, match="tick"):
        publisher.publish_many(np.zeros(3, BOOK.dtype), topic=TICK)
    with pytest.raises(SchemaError, match="16 bytes"):
        publisher.publish(b"short", topic=TICK)
    with pytest.raises(SchemaError, match="type"):
        publisher.publish(bytes(16), topic=TICK, type=9)
    with pytest.raises(SchemaError):
        # Rows of two records each: the topic has no such event.
        publisher.publish_many(ticks(4).reshape(2, 2), topic=TICK)
    assert publisher.stats()["streams"] == []


def test_the_largest_record_of_a_topic_can_be_published(sub: Subscriber, publisher: Publisher) -> None:
    big = Topic("big", [("data", f"S{MAX_RECORD}")], groups=3)
    rows = np.zeros(3, big.dtype)
    rows["data"] = [b"a" * MAX_RECORD, b"b", b"c" * MAX_RECORD]
    publisher.publish_many(rows, topic=big)
    publisher.publish(rows[0], topic=big)
    publisher.publish_many(rows, topic=big, masks=np.full(3, 4, np.uint32))
    with linger(0.001) as pub:
        pub.publish(rows[0], topic=big)
        pub.publish_many(rows, topic=big, masks=np.full(3, 4, np.uint32))
    got = drain(sub)
    assert [r.tobytes() for b in got for r in b.records(big)] == [
        rows[i].tobytes() for i in (0, 1, 2, 0, 0, 1, 2, 0, 0, 1, 2)
    ]


def test_the_error_for_events_over_the_datagram_limit_names_the_limit(publisher: Publisher) -> None:
    over = payload(LARGEST + 1)
    with pytest.raises(SchemaError, match=str(LARGEST + 1)):
        publisher.publish(over, 3)
    with pytest.raises(SchemaError):
        publisher.publish_many(np.frombuffer(over, "u1").reshape(1, -1), 3)
    with pytest.raises(SchemaError):
        publisher.publish_many(np.frombuffer(over, "u1").reshape(1, -1), masks=np.ones(1, np.uint32))
    with Publisher(datagram_bytes=200) as small, pytest.raises(SchemaError):
        small.publish(bytes(105), 3)


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_each_row_goes_to_the_groups_of_its_mask(sub: Subscriber, seconds: float) -> None:
    chosen = np.array([1, 2, 3, 4, 0x80000000, 0xFFFFFFFF, 0x00010001, 6], np.uint32)
    masks = np.random.default_rng(1).choice(chosen, 5000)
    rows = ticks(5000)
    with linger(seconds) as pub:
        pub.publish_many(rows, topic=TICK, masks=masks)
        pub.flush()
        assert {s["groups"] for s in pub.stats()["streams"]} == set(chosen.tolist())
        batches = drain(sub)
    got = events(batches)
    assert len(got) == 5000
    for mask in chosen.tolist():  # order is guaranteed within a stream
        of_mask = [data for data, _, groups in got if groups == mask]
        assert of_mask == [row.tobytes() for row in rows[masks == mask]]
    assert sum(len(b.records(TICK)) for b in batches) == 5000


def test_more_masks_than_streams_lose_nothing(sub: Subscriber) -> None:
    masks = np.random.default_rng(2).integers(1, 1 << 32, 1500, dtype=np.uint32)
    masks = np.concatenate([masks, masks[::-1], masks])
    rows = ticks(len(masks))
    sub.leave(range(3, 33))  # 32 copies of each would not fit into the buffer
    for seconds in (0.0, 0.5):
        with Publisher(linger=seconds) as pub:
            pub.publish_many(rows, topic=TICK, masks=masks)
            pub.flush()
            got = drain(sub)
            stats = pub.stats()
        assert len(stats["streams"]) == 1024
        assert stats["evicted"] >= 476
        heard = (masks & 3) != 0
        assert Counter(d for d, _, _ in events(got)) == Counter(r.tobytes() for r in rows[heard])
        assert not any(b.loss for b in got)
        drain(sub, timeout=0.01)


def test_masks_that_do_not_fit_are_refused(publisher: Publisher) -> None:
    for wrong in (
        np.ones(3, np.uint32),
        np.ones(2, np.int64),
        np.array([1, 0], np.uint32),
        np.ones((2, 1), np.uint32),
    ):
        with pytest.raises(SchemaError, match="mask"):
            publisher.publish_many(ticks(2), masks=wrong)
    with pytest.raises(SchemaError, match="groups and masks"):
        publisher.publish_many(ticks(2), 3, masks=np.ones(2, np.uint32))
    with pytest.raises(SchemaError):
        publisher.publish_many(ticks(2))


def test_many_threads_publish_through_one_publisher(sub: Subscriber) -> None:
    for seconds in (0.0, 0.002):
        with Publisher(linger=seconds) as pub:

            def work(n: int) -> None:
                for i in range(0, 300, 3):
                    pub.publish(ticks(1, 1000 * n + i)[0], topic=TICK)
                    pub.publish_many(ticks(2, 1000 * n + i + 1), topic=TICK)

            threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        ids = np.concatenate([b.records(TICK) for b in drain(sub)])["id"]
        assert sorted(ids.tolist()) == [1000 * n + i for n in range(8) for i in range(300)]
        for n in range(8):
            mine = ids[ids // 1000 == n].tolist()
            assert mine == sorted(mine)


def test_stats_count_what_each_stream_sent(sub: Subscriber, publisher: Publisher) -> None:
    publisher.publish_many(ticks(2000), topic=TICK)
    publisher.publish(b"x", Groups(1, 2))
    stats = publisher.stats()
    assert stats["portid"] == publisher.portid
    assert {(s["groups"], s["events"]) for s in stats["streams"]} == {(4, 2000), (3, 1)}
    drain(sub)
    heard = {s["instance"]: s for s in sub.stats()["streams"]}
    for stream in stats["streams"]:
        assert heard[stream["instance"]]["delivered"] == stream["events"]
        assert heard[stream["instance"]]["next_dgram"] == stream["datagrams"]


@pytest.mark.parametrize("seconds", [-0.1, 1.5, float("nan"), float("inf")])
def test_a_linger_out_of_bounds_is_refused(seconds: float) -> None:
    with pytest.raises(SchemaError, match="linger"):
        Publisher(linger=seconds)
