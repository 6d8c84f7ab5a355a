"""Groups: many subscribers at once, joining and leaving while events flow, every event once."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlbus import Groups, KernelError, Publisher, SchemaError, Subscriber, UnknownSource
from tests.support.sockets import drain, events, payloads, proc_netlink, wait_until

pytestmark = pytest.mark.usefixtures("each_transport")

Subscribe = Callable[..., Subscriber]


def test_forty_subscribers_live_in_one_thread(subscribe: Subscribe, publisher: Publisher) -> None:
    subs = [subscribe(groups=(1 + i % 32, 32)) for i in range(40)]
    for group in range(1, 33):
        publisher.publish(bytes([group]), group)
    for i, sub in enumerate(subs):
        assert payloads(drain(sub)) == [bytes([g]) for g in sorted({1 + i % 32, 32})]


def test_groups_are_numbers_names_or_groups(subscribe: Subscribe) -> None:
    assert subscribe(groups=7).groups == Groups(7)
    assert subscribe(groups=[1, "7"]).groups == Groups(1, 7)
    assert subscribe(groups=Groups(32)).groups == Groups(32)
    assert subscribe("route", groups=("link", "ipv4-route", 33), transport="auto").groups == Groups(1, 7, 33)
    assert 1 in subscribe("route", transport="auto").groups


masks = st.integers(1, 0xFF)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(ours=st.lists(masks, min_size=1, max_size=4), theirs=st.lists(masks, min_size=1, max_size=60))
def test_every_event_is_delivered_once_whatever_the_masks(
    subscribe: Subscribe, ours: list[int], theirs: list[int]
) -> None:
    subs = [(mask, subscribe(groups=Groups.from_mask(mask))) for mask in ours]
    with Publisher() as pub:
        for i, mask in enumerate(theirs):
            pub.publish(i.to_bytes(2, "big"), Groups.from_mask(mask))
        rows = np.arange(len(theirs), dtype=">u2")
        pub.publish_many(rows, masks=np.array(theirs, np.uint32))
    for mask, sub in subs:
        got = drain(sub)
        wanted = [(i.to_bytes(2, "big"), 0, m) for i, m in enumerate(theirs) if m & mask]
        assert Counter(events(got)) == Counter(wanted + wanted)
        assert not any(b.loss for b in got)
        sub.close()


def test_joining_delivers_events_sent_afterwards(subscribe: Subscribe, publisher: Publisher) -> None:
    sub = subscribe(groups=1)
    publisher.publish(b"missed", 2)
    sub.join((2, 3))
    sub.join(2)
    assert sub.groups == Groups(1, 2, 3)
    assert proc_netlink(sub).groups == 0b111
    for group in (1, 2, 3, 4):
        publisher.publish(bytes([group]), group)
    got = drain(sub)
    assert payloads(got) == [b"\1", b"\2", b"\3"]
    assert not any(b.loss for b in got)


def test_leaving_still_delivers_queued_events(subscribe: Subscribe, publisher: Publisher) -> None:
    sub = subscribe(groups=(1, 2))
    for i in range(500):
        publisher.publish(bytes([i % 256]), (1, 2) if i % 3 else 2)
    sub.leave(2)
    for group in (1, 2):
        publisher.publish(b"later", group)
    got = drain(sub)
    assert payloads(got) == [bytes([i % 256]) for i in range(500)] + [b"later"]
    assert not any(b.loss for b in got)
    assert sub.groups == Groups(1)
    stats = sub.stats()
    assert stats["delivered"] == 501
    assert {s["groups"] for s in stats["streams"]} == {0b11, 0b1}


def test_leaving_all_groups_and_rejoining_is_not_a_loss(subscribe: Subscribe, publisher: Publisher) -> None:
    sub = subscribe(groups=5)
    for _ in range(3):
        publisher.publish(b"heard", 5)
        sub.leave(5)
        assert sub.groups == Groups()
        publisher.publish(b"missed", 5)
        sub.join(5)
    publisher.publish(b"heard", 5)
    got = drain(sub)
    assert payloads(got) == [b"heard"] * 4
    assert not any(b.loss for b in got)


def test_leaving_one_of_two_common_groups_misses_and_repeats_nothing(
    subscribe: Subscribe, publisher: Publisher
) -> None:
    sub = subscribe(groups=(1, 2, 3))
    wanted = []
    for i in range(60):
        publisher.publish(bytes([i]), (1, 2, 3))
        wanted.append(bytes([i]))
        if i % 6 == 0:
            sub.leave(1 + i // 6 % 3)
        if i % 6 == 3:
            sub.join(1 + i // 6 % 3)
    got = drain(sub)
    assert payloads(got) == wanted
    assert not any(b.loss for b in got)


@pytest.mark.timeout(20)
def test_groups_change_from_another_thread_while_recv_waits(
    subscribe: Subscribe, publisher: Publisher
) -> None:
    sub = subscribe(groups=1)
    got: list[bytes] = []

    def consume() -> None:
        for batch in sub:
            got.extend(payloads([batch]))

    consumer = threading.Thread(target=consume)
    consumer.start()
    wait_until(lambda: sub._receiver.busy)
    wanted = []
    for i in range(100):
        sub.join(2)
        publisher.publish(bytes([i, 2]), 2)
        sub.leave(2)
        publisher.publish(b"missed", 2)
        publisher.publish(bytes([i, 1]), 1)
        wanted += [bytes([i, 2]), bytes([i, 1])]
    wait_until(lambda: len(got) >= len(wanted))
    assert sub.stats()["delivered"] == 200
    sub.close()
    consumer.join()
    assert Counter(got) == Counter(wanted)
    assert [e for e in got if e[1] == 1] == [bytes([i, 1]) for i in range(100)]


@pytest.mark.timeout(30)
def test_groups_change_while_a_publisher_never_pauses(subscribe: Subscribe) -> None:
    sub = subscribe(groups=(1, 2))
    stop = threading.Event()
    sent = [0]

    def produce() -> None:
        with Publisher() as pub:
            while not stop.is_set():
                pub.publish_many(np.arange(sent[0], sent[0] + 100), (1, 2, 3))
                sent[0] += 100

    producer = threading.Thread(target=produce)
    producer.start()
    wait_until(lambda: sent[0] > 0)
    ids: list[Any] = []
    loss = 0
    for i in range(300):
        group = 1 + i % 3
        (sub.leave if group in sub.groups and len(sub.groups) > 1 else sub.join)(group)
        while batch := sub.recv(0):
            ids.append(batch.records("<i8").copy())
            loss += batch.loss.events
    stop.set()
    producer.join()
    ids += [b.records("<i8").copy() for b in drain(sub)]
    got = np.concatenate(ids)
    assert np.all(np.diff(got) > 0)
    # The subscriber always belonged to one of the three.
    assert got[-1] == sent[0] - 1
    assert len(got) + sub.stats()["lost"] == sent[0] - got[0]


def test_groups_that_do_not_exist_are_refused_and_change_nothing(subscribe: Subscribe) -> None:
    sub = subscribe(groups=1)
    for wrong in (0, 33, -1, (), [1, 33], b"x", 1.5, True):
        with pytest.raises(SchemaError):
            sub.join(wrong)  # type: ignore[arg-type]
    with pytest.raises(UnknownSource):
        sub.join("link")
    assert sub.groups == Groups(1)
    raw = subscribe("raw:2", groups=1, transport="auto")
    with pytest.raises(KernelError, match="33"):
        raw.join(33)
    assert raw.groups == Groups(1)
    assert len(raw.recv(0)) == 0
