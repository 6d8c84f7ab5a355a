"""Lingering events: what the timer, close() and the end of the program send."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from nlbus import ClosedError, Publisher, Subscriber
from tests.support.sockets import drain, payload, payloads, python
from tests.support.ticks import TICK, linger, ticks

pytestmark = pytest.mark.usefixtures("each_transport")

Subscribe = Callable[..., Subscriber]
EVERY = tuple(range(1, 33))


@pytest.fixture
def sub(subscribe: Subscribe) -> Subscriber:
    return subscribe(groups=EVERY)


def test_the_linger_timer_sends_by_itself(sub: Subscriber) -> None:
    with linger(0.05) as pub:
        start = time.monotonic()
        pub.publish(b"one", 3)
        pub.publish(b"two", 3)
        pub.publish(b"three", 5)
        got = drain(sub, atleast=3)
        took = time.monotonic() - start
    assert sorted(payloads(got)) == [b"one", b"three", b"two"]
    assert 0.045 <= took < 1.0


def test_a_busy_program_does_not_delay_the_timer() -> None:
    """The timer sends while another thread holds the GIL."""
    interval = sys.getswitchinterval()
    with linger(0.001) as pub:
        try:
            sys.setswitchinterval(10)
            pub.publish(b"one", 3)
            busy_until = time.monotonic() + 0.3
            while time.monotonic() < busy_until:
                pass
            sent = [stream["events"] for stream in pub.stats()["streams"]]
        finally:
            sys.setswitchinterval(interval)
    assert sent == [1]


def test_a_full_datagram_does_not_wait_for_the_timer(sub: Subscriber) -> None:
    with linger() as pub:
        for i in range(100):
            pub.publish(payload(1000, i), 3)
        assert payloads(drain(sub)) == [payload(1000, i) for i in range(96)]
        pub.publish_many(ticks(5000), topic=TICK)
        assert payloads(drain(sub))[:4] == [payload(1000, i) for i in range(96, 100)]


def test_single_events_and_arrays_stay_in_order(sub: Subscriber) -> None:
    with linger() as pub:
        for i in range(20):
            pub.publish(ticks(1, 1000 * i)[0], topic=TICK)
            pub.publish_many(ticks(999, 1000 * i + 1), topic=TICK)
    got = np.concatenate([b.records(TICK) for b in drain(sub)])
    assert got["id"].tolist() == list(range(20_000))


def test_close_sends_lingering_events(sub: Subscriber) -> None:
    pub = Publisher(linger=1.0)
    pub.publish(b"last words", 3)
    pub.close()
    pub.close()
    assert payloads(drain(sub)) == [b"last words"]
    for call in (lambda: pub.publish(b"", 3), lambda: pub.publish_many(ticks(1), 3), pub.flush):
        with pytest.raises(ClosedError):
            call()


def test_a_garbage_collected_publisher_sends_lingering_events(sub: Subscriber) -> None:
    before = threading.active_count()
    pub = Publisher(linger=1.0)
    pub.publish(b"last words", 3)
    del pub
    assert payloads(drain(sub)) == [b"last words"]
    assert threading.active_count() == before


def test_the_end_of_the_interpreter_sends_lingering_events(sub: Subscriber, each_transport: str) -> None:
    code = f"""
import nlbus
pub = nlbus.Publisher(linger=1.0, transport={each_transport!r})
pub.publish(b"last words", 3)
"""
    done = subprocess.run(python(code), check=True, capture_output=True, text=True)
    assert done.stderr == ""
    assert payloads(drain(sub)) == [b"last words"]


def test_an_idle_stream_reports_its_lost_tail(subscribe: Subscribe, publisher: Publisher) -> None:
    tiny = subscribe(groups=3, buffer_events=4, on_loss="ignore")
    publisher.publish(b"first", 3)
    assert len(tiny.recv(1)) == 1
    for i in range(100):
        publisher.publish(payload(64, i), 3)
    held = drain(tiny)
    assert sum(b.loss.events for b in held) == 0  # not known yet ...
    dropped = tiny.stats()["dropped"]
    assert dropped > 0
    assert held[-1].loss.open == dropped  # ... but not silent
    tail = tiny.recv(5)
    assert len(tail) == 0
    assert tail.loss.events == dropped == 100 - sum(map(len, held))
    assert tail.loss.open == 0
    assert tail.loss.rows["cause"].tolist() == ["gap"]


def test_closing_reports_a_lost_tail_too(subscribe: Subscribe) -> None:
    tiny = subscribe(groups=3, buffer_events=4, on_loss="ignore")
    with Publisher() as pub:
        pub.publish_many(ticks(1), topic=TICK)
        assert len(tiny.recv(1)) == 1
        for _ in range(50):
            pub.publish_many(ticks(3), topic=TICK)
        got = drain(tiny)
    got += drain(tiny)
    assert sum(map(len, got)) + sum(b.loss.events for b in got) == 150
