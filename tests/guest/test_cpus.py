"""Processors that go and come, and events on each."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guest.helpers import SLOW, Ledger, Tap, generate, numbers, order
from tests.support.sockets import Child

Open = Callable[..., Tap]
Fork = Callable[..., Child]

ONLINE = Path("/sys/devices/system/cpu/cpu1/online")


@pytest.fixture(autouse=True)
def _all_online() -> None:
    yield
    ONLINE.write_text("1")


def test_events_of_a_processor_that_went_are_delivered(tap: Open) -> None:
    one = tap(1)
    everywhere = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {1})
        order("publish", 1, count=500)
        os.sched_setaffinity(0, {0})
        ONLINE.write_text("0")
        order("publish", 1, count=500, first=500)
        ONLINE.write_text("1")
        os.sched_setaffinity(0, {1})
        order("publish", 1, count=500, first=1000)
    finally:
        ONLINE.write_text("1")
        os.sched_setaffinity(0, everywhere)
    assert sorted(numbers(one.drain())) == list(range(1500))


def test_a_subscriber_that_came_while_a_processor_was_away(tap: Open) -> None:
    ONLINE.write_text("0")
    one = tap(1)
    ONLINE.write_text("1")
    os.sched_setaffinity(0, {1})
    try:
        assert order("publish", 1, count=10).accepted == 10
    finally:
        os.sched_setaffinity(0, {0, 1})
    assert list(numbers(one.drain())) == list(range(10))


@pytest.mark.timeout(180)
def test_processors_go_and_come_under_load(tap: Open, child: Fork) -> None:
    one = tap(1, 2)

    def toggle() -> int:
        for _ in range(6):
            ONLINE.write_text("0")
            time.sleep(0.05)
            ONLINE.write_text("1")
            time.sleep(0.05)
        return 6

    toggling = child(toggle, seconds=150)
    accepted = full = 0
    while toggling.running():
        for context in ("softirq", "hardirq", "process"):
            outcome = generate(context=context, count=300 // SLOW, burst=30, size=32, groups=0b11)
            accepted, full = accepted + outcome.accepted, full + outcome.full
    assert toggling.result() == 6
    ledger = Ledger()
    for datagram in one.drain():
        ledger.take(datagram)
    assert (ledger.events, ledger.lost) == (accepted, full)
