"""nlbus_publish() and nlbus_reserve() from every context of the kernel."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.guest.helpers import SLOW, Ledger, Tap, generate, numbers, order, payloads

Open = Callable[..., Tap]
CONTEXTS = ["process", "timer", "softirq", "hardirq", "tracepoint", "nmi"]


@pytest.mark.parametrize("call", ["publish", "reserve"])
@pytest.mark.parametrize("context", CONTEXTS)
def test_every_event_arrives_or_is_counted(tap: Open, context: str, call: str) -> None:
    if context == "nmi" and not Path("/sys/kernel/debug/kprobes").exists():
        pytest.skip("nlbus_gen.ko makes NMIs by kprobes: CONFIG_KPROBES; the next test has real ones")
    one = tap(1, 3)
    count = 2000 // SLOW
    outcome = generate(context=context, call=call, count=count, burst=10, size=16, groups=0b101)
    assert outcome.accepted + outcome.full == count
    got = one.drain()
    ledger = Ledger()
    for datagram in got:
        ledger.take(datagram)
    assert (ledger.events, ledger.lost) == (outcome.accepted, outcome.full)
    events = np.frombuffer(b"".join(payloads(got)), [("number", "<u8"), ("thread", "<u4"), ("cpu", "<u4")])
    assert len(set(events["number"].tolist())) == outcome.accepted
    for cpu in set(events["cpu"].tolist()):
        assert (np.diff(events[events["cpu"] == cpu]["number"].astype(np.int64)) > 0).all()


@pytest.mark.timeout(180)
def test_nmis_publish_in_the_midst_of_a_publisher(tap: Open) -> None:
    """Real ones, from another CPU: they hit nlbus_publish() itself and the worker."""
    one = tap(7)
    count = 300 // SLOW
    outcome = order("nmi", 7, count=count, size=200)
    assert outcome.refused == outcome.skipped == 0
    got = one.drain()
    ledger = Ledger()
    for datagram in got:
        ledger.take(datagram)
    assert ledger.events == outcome.accepted
    assert ledger.lost == outcome.full
    came = list(numbers(got))
    assert len(set(came)) == len(came)
    from_nmis = [number for number in came if number < count]
    of_process = [number for number in came if number >= count]
    assert from_nmis == sorted(from_nmis)
    assert of_process == sorted(of_process)
    assert from_nmis
    for data in payloads(got):
        assert data == data[:8] * 25


@pytest.mark.timeout(120)
def test_contexts_in_turn_keep_each_streams_balance(tap: Open) -> None:
    """The same rings and streams, filled from contexts in turn."""
    one = tap(*range(1, 9))
    total = accepted = full = 0
    for context in ("hardirq", "softirq", "tracepoint"):
        for groups in (0b1, 0b11, 0b10000001):
            outcome = generate(context=context, count=1000 // SLOW, burst=50, size=120, groups=groups)
            total += 1000 // SLOW
            accepted += outcome.accepted
            full += outcome.full
    ledger = Ledger()
    for datagram in one.drain():
        ledger.take(datagram)
    assert accepted + full == total
    assert (ledger.events, ledger.lost) == (accepted, full)
