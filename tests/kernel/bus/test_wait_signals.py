"""Signals during a wait, and deadlines that they do not extend."""

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable

import pytest

import nlbus
from nlbus import BusyError, ClosedError, Groups, Publisher, Subscriber
from tests.support.sockets import Sender, blocked, one_event, payloads, python

Subscribe = Callable[..., Subscriber]

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def sub(subscribe: Subscribe) -> Subscriber:
    return subscribe(groups=(1, 2), on_loss="ignore")


def test_a_signal_handler_may_join_and_leave(subscribe: Subscribe, publisher: Publisher) -> None:
    sub = subscribe(groups=(1, 2))
    publisher.publish(b"queued", 2)

    def change(*_: object) -> None:
        publisher.publish(b"more", 2)
        sub.leave(2)
        sub.join(3)
        publisher.publish(b"x", 3)

    previous = signal.signal(signal.SIGUSR1, change)
    timer = threading.Timer(0.1, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1))
    try:
        assert payloads([sub.recv(1)]) == [b"queued"]
        timer.start()
        got = payloads(sub.batches(timeout=0.3))
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert got == [b"more", b"x"]
    assert sub.groups == Groups(1, 3)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_signal_handler_may_interrupt_the_calls_it_makes_itself(sub: Subscriber, elsewhere: bool) -> None:
    seen = []

    def look(*_: object) -> None:
        with contextlib.suppress(BusyError):
            seen.append(sub.stats()["delivered"])
        with contextlib.suppress(BusyError):
            sub.recv(0)

    consumer, outcome = blocked(sub, sub.recv) if elsewhere else (None, [])
    previous = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        give_up = time.monotonic() + 0.5
        while time.monotonic() < give_up:
            sub.join(3)
            sub.stats()
            sub.leave(3)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert set(seen) == {0}
    assert sub.groups == Groups(1, 2)
    assert not sub._receiver.paused
    if consumer:
        sub.close()
        consumer.join()
        assert isinstance(outcome[0], (ClosedError, BusyError))  # the handler may have been faster


def test_a_signal_handler_runs_while_recv_waits_and_the_wait_goes_on(
    sub: Subscriber, publisher: Publisher
) -> None:
    seen: list[object] = []
    previous = signal.signal(signal.SIGUSR1, lambda *_: seen.append(sub.stats()["delivered"]))
    timers = [
        threading.Timer(0.05, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1)),
        threading.Timer(0.15, publisher.publish, (b"x", 1)),
    ]
    try:
        for timer in timers:
            timer.start()
        assert payloads([sub.recv(10)]) == [b"x"]
        for timer in timers:
            timer.join()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert seen == [0]


def test_a_signal_handler_may_close(sub: Subscriber) -> None:
    previous = signal.signal(signal.SIGUSR1, lambda *_: sub.close())
    timer = threading.Timer(0.05, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1))
    try:
        timer.start()
        with pytest.raises(ClosedError):
            sub.recv(10)
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, previous)


@pytest.mark.parametrize(
    "wait", [lambda sub: sub.recv(), lambda sub: nlbus.wait([sub])], ids=["recv", "wait"]
)
def test_a_signal_caught_by_another_thread_interrupts_too(
    sub: Subscriber, wait: Callable[[Subscriber], object]
) -> None:
    # So does a signal in the moment before the wait's system call.
    def handler(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGUSR1, handler)
    timer = threading.Timer(0.3, signal.raise_signal, (signal.SIGUSR1,))
    try:
        timer.start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            wait(sub)
        assert time.monotonic() - start < 3
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert len(sub.recv(0)) == 0


@pytest.mark.parametrize("wait", ["sub.recv()", "list(sub)", "nlbus.wait([sub])"])
def test_ctrl_c_interrupts(wait: str) -> None:
    code = f"""
import nlbus
sub = nlbus.Subscriber(groups=1)
print("ready", flush=True)
try:
    {wait}
except KeyboardInterrupt:
    assert len(sub.recv(0)) == 0
    print("interrupted", flush=True)
"""
    with subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "interrupted\n"
        assert time.monotonic() - start < 2
    assert process.returncode == 0


def test_an_endless_stream_of_rubbish_does_not_delay_recvs_timeout(sub: Subscriber) -> None:
    stop = threading.Event()

    def flood() -> None:
        with Sender() as sender:
            while not stop.is_set():
                for _ in range(100):
                    sender.send(one_event(b"x", groups=0), 1)

    thread = threading.Thread(target=flood)
    thread.start()
    for timeout in (0.1, 0):
        start = time.monotonic()
        assert len(sub.recv(timeout)) == 0
        assert time.monotonic() - start < 3
    stop.set()
    thread.join()
