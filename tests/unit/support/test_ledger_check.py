"""The checker of the ledger's rounds must detect faults."""

from collections.abc import Iterable
from typing import Any

import pytest

from tests.support.ledger.check import Checker, fewest_datagrams
from tests.support.ledger.truth import NEVER, Call, Change, Event, Gap, Heard, Sent

MS = 1_000_000


def sent(
    count: int = 10, *, closed: bool = True, datagrams: int | None = 11, killed_in: int | None = None
) -> Sent:
    """One event per ms to groups 1 and 2, each in a separate call and datagram."""
    calls = []
    for i in range(count):
        returned = NEVER if i == killed_in else (i + 101) * MS - 1
        calls.append(Call(i, 1, (i + 100) * MS, returned, returned, 1, (i * MS, i * MS + MS // 2)))
    return Sent(0, 0, 0b11, calls, 77, closed, 0xABC, datagrams if closed else None)


def heard(
    serials: Iterable[int], *, lost: int = 0, next_seq: int = 10, next_dgram: int = 11, **more: Any
) -> Heard:
    """A subscriber to group 1 that received these, each in a separate batch."""
    events = [Event(i, 0xABC, 77, 0, 0, 0b11, s, s, s * MS) for i, s in enumerate(serials)]
    gaps = more.pop("gaps", None)
    if gaps is None:
        gaps = []
        at = events[0].serial if events else 0
        for event in events:
            if event.serial > at:
                gaps.append(Gap(event.batch, 0xABC, event.serial - at, (at - 1) * MS, event.serial * MS))
            at = event.serial + 1
        if next_seq > at:
            gaps.append(Gap(len(events), 0xABC, next_seq - at, (at - 1) * MS, NEVER))
    row = {
        "instance": 0xABC, "groups": 0b11, "portid": 77, "delivered": more.pop("since", len(events)),
        "lost": lost, "next_seq": next_seq, "next_dgram": next_dgram,
    }  # fmt: skip
    dropped = more.pop("dropped", lost)
    stats = dict.fromkeys(("malformed", "foreign", "untrusted", "truncated"), 0) | {
        "delivered": len(events), "lost": sum(gap.count for gap in gaps), "dropped": dropped,
        "open": more.pop("open", 0), "datagrams": more.pop("datagrams", 11 - dropped),
        "streams": [row] if events or gaps else [],
    }  # fmt: skip
    stats |= more.pop("stats", {})
    fields: dict[str, Any] = {
        "opened": (0, MS),
        "groups": 1,
        "until": 1000 * MS,
        "closed": 1001 * MS,
        "early": True,
    }
    return Heard("sub", **(fields | more), events=events, gaps=gaps, stats=stats)


def verdict(stream: Sent, subscriber: Heard) -> list[str]:
    return Checker([stream], subscriber).check()


LEFT = [Change(103 * MS + 1, 103 * MS + 2, False, 1), Change(106 * MS - 3, 106 * MS - 2, True, 1)]

RIGHT: dict[str, tuple[Sent, Heard]] = {
    "all came": (sent(), heard(range(10))),
    "a gap": (sent(), heard([0, 1, 5, 6, 7, 8, 9], lost=3)),
    "a tail that the last heartbeat reports": (sent(), heard(range(6), lost=4)),
    "a tail that is open": (
        sent(closed=False), heard(range(6), next_seq=6, next_dgram=6, dropped=4, open=4)
    ),
    "killed in its last call, which may not have sent": (
        sent(closed=False, killed_in=9), heard(range(9), next_seq=9, next_dgram=9)
    ),
    "the beginning was dropped, and is open": (
        sent(), heard(range(3, 10), lost=0, dropped=3, open=3, early=False)
    ),
    "opened late": (sent(), heard(range(4, 10), opened=(102 * MS, 104 * MS), early=False)),
    "left and joined again": (
        sent(), heard([0, 1, 2, 3, 6, 7, 8, 9], gaps=[], changes=LEFT, early=False, since=4)
    ),
}  # fmt: skip

WRONG: dict[str, tuple[Sent, Heard, str]] = {
    "twice": (sent(), heard([0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9]), "twice"),
    "twice, later": (sent(), heard([0, 1, 2, 3, 1, 4, 5, 6, 7, 8, 9]), "twice"),
    "out of order": (sent(), heard([0, 1, 3, 2, 4, 5, 6, 7, 8, 9], gaps=[]), "out of order"),
    "missing in silence": (sent(), heard([0, 1, 5, 6, 7, 8, 9], gaps=[]), "do not fit"),
    "one too few counted": (
        sent(), heard([0, 1, 5, 6, 7, 8, 9], lost=2, gaps=[Gap(2, 0xABC, 2, 0, NEVER)]), "do not fit"
    ),
    "one too many counted": (
        sent(), heard([0, 1, 5, 6, 7, 8, 9], lost=4, gaps=[Gap(2, 0xABC, 4, 0, NEVER)]), "do not fit"
    ),
    "counted in the wrong place": (
        sent(), heard([0, 1, 5, 6, 7, 8, 9], lost=3, gaps=[Gap(5, 0xABC, 3, 0, NEVER)]), "no loss row fits"
    ),
    "stats and rows disagree": (
        sent(), heard([0, 1, 5, 6, 7, 8, 9], lost=2), "stats say"
    ),
    "a loss at a wrong time": (
        sent(), heard([0, 1, 5, 6, 7, 8, 9], lost=3, gaps=[Gap(2, 0xABC, 3, 8 * MS, 9 * MS)]), "published at"
    ),
    "a tail in silence": (
        sent(closed=False), heard(range(6), next_seq=6, next_dgram=6, dropped=4, open=0), "unaccounted"
    ),
    "a tail half in silence": (
        sent(closed=False), heard(range(6), next_seq=6, next_dgram=6, dropped=4, open=3), "unaccounted"
    ),
    "nothing at all in silence": (sent(), heard([], next_seq=0, dropped=0, early=False), "unaccounted"),
    "more open than can be": (sent(), heard(range(10), dropped=0, open=1), "open"),
    "more explained than dropped": (
        sent(closed=True, datagrams=13), heard(range(10), dropped=2, open=0, datagrams=11), "open, must be"
    ),
    "never published": (sent(9), heard(range(10)), "never published"),
    "another's number": (sent(), heard(range(10), stats={"streams": []}), "no such stream"),
    "a stream of nobody": (sent(), heard(range(10), gaps=[Gap(1, 0xDEF, 2)]), "nobody published"),
    "without membership": (sent(), heard(range(10), groups=4), "without membership"),
    "counted while it was no member": (
        sent(),
        heard([0, 1, 2, 3, 6, 7, 8, 9], gaps=[Gap(4, 0xABC, 2)], lost=2, changes=LEFT, early=False),
        "counted as lost",
    ),
    "missing in silence between two changes": (
        sent(),
        heard([0, 2, 3, 6, 7, 8, 9], gaps=[], changes=LEFT, early=False, next_seq=10, dropped=1),
        "counted as lost",
    ),
    "a tail in silence before a change": (
        sent(),
        heard([0, 1, 6, 7, 8, 9], gaps=[], changes=LEFT, early=False, dropped=1),
        "unaccounted",
    ),
    "malformed": (sent(), heard(range(10), stats={"malformed": 1}), "malformed"),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_the_checker_accepts(name: str) -> None:
    assert verdict(*RIGHT[name]) == []


@pytest.mark.parametrize("name", WRONG)
def test_the_checker_rejects(name: str) -> None:
    stream, subscriber, words = WRONG[name]
    found = verdict(stream, subscriber)
    assert any(words in violation for violation in found), found


def test_an_incarnation_without_a_known_instance_does_not_take_the_next_ones() -> None:
    killed = sent(3, closed=False)
    killed.instance = None
    again = sent(closed=False)
    again.incarnation, again.instance = 1, None
    subscriber = heard(range(10), early=False)
    for event in subscriber.events:
        event.incarnation = 1
    subscriber.stats["dropped"] = subscriber.stats["open"] = 3
    assert Checker([killed, again], subscriber).check() == []


def test_a_killed_stream_is_recognised_by_its_heartbeat_alone() -> None:
    killed = sent(3, closed=False)
    killed.instance = None
    subscriber = heard([], early=False, gaps=[], dropped=3, open=3)
    row = {
        "instance": 0xABC,
        "groups": 0b11,
        "portid": 77,
        "delivered": 0,
        "lost": 0,
        "next_seq": 3,
        "next_dgram": 4,
    }
    subscriber.stats["streams"] = [row]
    assert verdict(killed, subscriber) == []


def test_the_minimum_uses_the_datagrams_with_the_most_events() -> None:
    # 64 events in 64 datagrams, 50 in one datagram, 30 in three.
    weights = [(1.0, 64), (50.0, 50), (10.0, 30)]
    assert fewest_datagrams(0, weights) == 0
    assert fewest_datagrams(50, weights) == 1
    assert fewest_datagrams(60, weights) == 2
    assert fewest_datagrams(81, weights) == 5
    # Each was dropped for two groups.
    assert fewest_datagrams(10, [(5.0, 20)]) == 2


def paused(gap: int, coarse: int | None) -> Sent:
    """One event, and `gap` ns after it began another; the coarse clock stood at `coarse` before the first."""
    first, second = 100 * MS, 100 * MS + gap
    calls = [
        Call(0, 1, first, first + MS, first + MS, 1, (first, first + MS), coarse),
        Call(1, 1, second, second + MS, second + MS, 1, (second, second + MS), coarse),
    ]
    return Sent(0, 0, 0b11, calls, 77, True, 0xABC, 3)


@pytest.mark.parametrize("gap", [12 * MS, 60 * MS, 110 * MS])
@pytest.mark.parametrize("late", [0, 90 * MS])
def test_a_heartbeat_comes_as_early_as_the_coarse_clock_lags_and_no_earlier(gap: int, late: int) -> None:
    stream = paused(gap, 100 * MS - late)
    # Only a heartbeat can be the baseline between both.
    row = {"instance": 0xABC, "groups": 0b11, "portid": 77, "delivered": 0, "lost": 0}
    stats = {"streams": [row | {"next_seq": 1, "next_dgram": 2}]}
    only = heard([], gaps=[], next_seq=1, dropped=2, open=2, datagrams=1, early=False, stats=stats)
    found = verdict(stream, only)
    assert any("no datagram can have reported" in one for one in found) == (gap + MS + late < 100 * MS)


@pytest.mark.parametrize("step", [-200 * MS, 200 * MS])
def test_a_step_of_the_wall_clock_is_no_loss_at_a_wrong_time(step: int) -> None:
    def stepped(after: int) -> Sent:
        stream = sent()
        for call in stream.calls[after:]:
            call.wall = (call.wall[0] + step, call.wall[1] + step)
        return stream

    gap = Gap(2, 0xABC, 3, MS, 5 * MS)  # as of the old clock
    for after in range(10):
        found = verdict(stepped(after), heard([0, 1, 5, 6, 7, 8, 9], lost=3, gaps=[gap]))
        assert not any("published at" in one for one in found) or after == 0
    backwards = Gap(2, 0xABC, 3, 5 * MS, MS)
    assert any(
        "a loss from" in one
        for one in verdict(sent(), heard([0, 1, 5, 6, 7, 8, 9], lost=3, gaps=[backwards]))
    )
