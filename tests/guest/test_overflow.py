"""A full buffer loses events: each is counted, and leaves a gap in its stream."""

import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable

import pytest

from tests.guest.control import stats
from tests.guest.helpers import SLOW, Ledger, Tap, generate, order

Open = Callable[..., Tap]
Reload = Callable[..., None]


def balance(one: Tap) -> Ledger:
    ledger = Ledger()
    for datagram in one.drain(0.5):
        ledger.take(datagram)
    assert one.dropped() == 0
    return ledger


@pytest.mark.parametrize("context", ["process", "hardirq"])
def test_what_the_ring_does_not_take_is_a_gap_of_exactly_so_many(
    reload: Reload, tap: Open, context: str
) -> None:
    reload(buffer_bytes=65536)
    one = tap(1)
    outcome = generate(context=context, count=20_000 // SLOW, burst=400, size=500)
    assert outcome.full > 0
    ledger = balance(one)
    assert (ledger.events, ledger.lost) == (outcome.accepted, outcome.full)
    assert stats(0)["overflow"] == outcome.full
    assert stats(1)["overflow"] == outcome.full


def test_each_mask_loses_its_own(reload: Reload, tap: Open) -> None:
    reload(buffer_bytes=65536)
    taps = {group: tap(group) for group in (1, 2, 3)}
    outcomes = {g: generate(count=20_000 // SLOW, size=400 * g, groups=1 << (g - 1)) for g in taps}
    for group, one in taps.items():
        ledger = balance(one)
        assert (ledger.events, ledger.lost) == (outcomes[group].accepted, outcomes[group].full)


def by_mask(one: Tap) -> dict[int, Ledger]:
    """The books of each mask."""
    ledgers: dict[int, Ledger] = defaultdict(Ledger)
    for datagram in one.drain(0.5):
        ledgers[datagram.header["groups"]].take(datagram)
    assert one.dropped() == 0
    return ledgers


@pytest.mark.timeout(180)
def test_more_masks_lose_one_after_the_other_than_a_processor_counts_at_a_time(
    reload: Reload, tap: Open
) -> None:
    """Slots of the table serve again once the worker has seen them."""
    reload(buffer_bytes=65536)
    one = tap(1)
    lost = {}
    for i in range(40):
        groups = 1 | i << 8
        lost[groups] = generate(context="hardirq", count=200, burst=200, size=1000, groups=groups).full
    assert min(lost.values()) > 0
    assert {groups: ledger.lost for groups, ledger in by_mask(one).items()} == lost
    assert stats(0)["overflow"] == sum(lost.values())


@pytest.mark.timeout(180)
def test_each_of_many_masks_loses_its_own_in_one_burst(reload: Reload, tap: Open) -> None:
    """More masks than there are streams."""
    reload(buffer_bytes=65536)
    one = tap(1)
    count = 900
    outcome = order("masks", 1, size=2000, count=count)
    assert outcome.accepted < 40
    assert outcome.accepted + outcome.full == count
    books = by_mask(one)
    assert {groups: ledger.events + ledger.lost for groups, ledger in books.items()} == {
        1 | i << 8: 1 for i in range(count)
    }
    assert sum(ledger.lost for ledger in books.values()) == outcome.full


def test_a_loss_before_anything_was_heard_is_told_too(reload: Reload, tap: Open) -> None:
    """A subscriber counts from the first datagram of a stream that it sees."""
    reload(buffer_bytes=65536)
    one = tap(1, 2)
    outcome = generate(context="hardirq", count=2000, burst=2000, size=1000, groups=0b11)
    assert outcome.full > 1500
    ledger = balance(one)
    assert (ledger.events, ledger.lost) == (outcome.accepted, outcome.full)


def test_the_buffer_serves_again_when_it_was_full(reload: Reload, tap: Open) -> None:
    reload(buffer_bytes=65536)
    one = tap(1)
    generate(count=20_000 // SLOW, size=500)
    one.drain()
    assert order("publish", 1, count=100).accepted == 100
    assert len([d for d in one.drain() if d.header["count"]]) > 0


def test_a_full_subscriber_loses_by_the_ledger_and_harms_no_other(tap: Open) -> None:
    small, large = tap(1, buffer=2048), tap(1)
    order("publish", 1)
    small.receive(1), large.receive(1)
    for i in range(1, 200):
        order("publish", 1, first=i, size=1000)
    assert balance(large).lost == 0
    ledger = Ledger()
    got = small.drain()
    order("publish", 1, first=200)
    for datagram in [*got, *small.drain()]:
        ledger.take(datagram)
    assert small.dropped() > 0
    assert ledger.lost > 0
    assert ledger.events + ledger.lost == 200


@pytest.mark.timeout(180)
def test_processor_load_delays_but_loses_nothing_uncounted(tap: Open) -> None:
    one = tap(1, buffer=1 << 28)
    burn = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        outcome = generate(count=50_000 // SLOW, size=64, threads=2)
        ledger = balance(one)
    finally:
        for process in burn:
            process.kill()
            process.wait()
    assert outcome.accepted + outcome.full == 2 * (50_000 // SLOW)
    assert (ledger.events, ledger.lost) == (outcome.accepted, outcome.full)
