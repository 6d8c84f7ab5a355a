"""The ledger over datagrams made of bytes; and the checker of the kernel rounds, which must see faults."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus import Batch
from tests.kernel.ledger_check import (
    NEVER,
    Call,
    Change,
    Checker,
    Event,
    Gap,
    Heard,
    Sent,
    fewest_datagrams,
)
from tests.reference import U64_MAX, bus_batch, chain


def one(
    dgram: int, first: int, count: int = 1, *, instance: int = 1, groups: int = 1, **fields: int
) -> bytes:
    """A datagram with one batch of `count` events of 8 bytes; count 0 is a heartbeat."""
    return bus_batch(
        bytes(8 * count), record_size=8, count=count, instance=instance, groups=groups, first_seq=first,
        dgram_seq=dgram, **fields,
    )  # fmt: skip


def read(*datagrams: bytes) -> Batch:
    return Batch.from_datagrams("bus", datagrams)


def rows(batch: Batch) -> list[tuple[int, int]]:
    """(stream, count) of each loss."""
    return [(int(row["stream"]), int(row["count"])) for row in batch.loss.rows]


def seqs(batch: Batch) -> list[int]:
    return batch.events["seq"].tolist()  # type: ignore[no-any-return]


# One stream


def test_the_first_datagram_seen_is_the_baseline_whatever_its_numbers() -> None:
    batch = read(one(700, 9000, 3), one(701, 9003))
    assert seqs(batch) == [9000, 9001, 9002, 9003]
    assert not batch.loss


def test_a_heartbeat_can_be_the_baseline() -> None:
    batch = read(one(5, 40, 0), one(7, 42))
    assert seqs(batch) == [42]
    assert rows(batch) == [(1, 2)]


def test_copies_are_dropped_and_counted() -> None:
    datagram = one(0, 0, 4, groups=0b111)
    batch = read(datagram, datagram, datagram, one(1, 4, 4, groups=0b111))
    assert seqs(batch) == list(range(8))
    assert batch.counts == {"malformed": 0, "foreign": 0, "copies": 2}
    assert not batch.loss


def test_a_datagram_that_was_sent_again_is_a_copy_to_those_who_had_it() -> None:
    batch = read(one(0, 0), one(1, 1), one(1, 1, repeats=1), one(1, 1, repeats=2), one(2, 2, repeats=2))
    assert seqs(batch) == [0, 1, 2]
    assert batch.counts["copies"] == 2
    assert not batch.loss


def test_a_late_copy_of_an_older_datagram_is_dropped_too() -> None:
    batch = read(one(0, 0), one(1, 1), one(0, 0), one(1, 1), one(2, 2))
    assert seqs(batch) == [0, 1, 2]
    assert batch.counts["copies"] == 2


def test_a_gap_is_counted_exactly_with_its_times() -> None:
    batch = read(
        one(0, 0, 2, time_ns=1000),
        one(1, 2, 0, time_ns=2000),
        one(4, 9, 1, time_ns=5000),
        one(9, 17, 2, time_ns=7000),
    )
    assert seqs(batch) == [0, 1, 9, 17, 18]
    assert rows(batch) == [(1, 7), (1, 7)]
    assert batch.loss.events == 14
    assert batch.loss.rows["exact"].all()
    assert set(batch.loss.rows["cause"]) == {"gap"}
    assert batch.loss.rows["earliest"].tolist() == [2000, 5000]
    assert batch.loss.rows["latest"].tolist() == [5000, 7000]


def test_a_lost_heartbeat_loses_no_event() -> None:
    batch = read(one(0, 0), one(3, 1))
    assert seqs(batch) == [0, 1]
    assert not batch.loss


def test_a_heartbeat_tells_of_a_lost_tail_and_is_no_event() -> None:
    batch = read(one(0, 0, 2), one(3, 10, 0))
    assert seqs(batch) == [0, 1]
    assert rows(batch) == [(1, 8)]


def test_a_repeated_heartbeat_tells_nothing_new() -> None:
    beat = one(3, 10, 0, groups=3)
    batch = read(one(0, 0, 2, groups=3), beat, beat)
    assert rows(batch) == [(1, 8)]
    assert batch.counts["copies"] == 1


def test_the_largest_numbers_are_fine() -> None:
    batch = read(one(U64_MAX - 2, U64_MAX - 4, 2), one(U64_MAX - 1, U64_MAX - 1, 1))
    assert seqs(batch) == [U64_MAX - 4, U64_MAX - 3, U64_MAX - 1]
    assert rows(batch) == [(1, 1)]
    assert batch.counts["malformed"] == 0


def test_a_jump_over_all_numbers_is_one_gap() -> None:
    batch = read(one(0, 0), one(U64_MAX - 1, U64_MAX - 1))
    assert rows(batch) == [(1, U64_MAX - 2)]


# Chains


def chained(dgram: int, first: int, *counts: int, groups: int = 1, instance: int = 1) -> bytes:
    """One datagram with a batch of another type for each count."""
    parts = []
    for kind, count in enumerate(counts):
        parts.append(one(dgram, first, count, type=kind, groups=groups, instance=instance))
        first += count
    return chain(*parts)


def test_batches_of_different_types_in_one_datagram_are_all_delivered() -> None:
    batch = read(chained(0, 0, 2, 3, 1), chained(1, 6, 1, 1))
    assert seqs(batch) == list(range(8))
    assert batch.events["type"].tolist() == [0, 0, 1, 1, 1, 2, 0, 1]
    assert not batch.loss


def test_the_second_copy_of_a_chain_is_dropped_whole() -> None:
    datagram = chained(0, 0, 2, 3, 1, groups=3)
    batch = read(datagram, datagram, chained(1, 6, 2, groups=3))
    assert seqs(batch) == list(range(8))
    assert batch.counts["copies"] == 3
    assert not batch.loss


def test_a_malformed_batch_within_a_chain_is_counted_as_lost_events() -> None:
    middle = one(0, 2, 3, type=1, flags=0x8000)
    batch = read(chain(one(0, 0, 2), middle, one(0, 5, 1, type=2)))
    assert seqs(batch) == [0, 1, 5]
    assert rows(batch) == [(1, 3)]
    assert batch.counts["malformed"] == 1


def test_a_chain_may_name_several_streams() -> None:
    batch = read(chain(one(0, 0), one(0, 10, instance=2)), chain(one(1, 1), one(2, 14, instance=2)))
    assert seqs(batch) == [0, 10, 1, 14]
    assert rows(batch) == [(2, 3)]


# What contradicts its own stream


@pytest.mark.parametrize(
    "stray",
    [one(1, 2, 1), one(1, 0, 9), one(5, 3, 1), chain(one(1, 3, 1), one(1, 5, 1))],
    ids=["first_seq goes back", "overlaps", "goes back behind a gap", "first batch of a chain"],
)
def test_events_that_were_delivered_before_are_malformed(stray: bytes) -> None:
    batch = read(one(0, 0, 4), stray, one(9, 4, 2))
    got = seqs(batch)
    assert len(set(got)) == len(got)
    assert got[:4] == [0, 1, 2, 3]
    assert batch.counts["malformed"] >= 1
    assert len(got) + batch.loss.events + min(got) == max(got) + 1


def test_the_rest_of_a_chain_that_goes_back_is_malformed() -> None:
    batch = read(chain(one(0, 0, 4), one(0, 2, 4), one(0, 4, 1)))
    assert seqs(batch) == [0, 1, 2, 3, 4]
    assert batch.counts["malformed"] == 1


# Many streams


def test_streams_are_told_apart_by_instance_and_by_groups() -> None:
    batch = read(
        one(0, 0),
        one(0, 0, instance=2),
        one(0, 0, groups=2),
        one(2, 5, instance=2),
        one(1, 1, groups=2),
        one(1, 1),
    )
    assert len(batch) == 6
    assert rows(batch) == [(2, 4)]


@pytest.mark.parametrize("streams", [31, 32, 33, 1000, 5000, 16384])
def test_interleaved_streams_keep_books_of_their_own(streams: int) -> None:
    first = [one(0, 0, instance=i) for i in range(streams)]
    # Of every third one, a datagram with 1 to 5 events is missing.
    skipped = [i % 5 + 1 if i % 3 == 0 else 0 for i in range(streams)]
    second = [one(2, 1 + skipped[i], instance=i) for i in range(streams)]
    batch = read(*first, *second, *first)
    assert len(batch) == 2 * streams
    assert rows(batch) == [(i, lost) for i, lost in enumerate(skipped) if lost]
    assert batch.counts["copies"] == streams


def test_beyond_16384_streams_those_silent_longest_begin_anew() -> None:
    first = [one(0, 0, instance=i) for i in range(16385)]
    batch = read(*first, *(one(2, 5, instance=i) for i in reversed(range(16385))))
    assert len(batch) == 2 * 16385
    # The older half was forgotten: its second datagrams are baselines, and tell of no loss.
    assert rows(batch) == [(i, 4) for i in reversed(range(8193, 16385))]


def test_far_more_streams_than_that_are_all_delivered() -> None:
    batch = read(*(one(0, i, instance=i * 2**40 + 7) for i in range(50_000)))
    assert seqs(batch) == list(range(50_000))
    assert batch.counts == {"malformed": 0, "foreign": 0, "copies": 0}
    assert not batch.loss


def test_many_streams_of_one_datagram_do_not_end_eviction() -> None:
    datagram = chain(*(one(0, 0, instance=i) for i in range(40_000)))
    assert len(read(datagram, one(1, 1, instance=39_999))) == 40_001


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[bytes], dict[int, list[int]], Counter[int]]:
    """What came of some streams: datagrams; the events to deliver; the events lost, a stream."""
    queue: list[list[tuple[bytes, list[int], int]]] = []
    for instance in range(1, draw(st.integers(1, 4)) + 1):
        dgram, seq = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        sent = []
        for _ in range(draw(st.integers(1, 8))):
            counts = draw(st.lists(st.integers(1, 3), max_size=3)) or [0]
            came = draw(st.sampled_from((0, 0, 1, 2, 3)))  # copies that were not dropped
            total = sum(counts)
            data = chained(dgram, seq, *counts, groups=7, instance=instance)
            sent.append((data, list(range(seq, seq + total)), came))
            dgram += 1
            seq += total
        queue.append(sent)
    datagrams: list[bytes] = []
    delivered: dict[int, list[int]] = {}
    lost: Counter[int] = Counter()
    position = [0] * len(queue)
    missing: dict[int, int] = {}
    while any(at < len(sent) for at, sent in zip(position, queue, strict=True)):
        which = draw(st.sampled_from([i for i, sent in enumerate(queue) if position[i] < len(sent)]))
        data, events, came = queue[which][position[which]]
        position[which] += 1
        instance = which + 1
        datagrams += [data] * came
        if not came:
            missing[instance] = missing.get(instance, 0) + len(events)
        else:
            if instance in delivered:
                lost[instance] += missing.get(instance, 0)
            missing[instance] = 0
            delivered.setdefault(instance, []).extend(events)
    return datagrams, delivered, +lost


@given(histories())
def test_delivered_and_lost_are_what_came_and_what_did_not(
    history: tuple[list[bytes], dict[int, list[int]], Counter[int]],
) -> None:
    datagrams, delivered, lost = history
    batch = read(*datagrams)
    got: dict[int, list[int]] = {instance: [] for instance in delivered}
    for row in batch._table:
        first = int(row["first_seq"])
        got[int(row["instance"])] += range(first, first + int(row["count"]))
    assert got == delivered
    counted: Counter[int] = Counter()
    for instance, count in rows(batch):
        counted[instance] += count
    assert counted == lost
    assert batch.counts["malformed"] == 0


# The checker must be able to see

MS = 1_000_000


def sent(
    count: int = 10, *, closed: bool = True, datagrams: int | None = 11, killed_in: int | None = None
) -> Sent:
    """One event a ms to groups 1 and 2, each in a call and a datagram of its own."""
    calls = []
    for i in range(count):
        returned = NEVER if i == killed_in else (i + 101) * MS - 1
        calls.append(Call(i, 1, (i + 100) * MS, returned, returned, 1, (i * 1000, i * 1000 + 900)))
    return Sent(0, 0, 0b11, calls, 77, closed, 0xABC, datagrams if closed else None)


def heard(
    serials: Iterable[int], *, lost: int = 0, next_seq: int = 10, next_dgram: int = 11, **more: Any
) -> Heard:
    """A subscriber to group 1 that got these, each in a batch of its own."""
    events = [Event(i, 0xABC, 77, 0, 0, 0b11, s, s, s * 1000) for i, s in enumerate(serials)]
    gaps = more.pop("gaps", None)
    if gaps is None:
        gaps = []
        at = events[0].serial if events else 0
        for event in events:
            if event.serial > at:
                gaps.append(Gap(event.batch, 0xABC, event.serial - at, (at - 1) * 1000, event.serial * 1000))
            at = event.serial + 1
        if next_seq > at:
            gaps.append(Gap(len(events), 0xABC, next_seq - at, (at - 1) * 1000, NEVER))
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
    "a tail that the last heartbeat tells of": (sent(), heard(range(6), lost=4)),
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
        sent(), heard([0, 1, 5, 6, 7, 8, 9], lost=3, gaps=[Gap(2, 0xABC, 3, 8000, 9000)]), "published at"
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


def test_an_incarnation_without_a_known_instance_does_not_take_that_of_the_next() -> None:
    killed = sent(3, closed=False)
    killed.instance = None
    again = sent(closed=False)
    again.incarnation, again.instance = 1, None
    subscriber = heard(range(10), early=False)
    for event in subscriber.events:
        event.incarnation = 1
    subscriber.stats["dropped"] = subscriber.stats["open"] = 3
    assert Checker([killed, again], subscriber).check() == []


def test_a_killed_stream_is_known_by_its_heartbeat_alone() -> None:
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


def test_the_fewest_datagrams_are_those_that_hold_most_events() -> None:
    # 64 events one a datagram, 50 in one datagram, 30 in three.
    weights = [(1.0, 64), (50.0, 50), (10.0, 30)]
    assert fewest_datagrams(0, weights) == 0
    assert fewest_datagrams(50, weights) == 1
    assert fewest_datagrams(60, weights) == 2
    assert fewest_datagrams(81, weights) == 5
    # Each was dropped for two groups.
    assert fewest_datagrams(10, [(5.0, 20)]) == 2
