"""Records that do not fit, and senders that are not believed, are reported once."""

import time
from collections.abc import Callable, Iterator
from threading import Thread

import numpy as np
import pytest

from nlbus import Publisher, Subscriber, Topic
from tests.support.sockets import NOBODY, Child

Subscribe = Callable[..., Subscriber]

TICK = Topic("tick", [("id", "<u8"), ("px", "<f8")], groups=3, type=0x100)
OTHER_DTYPE = Topic("tick", [("id", "<u8"), ("px", "<i8")], groups=3, type=0x100)
SHORTER = Topic("tick", [("id", "<u8")], groups=3, type=0x100)


@pytest.fixture
def pub() -> Iterator[Publisher]:
    with Publisher(transport="usersock") as pub:
        yield pub


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records]


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        (OTHER_DTYPE, (f"fingerprint {OTHER_DTYPE.fingerprint:#018x}", "import one Topic at both ends")),
        (SHORTER, ("records of 8 bytes", "import one Topic at both ends")),
        (None, ("without a Topic", "publish them with topic=")),
    ],
)
@pytest.mark.parametrize("read", ["records", "table"])
def test_records_of_another_schema_are_reported_once_a_sender(
    topic: Topic | None,
    words: tuple[str, ...],
    read: str,
    pub: Publisher,
    subscribe: Subscribe,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sub = subscribe(topics=[TICK])
    with Publisher(transport="usersock") as second:
        for sender in (pub, second) * 3:
            if topic is None:
                sender.publish_many(np.ones(2, TICK.dtype), groups=3, type=TICK.type)
            else:
                sender.publish_many(np.ones(2, topic.dtype), topic=topic)
            pub.publish_many(np.ones(2, TICK.dtype), topic=TICK)
            for _ in range(4):
                if batch := sub.recv(timeout=0.01):
                    getattr(batch, read)(TICK)
    found = warnings_of(caplog)
    assert len(found) == 2
    assert len({line.partition(" sends ")[0] for line in found}) == 2
    for line in found:
        assert line.removeprefix("bus: ") in sub.explain()
        assert all(word in line for word in words)


def test_records_of_another_size_are_reported(
    pub: Publisher, subscribe: Subscribe, caplog: pytest.LogCaptureFixture
) -> None:
    sub = subscribe(groups=3)
    pub.publish_many(np.ones(2, "<u4"), groups=3)
    pub.publish(b"12345678", 3)
    batch = sub.recv(timeout=1)
    assert len(batch.records("<u8")) + len(sub.recv(timeout=0.01).records("<u8")) == 1
    [line] = warnings_of(caplog)
    assert "records of 4 bytes" in line
    assert "records(<u8) of 8 bytes leaves out" in line


def test_two_topics_of_one_type_are_no_misfits_to_whom_subscribes_to_both(
    pub: Publisher, subscribe: Subscribe, caplog: pytest.LogCaptureFixture
) -> None:
    sub = subscribe(topics=[TICK, OTHER_DTYPE])
    for topic in (TICK, OTHER_DTYPE):
        pub.publish_many(np.ones(2, topic.dtype), topic=topic)
    batch = sub.recv(timeout=1)
    assert sum(len(each.records(TICK)) for each in (batch, sub.recv(timeout=0.01))) == 2
    assert not caplog.records


def test_a_batch_without_a_subscriber_counts_misfits_and_says_nothing(
    pub: Publisher, subscribe: Subscribe, caplog: pytest.LogCaptureFixture
) -> None:
    sub = subscribe(topics=[TICK])
    pub.publish_many(np.ones(2, OTHER_DTYPE.dtype), topic=OTHER_DTYPE)
    batch = sub.recv(timeout=1).copy()
    assert not len(batch.records(TICK))
    assert batch.misfits == 2


def test_a_stranger_is_reported_while_recv_waits_and_among_good_events(
    pub: Publisher, subscribe: Subscribe, child: Callable[..., Child], caplog: pytest.LogCaptureFixture
) -> None:
    sub = subscribe(groups=3)

    def stranger() -> None:
        with Publisher(transport="usersock") as evil:
            evil.publish(b"evil", 3)

    got: list[int] = []
    waiting = Thread(target=lambda: got.append(len(sub.recv())))
    waiting.start()
    child(stranger, uid=NOBODY).result()
    deadline = time.monotonic() + 5
    while not caplog.records and time.monotonic() < deadline:
        time.sleep(0.01)
    assert waiting.is_alive()
    pub.publish(b"good", 3)
    waiting.join(5)
    assert got == [1]
    [line] = warnings_of(caplog)
    assert f"uid {NOBODY} is not believed: pass trust=[" in line
    assert f"--trust {NOBODY}" in line
    assert line.removeprefix("bus: ") in sub.explain()
    child(stranger, uid=NOBODY).result()
    pub.publish(b"good", 3)
    assert sub.recv(timeout=1)
    assert len(caplog.records) == 1
