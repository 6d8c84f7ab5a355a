"""A subscriber's explanation, its refusals, and its treatment of loss."""

import logging
import select
import time
from collections.abc import Callable
from typing import NoReturn

import numpy as np
import pytest

from nlbus import ClosedError, Groups, LossError, Publisher, SchemaError, Subscriber, Topic
from tests.support.sockets import (
    Child,
    Sender,
    drain,
    lost,
    one_event,
    payload,
    payloads,
    portid,
    proc_netlink,
)
from tests.support.ticks import TICK

Subscribe = Callable[..., Subscriber]
Fork = Callable[..., Child]
BIG = Topic("big", [("data", "S900")], groups=(4, 5))
EVENT_CHARGE = 832  # per event of up to 256 bytes


def overrun(publisher: Publisher, events: int = 60, groups: int = 3) -> None:
    for i in range(events):
        publisher.publish(payload(64, i), groups)


@pytest.fixture
def tiny(subscribe: Subscribe, request: pytest.FixtureRequest) -> Subscriber:
    """A subscriber whose buffer holds ten events."""
    return subscribe(groups=3, buffer_events=10, on_loss=getattr(request, "param", "ignore"))


def test_topics_join_their_groups(subscribe: Subscribe, publisher: Publisher) -> None:
    sub = subscribe(topics=[TICK, BIG])
    assert sub.groups == Groups(3, 4, 5)
    assert proc_netlink(sub).groups == 0b11100
    publisher.publish(bytes(16), topic=TICK)
    publisher.publish(bytes(900), topic=BIG)
    publisher.publish(b"not for us", 6)
    got = drain(sub)
    assert sum(len(b.records(TICK)) for b in got) == sum(len(b.records(BIG)) for b in got) == 1
    assert subscribe(topics=[TICK], groups=9).groups == Groups(3, 9)


def test_topics_belong_to_the_bus() -> None:
    with pytest.raises(SchemaError, match="bus"):
        Subscriber("raw:2", groups=1, topics=[TICK])


@pytest.mark.parametrize(
    "wrong",
    [
        {"on_loss": "explode"},
        {"transport": "pigeon"},
        {"trust": "root"},
        {"trust": ["root"]},
        {"trust": [-1]},
        {"trust": [1 << 40]},
        {"trust": range(100)},
        {"buffer_events": 0},
    ],
    ids=str,
)
def test_arguments_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SchemaError):
        Subscriber(groups=1, **wrong)  # type: ignore[arg-type]


def test_explain_describes_sockets_buffer_and_trust(subscribe: Subscribe) -> None:
    sub = subscribe(topics=[TICK], buffer_events=10)
    text = sub.explain()
    for part in (
        "bus",
        "NETLINK_USERSOCK",
        f"portid {portid(sub)}",
        "groups 3",
        "uid 0",
        "11 single events of 112",
    ):
        assert part in text
    assert "any process" in subscribe(groups=1, trust="any").explain()
    assert "the kernel alone" in subscribe("route").explain()
    assert "link" in subscribe("route").explain()
    assert "udev" in subscribe("uevent", groups=("kernel", "udev")).explain()
    assert "(3)" in repr(sub)


def test_stats_count_events_memory_and_streams(subscribe: Subscribe, publisher: Publisher) -> None:
    sub = subscribe(groups=(3, 4))
    publisher.publish_many(np.zeros(50, TICK.dtype), (3, 4), 1)
    publisher.publish(b"x", 3)
    queued = sub.stats()
    assert queued["buffer_used"] == proc_netlink(sub).rmem > 0
    assert queued["delivered"] == 0
    batches = drain(sub)
    stats = sub.stats()
    assert stats["delivered"] == 51
    assert stats["copies"] == 1
    assert stats["datagrams"] == 3
    assert stats["lost"] == stats["open"] == stats["dropped"] == stats["malformed"] == stats["foreign"] == 0
    assert stats["buffer_used"] == 0
    assert stats["memory"] > 0
    assert {(s["groups"], s["delivered"], s["uid"]) for s in stats["streams"]} == {
        (0b1100, 50, 0),
        (0b100, 1, 0),
    }
    assert {s["portid"] for s in stats["streams"]} == {publisher.portid}
    del batches
    assert sub.stats()["memory"] == 0
    sub.close()
    for call in (sub.stats, sub.explain, sub.fileno, sub.recv, lambda: sub.join(4), lambda: sub.leave(3)):
        with pytest.raises(ClosedError):
            call()
    assert sub.closed
    assert "closed" in repr(sub)


@pytest.mark.parametrize("topic", [TICK, BIG], ids=lambda t: t.name)
def test_the_buffer_holds_the_requested_number_of_events(
    subscribe: Subscribe, publisher: Publisher, topic: Topic
) -> None:
    sub = subscribe(topics=[topic], buffer_events=50)
    row = np.zeros((), topic.dtype)[()]
    for _ in range(50):
        publisher.publish(row, min(topic.groups), topic=topic)
    got = drain(sub)
    assert sum(map(len, got)) == 50
    assert sub.stats()["dropped"] == 0


def test_a_buffer_smaller_than_requested_causes_a_warning(child: Fork) -> None:
    def work() -> tuple[str, int]:
        with pytest.warns(RuntimeWarning, match="rmem_max") as caught:
            sub = Subscriber("route", buffer_events=2_000_000)
        return str(caught[0].message), sub.stats()["buffer_size"]

    message, size = child(work, uid=65534).result()
    assert str(size) in message
    assert "CAP_NET_ADMIN" in message


# Loss


@pytest.mark.parametrize("tiny", ["ignore"], indirect=True)
def test_a_gap_is_counted_exactly_and_dated(tiny: Subscriber, publisher: Publisher) -> None:
    publisher.publish(b"baseline", 3)
    got = drain(tiny)
    overrun(publisher)
    got += drain(tiny)
    before = time.time_ns()
    publisher.publish(b"after", 3)
    batch = tiny.recv(1)
    row = batch.loss.rows[0]
    assert payloads([batch]) == [b"after"]
    assert lost([*got, batch]) == 62 - sum(map(len, got)) - 1
    assert row["cause"] == "gap"
    assert row["exact"]
    assert row["stream"] == publisher.stats()["streams"][0]["instance"]
    assert row["earliest"] < before <= row["latest"]
    stats = tiny.stats()
    assert stats["dropped"] == stats["lost"] == row["count"] == proc_netlink(tiny).drops
    assert stats["open"] == batch.loss.open == 0


@pytest.mark.parametrize("tiny", ["raise"], indirect=True)
def test_loss_raises_before_the_batch_that_the_next_recv_returns(
    tiny: Subscriber, publisher: Publisher
) -> None:
    publisher.publish(b"baseline", 3)
    assert len(tiny.recv(1)) == 1
    overrun(publisher)
    with pytest.raises(LossError, match="bus") as caught:
        tiny.recv(0)
    assert caught.value.loss.open > 0  # type: ignore[attr-defined]
    held = tiny.recv(0)
    assert len(held) > 0
    assert held.loss is caught.value.loss
    publisher.publish(b"after", 3)
    with pytest.raises(LossError) as caught:
        tiny.recv(1)
    assert caught.value.loss.events == 60 - len(held)  # type: ignore[attr-defined]
    assert payloads([tiny.recv(0)]) == [b"after"]
    assert len(tiny.recv(0)) == 0
    assert tiny.stats()["delivered"] == len(held) + 2


@pytest.mark.timeout(10)
@pytest.mark.parametrize("tiny", ["raise"], indirect=True)
def test_loss_without_events_raises_once_too(tiny: Subscriber, publisher: Publisher) -> None:
    publisher.publish(b"baseline", 3)
    tiny.recv(1)
    overrun(publisher)
    with pytest.raises(LossError):
        tiny.recv(0)
    tiny.recv(0)
    with pytest.raises(LossError) as caught:  # the heartbeat reports the tail
        tiny.recv(5)
    empty = tiny.recv(None)
    assert len(empty) == 0
    assert empty.loss is caught.value.loss
    assert len(tiny.recv(0.05)) == 0
    publisher.publish(b"next", 3)
    assert payloads([tiny.recv(1)]) == [b"next"]


@pytest.mark.parametrize("tiny", ["raise"], indirect=True)
def test_loss_found_while_leaving_raises_before_its_batch(tiny: Subscriber, publisher: Publisher) -> None:
    publisher.publish(b"baseline", 3)
    tiny.recv(1)
    overrun(publisher)
    tiny.leave(3)
    with pytest.raises(LossError):
        tiny.recv(0)
    held = tiny.recv(0)
    assert len(held) > 0
    assert tiny.stats()["delivered"] == len(held) + 1


@pytest.mark.parametrize("tiny", ["log"], indirect=True)
def test_loss_is_logged_at_most_once_per_second_and_completely(
    tiny: Subscriber, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.publish(b"baseline", 3)
    tiny.recv(1)
    with caplog.at_level(logging.WARNING, "nlbus"):
        for _ in range(20):
            overrun(publisher)
            drain(tiny)
    assert 1 <= len(caplog.records) <= 2
    assert "bus" in caplog.text


@pytest.mark.parametrize("tiny", ["ignore"], indirect=True)
def test_ignored_loss_is_still_counted(
    tiny: Subscriber, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.publish(b"baseline", 3)
    overrun(publisher)
    assert any(b.loss for b in drain(tiny))
    assert not caplog.records


def test_a_killed_publishers_tail_stays_open(subscribe: Subscribe, child: Fork) -> None:
    tiny = subscribe(groups=3, buffer_events=10, on_loss="ignore")

    alive = []

    def work() -> None:
        alive.append(Publisher())
        overrun(alive[0])  # the child ends at once, without a heartbeat

    child(work).result()
    got = drain(tiny)
    assert lost(got) == 0
    assert got[-1].loss.open == 60 - sum(map(len, got)) > 0
    assert not tiny.recv(0.3).loss  # reported once
    assert tiny.stats()["open"] == got[-1].loss.open


def test_a_raw_source_counts_dropped_datagrams(subscribe: Subscribe) -> None:
    raw = subscribe("raw:2", groups=3, buffer_events=10, on_loss="ignore")
    before = time.time_ns()
    with Sender() as sender:
        for i in range(100):
            sender.send(one_event(payload(64, i), groups=4), 3)
    batch = raw.recv(0)
    after = time.time_ns()
    [row] = batch.loss.rows
    assert len(batch) + batch.loss.datagrams == 100
    assert batch.loss.datagrams == row["count"] == proc_netlink(raw).drops
    assert (row["cause"], row["stream"], row["exact"]) == ("overrun", 0, False)
    assert before - 10**9 < row["earliest"] <= row["latest"] <= after
    assert batch.loss.open == batch.loss.events == 0
    assert not raw.recv(0).loss


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_a_batch_that_could_not_be_made_is_returned_by_the_next_recv(
    subscribe: Subscribe, publisher: Publisher, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    sub = subscribe(groups=1)
    publisher.publish(b"one", groups=1)

    def fail(*_: object) -> NoReturn:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("nlbus.bus.reception.Batch", fail)
        with pytest.raises(error):
            sub.recv(1)
    assert select.select([sub], [], [], 0)[0] == [sub]
    assert sub.recv(0).payload(0) == b"one"
    assert not sub.recv(0)
    assert select.select([sub], [], [], 0)[0] == []
    stats = sub.stats()
    assert (stats["delivered"], stats["lost"]) == (1, 0)
