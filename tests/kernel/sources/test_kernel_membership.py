"""Joins that need the kernel's reply and fail: refused, interrupted, or closed meanwhile."""

import itertools
import struct
import threading
import time
from collections.abc import Callable

import pytest

from nlbus import ClosedError, PermissionDenied, Subscriber
from nlbus.bus import membership
from nlbus.sources import find
from nlbus.sources.probe import probe
from nlbus.sources.proc import process_event
from tests.kernel.sources.test_nflog import _logging, bound, packets, send  # noqa: F401 - a fixture
from tests.support.sockets import drain, payloads

Subscribe = Callable[..., Subscriber]

pytestmark = pytest.mark.timeout(20)


def interrupt_naps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C while waiting for the kernel, which seems not to have replied yet."""

    def nap(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(membership, "_find", lambda handshake, batch, seq: (-1, None))
    monkeypatch.setattr("nlbus.bus.membership.time.sleep", nap)


def acks(sub: Subscriber, seq: int, wanted: int) -> int:
    """The number of the kernel's replies to the request with this number, among other events."""
    found = 0
    give_up = time.monotonic() + 3
    while found < wanted and time.monotonic() < give_up:
        for body in payloads([sub.recv(0.1)]):
            event = process_event(body)
            found += event is not None and event[0] == "none" and body[12:16] == struct.pack("=I", seq + 1)
    return found


def test_events_that_arrive_during_a_refused_join_are_delivered(subscribe: Subscribe) -> None:
    subscribe("nflog", groups=6)
    sub = subscribe("nflog", groups=5)
    send(5, *[bytes([i]) for i in range(100)])
    with pytest.raises(PermissionDenied):
        sub.join(6)
    assert sub.stats()["delivered"] == 0
    send(5, b"\xff")
    got = drain(sub, 0.05)
    assert [packet[-1] for _, packet in packets(got)] == [*range(100), 255]
    assert sub.stats()["delivered"] == sum(map(len, got)) == 101


def test_events_that_arrive_during_an_interrupted_join_are_delivered(
    subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    sub = subscribe("nflog", groups=5)
    send(5, b"\1", b"\2")
    with monkeypatch.context() as patch:
        interrupt_naps(patch)
        with pytest.raises(KeyboardInterrupt):
            sub.join(6)
    assert list(sub.groups) == [5]
    assert bound() == [5]
    send(5, b"\3")
    assert [packet[-1] for _, packet in packets(drain(sub, 0.05))] == [1, 2, 3]


def test_an_interrupted_join_leaves_the_kernel_as_it_was(
    subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch, first_netns: None
) -> None:
    tried = probe(find("proc"))
    if tried is None or not tried.available:
        pytest.skip("this kernel has no process connector" if tried is None else tried.reason)
    other = subscribe("proc", on_loss="ignore")  # receives each request's reply as an event of kind none
    asked_and_taken_back = 2
    with monkeypatch.context() as patch:
        interrupt_naps(patch)
        patch.setattr(membership, "_numbers", itertools.count(0x7654_3210))
        with pytest.raises(KeyboardInterrupt):
            Subscriber("proc")
    assert acks(other, 0x7654_3210, asked_and_taken_back) == asked_and_taken_back
    sub = subscribe("proc")
    sub.leave("proc")
    with monkeypatch.context() as patch:
        interrupt_naps(patch)
        patch.setattr(membership, "_numbers", itertools.count(0x7654_3220))
        with pytest.raises(KeyboardInterrupt):
            sub.join("proc")
    assert not sub.groups
    assert acks(other, 0x7654_3220, asked_and_taken_back) == asked_and_taken_back
    drain(sub)
    assert payloads(drain(sub, 0.05)) == []  # and it is no longer a member


def test_a_join_interrupted_by_close_raises_an_error(
    subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    sub = subscribe("nflog", groups=5)
    began = threading.Event()
    monkeypatch.setattr(membership, "_find", lambda handshake, batch, seq: began.set() or (-1, None))
    closer = threading.Thread(target=lambda: began.wait() and sub.close())
    closer.start()
    with pytest.raises(ClosedError):
        sub.join(6)
    closer.join()
    assert bound() == []
