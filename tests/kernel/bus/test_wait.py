"""Waiting: timeouts, descriptors, other threads, close()."""

import asyncio
import os
import select
import threading
import time
import weakref
from collections.abc import Callable

import pytest

import nlbus
from nlbus import BusyError, ClosedError, LossError, Publisher, Subscriber
from tests.support.sockets import NOBODY, Child, Sender, blocked, drain, payloads, wait_until

Subscribe = Callable[..., Subscriber]

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def sub(subscribe: Subscribe) -> Subscriber:
    return subscribe(groups=(1, 2), on_loss="ignore")


def readable(sub: Subscriber) -> bool:
    """Whether select, poll and epoll report it readable; they must agree."""
    fd = sub.fileno()
    by_select = bool(select.select([fd], [], [], 0)[0])
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    with select.epoll() as epoll:
        epoll.register(fd, select.EPOLLIN)
        by_epoll = bool(epoll.poll(0))
    assert by_select == bool(poller.poll(0)) == by_epoll == (nlbus.wait([sub], 0) == [sub])
    return by_select


# Time


@pytest.mark.parametrize("timeout", [0, 0.0, 1e-9])
def test_recv_with_no_time_returns_at_once(sub: Subscriber, publisher: Publisher, timeout: float) -> None:
    start = time.monotonic()
    assert len(sub.recv(timeout)) == 0
    publisher.publish(b"x", 1)
    assert len(sub.recv(timeout)) == 1
    assert time.monotonic() - start < 1


def test_recv_waits_for_its_timeout(sub: Subscriber) -> None:
    for timeout in (0.02, 0.15):
        start = time.monotonic()
        assert len(sub.recv(timeout)) == 0
        assert timeout <= time.monotonic() - start < timeout + 1


def test_recv_without_a_timeout_returns_when_an_event_comes(sub: Subscriber, publisher: Publisher) -> None:
    timer = threading.Timer(0.05, publisher.publish, (b"at last", 2))
    timer.start()
    assert payloads([sub.recv()]) == [b"at last"]
    timer.join()


def test_datagrams_dropped_on_arrival_do_not_end_the_wait(sub: Subscriber, publisher: Publisher) -> None:
    with Sender() as sender:
        timers = [threading.Timer(0.02 * i, sender.send, (b"garbage", 1)) for i in range(1, 4)]
        timers.append(threading.Timer(0.1, publisher.publish, (b"good", 1)))
        for timer in timers:
            timer.start()
        assert payloads([sub.recv(5)]) == [b"good"]
        for timer in timers:
            timer.join()


def test_recv_0_finds_events_after_any_number_of_dropped_datagrams(
    sub: Subscriber, publisher: Publisher
) -> None:
    with Sender() as sender:
        for _ in range(1000):
            sender.send(b"garbage", 1)
        publisher.publish(b"good", 1)
    assert payloads([sub.recv(0)]) == [b"good"]


def test_batches_end_after_the_timeout_or_enough_events(sub: Subscriber, publisher: Publisher) -> None:
    for i in range(3):
        publisher.publish(bytes([i]), 1)
    assert payloads(sub.batches(timeout=0.05)) == [b"\0", b"\1", b"\2"]
    assert payloads(sub.batches(timeout=0.05)) == []
    publisher.publish(b"x", 1)
    assert payloads(sub.batches(stop_after=1)) == [b"x"]
    assert list(sub.batches(stop_after=0)) == []


# Descriptors


def test_fileno_is_readable_exactly_while_there_is_something_to_receive(
    sub: Subscriber, publisher: Publisher
) -> None:
    assert sub.fileno() == sub.fileno()
    assert not readable(sub)
    for _ in range(3):
        publisher.publish(b"x", 1)
    assert readable(sub)
    assert readable(sub)  # level-triggered
    assert len(drain(sub)) == 1
    assert not readable(sub)


def test_fileno_is_readable_for_batches_found_while_leaving(sub: Subscriber, publisher: Publisher) -> None:
    for i in range(300):  # several batches
        publisher.publish(bytes([i % 200]), 2)
    sub.leave(2)
    for _ in range(10):
        assert readable(sub)
        if not (batch := sub.recv(0)):
            break
        if sub.stats()["delivered"] == 300:
            break
    assert batch
    assert not readable(sub)
    sub.join(2)
    assert not readable(sub)
    publisher.publish(b"x", 2)
    assert readable(sub)


def test_fileno_is_readable_for_the_batch_after_a_losserror(
    subscribe: Subscribe, publisher: Publisher
) -> None:
    sub = subscribe(groups=1, buffer_events=3, on_loss="raise")
    publisher.publish(b"x", 1)
    sub.recv(0)
    for _ in range(50):
        publisher.publish(b"x", 1)
    with pytest.raises(LossError):
        sub.recv(0)
    assert readable(sub)
    sub.join(2)  # which signals as well
    assert readable(sub)
    assert sub.recv(0)
    assert not readable(sub)


def test_fileno_works_in_an_event_loop(sub: Subscriber, publisher: Publisher) -> None:
    async def listen() -> list[bytes]:
        loop, got, done = asyncio.get_running_loop(), [], asyncio.Event()

        def ready() -> None:
            got.extend(payloads([sub.recv(0)]))
            if len(got) >= 3:
                done.set()

        loop.add_reader(sub.fileno(), ready)
        for i in range(3):
            publisher.publish(bytes([i]), 1)
            await asyncio.sleep(0.001)
        await asyncio.wait_for(done.wait(), 5)
        loop.remove_reader(sub.fileno())
        return got

    assert asyncio.run(listen()) == [b"\0", b"\1", b"\2"]


def test_wait_returns_the_ready_subscribers(subscribe: Subscribe, publisher: Publisher) -> None:
    subs = [subscribe(groups=g) for g in range(1, 6)]
    assert nlbus.wait(subs, 0) == []
    start = time.monotonic()
    assert nlbus.wait(subs, 0.05) == []
    assert time.monotonic() - start >= 0.04
    publisher.publish(b"x", (2, 4))
    assert set(nlbus.wait(subs, 1)) == {subs[1], subs[3]}
    drain(subs[1])
    assert nlbus.wait(iter(subs), 1) == [subs[3]]
    drain(subs[3])
    timer = threading.Timer(0.05, publisher.publish, (b"x", 5))
    timer.start()
    assert nlbus.wait(subs) == [subs[4]]
    timer.join()
    subs[0].close()
    assert subs[0] in nlbus.wait(subs, None)
    assert nlbus.wait([], 0.01) == nlbus.wait([subs[1]], 0) == []


def test_a_wakeup_left_behind_by_ctrl_c_does_not_spin(sub: Subscriber, publisher: Publisher) -> None:
    sub._receiver.signal()  # as if a batch was about to be returned
    before = time.process_time()
    assert not len(sub.recv(0.5))
    assert time.process_time() - before < 0.25
    assert not readable(sub)
    publisher.publish(b"x", 1)
    assert payloads([sub.recv(1)]) == [b"x"]


# Other threads


@pytest.mark.parametrize("timeout", [None, 15.0])
def test_close_from_another_thread_wakes_recv(sub: Subscriber, timeout: float | None) -> None:
    thread, outcome = blocked(sub, lambda: sub.recv(timeout))
    wait_until(lambda: sub._receiver.busy)
    time.sleep(0.02)
    start = time.monotonic()
    sub.close()
    thread.join()
    assert time.monotonic() - start < 1
    assert isinstance(outcome[0], ClosedError)


def test_iteration_ends_at_close(sub: Subscriber, publisher: Publisher) -> None:
    thread, outcome = blocked(sub, lambda: payloads(sub))
    publisher.publish(b"x", 1)
    wait_until(lambda: sub.stats()["delivered"] == 1)
    time.sleep(0.05)
    sub.close()
    thread.join()
    assert outcome == [[b"x"]]


def test_close_from_another_thread_wakes_wait(subscribe: Subscribe) -> None:
    subs = [subscribe(groups=g) for g in (1, 2)]
    thread, outcome = blocked(subs[0], lambda: nlbus.wait(subs, 10))
    time.sleep(0.1)
    start = time.monotonic()
    subs[1].close()
    thread.join()
    assert time.monotonic() - start < 1
    assert outcome == [[subs[1]]]


def test_a_second_consumer_gets_busyerror_and_disturbs_nobody(sub: Subscriber, publisher: Publisher) -> None:
    thread, outcome = blocked(sub, sub.recv)
    wait_until(lambda: sub._receiver.busy)
    for _ in range(20):
        with pytest.raises(BusyError, match="one consumer"):
            sub.recv(0)
    publisher.publish(b"x", 1)
    thread.join()
    assert payloads(outcome) == [b"x"]  # type: ignore[arg-type]
    assert len(sub.recv(0)) == 0


def test_stats_may_be_called_while_another_thread_receives(sub: Subscriber, publisher: Publisher) -> None:
    got: list[int] = []
    thread, _ = blocked(sub, lambda: got.extend(len(batch) for batch in sub))
    for i in range(200):
        publisher.publish(b"x", 1 + i % 2)
        assert sub.stats()["delivered"] <= i + 1
        assert "bus" in sub.explain()
    wait_until(lambda: sub.stats()["delivered"] == 200)
    sub.close()
    thread.join()
    assert sum(got) == 200


def test_a_subscriber_closed_while_its_membership_changes_stays_readable(sub: Subscriber) -> None:
    fd = sub.fileno()
    assert nlbus.wait([sub], 0) == []
    with sub._paused():
        sub.close()
    assert select.select([fd], [], [], 0)[0]
    assert nlbus.wait([sub], 0) == [sub]


def test_a_call_that_close_overtakes_raises_closederror(sub: Subscriber) -> None:
    receiver = sub._receiver
    with sub._paused():  # which found it open
        sub.close()
        for call in (lambda: receiver.change(3, True), lambda: receiver.send(b""), receiver.fileno):
            with pytest.raises(ClosedError):
                call()


def test_an_endless_stream_of_forgeries_does_not_block_joining(
    sub: Subscriber, child: Callable[..., Child]
) -> None:
    def flood() -> None:
        with Sender() as sender:
            while True:
                sender.send(b"forged" * 10, 1)

    floods = [child(flood, uid=NOBODY) for _ in range(3)]
    wait_until(lambda: bool(nlbus.wait([sub], 0)) or not floods[0].running(), 20)
    if not floods[0].running():
        floods[0].result()  # raises its error, if any
    thread, outcome = blocked(sub, sub.recv)
    wait_until(lambda: sub._receiver.busy)
    time.sleep(0.2)
    sub.join(3)
    sub.leave(3)
    assert sub.stats()["untrusted"] > 0
    sub.close()
    thread.join()
    assert isinstance(outcome[0], ClosedError)


# Memory


def test_having_waited_keeps_no_subscriber_alive(subscribe: Subscribe) -> None:
    subs = [subscribe(groups=1), Subscriber(groups=2)]
    assert nlbus.wait(subs, 0) == []
    gone = weakref.ref(subs[1])
    fd = subs.pop().fileno()
    assert gone() is None
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(fd)
    assert nlbus.wait(subs, 0) == []
    subs.append(subscribe(groups=3))  # reuses the other's memory and descriptor number
    with Publisher() as publisher:
        publisher.publish(b"x", 3)
    assert nlbus.wait(subs, 1) == [subs[1]]
