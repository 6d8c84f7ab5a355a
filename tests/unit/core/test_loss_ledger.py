"""The ledger with datagrams built from bytes."""

import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus import Batch
from tests.support.reference import U64_MAX, bus_batch, chain


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
    """(stream, count) per loss."""
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


def test_a_datagram_that_is_sent_again_is_a_copy() -> None:
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


def test_a_heartbeat_reports_a_lost_tail_and_is_no_event() -> None:
    batch = read(one(0, 0, 2), one(3, 10, 0))
    assert seqs(batch) == [0, 1]
    assert rows(batch) == [(1, 8)]


def test_a_repeated_heartbeat_reports_nothing_new() -> None:
    beat = one(3, 10, 0, groups=3)
    batch = read(one(0, 0, 2, groups=3), beat, beat)
    assert rows(batch) == [(1, 8)]
    assert batch.counts["copies"] == 1


def test_the_largest_numbers_are_accepted() -> None:
    batch = read(one(U64_MAX - 2, U64_MAX - 4, 2), one(U64_MAX - 1, U64_MAX - 1, 1))
    assert seqs(batch) == [U64_MAX - 4, U64_MAX - 3, U64_MAX - 1]
    assert rows(batch) == [(1, 1)]
    assert batch.counts["malformed"] == 0


def test_a_jump_over_all_numbers_is_one_gap() -> None:
    batch = read(one(0, 0), one(U64_MAX - 1, U64_MAX - 1))
    assert rows(batch) == [(1, U64_MAX - 2)]


# Chains


def chained(dgram: int, first: int, *counts: int, groups: int = 1, instance: int = 1) -> bytes:
    """One datagram with one batch of a different type per count."""
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


# Datagrams that contradict their own stream


@pytest.mark.parametrize(
    "stray",
    [one(1, 2, 1), one(1, 0, 9), one(5, 3, 1), chain(one(1, 3, 1), one(1, 5, 1))],
    ids=["first_seq goes back", "overlaps", "goes back behind a gap", "first batch of a chain"],
)
def test_events_delivered_before_are_malformed(stray: bytes) -> None:
    batch = read(one(0, 0, 4), stray, one(9, 4, 2))
    got = seqs(batch)
    assert len(set(got)) == len(got)
    assert got[:4] == [0, 1, 2, 3]
    assert batch.counts["malformed"] >= 1
    assert len(got) + batch.loss.events + min(got) == max(got) + 1


def test_the_rest_of_a_chain_with_decreasing_numbers_is_malformed() -> None:
    batch = read(chain(one(0, 0, 4), one(0, 2, 4), one(0, 4, 1)))
    assert seqs(batch) == [0, 1, 2, 3, 4]
    assert batch.counts["malformed"] == 1


# Many streams


def test_streams_are_identified_by_instance_and_groups() -> None:
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
def test_interleaved_streams_are_counted_separately(streams: int) -> None:
    first = [one(0, 0, instance=i) for i in range(streams)]
    # Every third stream lacks a datagram with 1 to 5 events.
    skipped = [i % 5 + 1 if i % 3 == 0 else 0 for i in range(streams)]
    second = [one(2, 1 + skipped[i], instance=i) for i in range(streams)]
    batch = read(*first, *second, *first)
    assert len(batch) == 2 * streams
    assert rows(batch) == [(i, lost) for i, lost in enumerate(skipped) if lost]
    assert batch.counts["copies"] == streams


def test_beyond_16384_streams_the_longest_silent_ones_start_over() -> None:
    first = [one(0, 0, instance=i) for i in range(16385)]
    batch = read(*first, *(one(2, 5, instance=i) for i in reversed(range(16385))))
    assert len(batch) == 2 * 16385
    # The older half was evicted: its second datagrams are baselines and report no loss.
    assert rows(batch) == [(i, 4) for i in reversed(range(8193, 16385))]


def test_events_of_far_more_streams_are_all_delivered() -> None:
    batch = read(*(one(0, i, instance=i * 2**40 + 7) for i in range(50_000)))
    assert seqs(batch) == list(range(50_000))
    assert batch.counts == {"malformed": 0, "foreign": 0, "copies": 0}
    assert not batch.loss


def test_many_streams_of_one_datagram_do_not_stop_eviction() -> None:
    datagram = chain(*(one(0, 0, instance=i) for i in range(40_000)))
    assert len(read(datagram, one(1, 1, instance=39_999))) == 40_001


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[bytes], dict[int, list[int]], Counter[int]]:
    """A history of some streams: datagrams, the events to deliver, the events lost per stream."""
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
def test_delivered_and_lost_match_the_history(
    history: tuple[list[bytes], dict[int, list[int]], Counter[int]],
) -> None:
    datagrams, delivered, lost = history
    batch = read(*datagrams)
    got: dict[int, list[int]] = {instance: [] for instance in delivered}
    for row in batch.index:
        first = int(row["first_seq"])
        got[int(row["instance"])] += range(first, first + int(row["count"]))
    assert got == delivered
    counted: Counter[int] = Counter()
    for instance, count in rows(batch):
        counted[instance] += count
    assert counted == lost
    assert batch.counts["malformed"] == 0


# Liars


def test_what_was_lost_never_wraps() -> None:
    batch = read(one(0, 0), one(1, U64_MAX - 10), one(0, 0, instance=2), one(1, U64_MAX - 10, instance=2))
    assert batch.loss.events == 2 * (U64_MAX - 11)  # a row each


def test_loss_rows_end_no_earlier_than_they_begin_whatever_the_clocks() -> None:
    batch = read(one(0, 0, time_ns=5_000_000_000), one(2, 9, time_ns=4_800_000_000))
    [row] = batch.loss.rows
    assert row["earliest"] == row["latest"] == 5_000_000_000


@pytest.mark.parametrize("collide", ["as the old hash did", "in their upper bits"])
def test_chosen_instances_do_not_make_a_datagram_dear(collide: str) -> None:
    if collide == "in their upper bits":
        names = [(i << 50, 1) for i in range(8000)]
    else:
        # instance ^ groups is the same of all: they fell into one slot.
        names = [(0x1234 ^ groups, groups) for groups in range(1, 8001)]
    plain = [(i * 0x9E3779B97F4A7C15 & U64_MAX, 1) for i in range(8000)]

    def seconds(streams: list[tuple[int, int]]) -> float:
        datagrams = [one(0, 0, instance=instance, groups=groups) for instance, groups in streams]
        best = 9.0
        for _ in range(3):
            begun = time.perf_counter()
            read(*datagrams)
            best = min(best, time.perf_counter() - begun)
        return best

    assert seconds(names) < 5 * seconds(plain)
