"""Injected faults: reproducible by seed, and reported like the kernel's."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlbus import Batch, LossError, SchemaError
from nlbus.faults import Faulty
from tests.support.feeds import Given, Sent, batches
from tests.support.reference import attribute, bus_batch, kernel_chain, message

SECOND = 10**9


def link(index: int) -> bytes:
    return message(16, struct.pack("=BxHiII", 0, 1, index, 1, 0) + attribute(3, b"v%d\0" % index))


def links(*sizes: int) -> list[Batch]:
    """Batches with these numbers of links, a second apart, numbered from 1."""
    sent, index = [], 1
    for i, size in enumerate(sizes):
        sent.append(Sent((i + 1) * SECOND, kernel_chain(*map(link, range(index, index + size))), 1))
        index += size
    return batches("route", sent)


def events(count: int, instance: int = 1) -> list[Batch]:
    """Batches of one nlbus_batch of two events each, a second apart."""
    fields = {"record_size": 2, "instance": instance, "groups": 1}
    sent = [bus_batch(b"%04d" % i, first_seq=2 * i, dgram_seq=i, **fields) for i in range(count)]
    return batches("bus", [Sent((i + 1) * SECOND, one, 1, 50, 0) for i, one in enumerate(sent)])


def faulty(source: str, some: list[Batch], **faults: Any) -> Faulty:
    return Faulty(Given(source, some), on_loss="ignore", **faults)


def indices(some: list[Batch]) -> list[int]:
    return [int(i) for batch in some for i in batch.table("link")["ifindex"]]


SIZES = [5] * 40


def test_without_faults_nothing_changes() -> None:
    some = links(*SIZES)
    assert [batch.messages.tolist() for batch in faulty("route", some)] == [
        batch.messages.tolist() for batch in some
    ]


@pytest.mark.parametrize("fault", ["drop", "cut", "duplicate", "reorder"])
def test_a_seed_repeats_its_faults(fault: str) -> None:
    first, again, other = (
        indices([*faulty("route", links(*SIZES), seed=seed, **{fault: 0.3})]) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert first != [*range(1, 201)]


def test_dropped_datagrams_are_an_overrun() -> None:
    feed = faulty("route", links(*SIZES), drop=0.3, seed=5)
    got = [*feed]
    found = indices(got)
    missing = 200 - len(found)
    assert 30 < missing < 90
    assert found == sorted(found)
    assert sum(batch.loss.datagrams for batch in got) == missing == feed.stats()["dropped"]
    for batch in got:
        for row in batch.loss.rows:
            assert (row["cause"], bool(row["exact"])) == ("overrun", False)
            assert row["latest"] == batch.time_ns
            assert row["latest"] - row["earliest"] in (0, SECOND)


def test_truncated_datagrams_are_counted_and_no_overrun() -> None:
    feed = faulty("route", links(*SIZES), cut=0.3, seed=5)
    got = [*feed]
    assert not any(batch.loss for batch in got)
    assert all(got)
    assert len(indices(got)) + feed.stats()["truncated"] == 200


def test_duplicated_datagrams_come_twice() -> None:
    got = indices([*faulty("route", links(*SIZES), duplicate=0.3, seed=5)])
    assert sorted({*got}) == [*range(1, 201)]
    assert 220 < len(got) < 280
    assert got == sorted(got)


def test_a_late_datagram_comes_after_its_neighbour() -> None:
    got = indices([*faulty("route", links(*SIZES), reorder=0.3, seed=5)])
    assert sorted(got) == [*range(1, 201)] != got
    assert max(abs(index - place) for place, index in enumerate(got, 1)) == 1


def test_dropping_everything_does_not_end_the_feed() -> None:
    """An empty batch without loss would mean a timeout."""
    feed = faulty("route", links(1, 1, 1), cut=1.0)
    assert [*feed] == []
    lost = [*faulty("route", links(1, 2), drop=1.0)]
    assert [(len(batch), batch.loss.datagrams) for batch in lost] == [(0, 1), (0, 2)]


# -- the bus --------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 0.5), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_sent_equals_delivered_plus_lost_plus_open(seed: int, drop: float, cut: float, count: int) -> None:
    some = [*events(count), *events(count, instance=2)]
    order = np.random.default_rng(seed).permutation(2 * count)
    # Streams in any order relative to each other, each in its own order.
    streams = [iter(events(count)), iter(events(count, instance=2))]
    some = [next(streams[int(place >= count)]) for place in order]
    feed = faulty("bus", some, drop=drop, cut=cut, duplicate=0.2, reorder=0.3, seed=seed)
    got = [*feed]
    stats = feed.stats()
    delivered = [(row["instance"], row["first_seq"]) for batch in got for row in batch.index]
    for instance in (1, 2):
        seqs = [int(seq) for stream, seq in delivered if stream == instance]
        assert seqs == sorted({*seqs})
        gaps = sum(int(row["count"]) for batch in got for row in batch.loss.rows if row["stream"] == instance)
        if seqs:  # everything between the first and last received is accounted for
            assert seqs[-1] + 2 - seqs[0] == 2 * len(seqs) + gaps
    assert stats["lost"] == sum(batch.loss.events for batch in got)
    if not cut:
        assert got[-1].loss.open == stats["open"]
    assert stats["dropped"] >= stats["open"]


def test_a_gap_is_detected_by_the_next_datagram_of_its_stream() -> None:
    feed = faulty("bus", events(40), drop=0.4, seed=3)
    got = [*feed]
    leading = next(i for i, batch in enumerate(got) if len(batch))  # no gap can explain these
    before = 0
    for i, batch in enumerate(got):
        if len(batch):
            assert (batch.loss.events, batch.loss.open) == (
                2 * (before - leading) if i > leading else 0,
                leading,
            )
        else:
            assert (batch.loss.events, batch.loss.open) == (0, before + 1)
        before = batch.loss.open
    assert leading > 0
    assert sum(batch.loss.events for batch in got) > 10


def test_order_within_a_stream_is_kept_and_copies_are_delivered_once() -> None:
    words = [b"%02d" % i for i in range(20)]
    sent = [bus_batch(w, record_size=2, first_seq=i, dgram_seq=i, groups=1) for i, w in enumerate(words)]
    some = batches("bus", [Sent(1, datagram, 1, 50, 0) for datagram in sent])
    feed = faulty("bus", some, reorder=1.0, duplicate=1.0)
    (batch,) = [*feed]
    assert [batch.payload(i) for i in range(len(batch))] == words
    assert feed.stats()["copies"] == 20


# -- the feed -------------------------------------------------------------------------------------------


def test_on_loss_raise_raises_before_the_batch() -> None:
    feed = Faulty(Given("route", links(2)), drop=1.0, on_loss="raise")
    with pytest.raises(LossError, match="2 datagrams dropped"):
        feed.recv()
    assert feed.recv().loss.datagrams == 2


def test_tables_and_collect_work_on_faulty_feeds() -> None:
    table = faulty("route", links(*SIZES), drop=0.5, seed=9).collect("link")
    assert 0 < len(table) < 200
    assert len(table) + table.loss.datagrams == 200


def test_copies_of_a_batch_keep_their_faults() -> None:
    (batch,) = [*faulty("route", links(30), reorder=0.5, duplicate=0.5, seed=2)]
    assert indices([batch.copy()]) == indices([batch])
    assert [*batch.rows()] == [*batch.copy().rows()]


@pytest.mark.parametrize("chance", [-0.1, 1.1, float("nan")])
def test_an_invalid_probability_is_refused(chance: float) -> None:
    with pytest.raises(SchemaError, match="from 0 to 1"):
        Faulty(Given("route", []), drop=chance)
