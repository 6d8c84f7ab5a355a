"""What strangers may do to the ledger of a subscriber that believes any process."""

import itertools
from collections.abc import Callable

import pytest

from nlbus import Subscriber
from tests.support.reference import U64_MAX
from tests.support.sockets import Sender, drain, one_event

Subscribe = Callable[..., Subscriber]
STREAMS = 17_000  # more than a ledger has


def flood(sender: Sender, sub: Subscriber, first: int, count: int) -> int:
    """One datagram of each of so many streams; how many arrived."""
    got = 0
    for at in range(first, first + count, 500):
        for instance in range(at, min(at + 500, first + count)):
            sender.send(one_event(b"flood", instance=instance, groups=0b11))
        got += sum(map(len, drain(sub)))
    return got


def test_an_honest_event_comes_once_however_many_streams_come_between_its_copies(
    subscribe: Subscribe,
) -> None:
    sub = subscribe(groups=(1, 2), trust="any")
    with Sender() as honest, Sender() as other:
        event = one_event(b"once", instance=1, groups=0b11)
        honest.send(event, group=1)
        assert sum(map(len, drain(sub))) == 1
        assert flood(other, sub, 2, STREAMS) == STREAMS
        honest.send(event, group=2)
        assert sum(map(len, drain(sub))) == 0
    stats = sub.stats()
    assert stats["evicted"] > 0
    assert stats["copies"] == 1


def test_lost_saturates_in_stats(subscribe: Subscribe) -> None:
    sub = subscribe(groups=(1,))
    with Sender() as liar:
        for instance, (dgram, seq) in itertools.product((1, 2), ((0, 0), (1, U64_MAX - 10))):
            liar.send(one_event(b"lie", instance=instance, dgram_seq=dgram, first_seq=seq))
    drain(sub)
    assert sub.stats()["lost"] == U64_MAX


def test_a_flood_by_those_who_are_not_believed_does_not_grow_the_buffer(
    subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlbus.bus.options.DEFAULT_BUFFER", 1 << 16)
    sub = subscribe(groups=(1,), trust=[4321], on_loss="ignore")
    with Sender() as other:
        for instance in range(300):
            other.send(one_event(b"flood", instance=instance))
    drain(sub)
    stats = sub.stats()
    assert stats["dropped"] > 0
    assert stats["untrusted"] > 0
    assert stats["buffer_grown"] == 0
