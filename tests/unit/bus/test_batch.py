"""Batches built from bytes: every answer equals that of plain Python over the same events."""

import struct
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus import Batch, Groups, SchemaError, Topic, UnknownSource
from tests.support import reference
from tests.support.reference import bus_batch, chain

PAIR = Topic("pair", [("a", "<u4"), ("b", "<u4")], groups=3, type=7)
MASKS = (0b1, 0b10, 0b101, 0x80000000, 0xFFFFFFFF)


class Event(NamedTuple):
    seq: int
    time_ns: int
    groups: int
    type: int
    data: bytes
    fingerprint: int


class Stream:
    """Builds the datagrams of one stream, and records its events."""

    def __init__(self, groups: int, instance: int) -> None:
        self.groups, self.instance = groups, instance
        self.seq = self.dgram = 0

    def datagram(self, batches: list[dict[str, Any]]) -> tuple[bytes, list[Event]]:
        messages, events = [], []
        for one in batches:
            data, times, at = one["data"], one["times"], one["time_ns"]
            body: dict[str, Any] = {"var": data}
            if one["fixed"]:
                body = {"records": b"".join(data), "record_size": len(data[0]), "count": len(data)}
            messages.append(
                bus_batch(
                    **body, times=times, time_ns=at, type=one["type"], fingerprint=one["fingerprint"],
                    groups=self.groups, instance=self.instance, first_seq=self.seq, dgram_seq=self.dgram,
                )
            )  # fmt: skip
            for i, payload in enumerate(data):
                when = at + (times[i] if times else 0)
                events.append(
                    Event(self.seq + i, when, self.groups, one["type"], payload, one["fingerprint"])
                )
            self.seq += len(data)
        self.dgram += 1
        return chain(*messages), events


@st.composite
def batches(draw: st.DrawFn) -> dict[str, Any]:
    if draw(st.booleans()):
        size = draw(st.sampled_from((1, 3, 8, 8, 64)))
        data = draw(st.lists(st.binary(min_size=size, max_size=size), max_size=9))
        fixed = bool(data)
    else:
        data, fixed = draw(st.lists(st.sampled_from((0, 1, 8, 8, 9)).flatmap(exactly), max_size=9)), False
    deltas = st.lists(st.integers(0, 2**32 - 1), min_size=len(data), max_size=len(data))
    return {
        "data": data,
        "fixed": fixed,
        "times": draw(st.none() | deltas),
        "time_ns": draw(st.integers(0, 2**62)),
        "type": draw(st.sampled_from((0, 7, 2**32 - 1))),
        "fingerprint": draw(st.sampled_from((0, PAIR.fingerprint, 1))),
    }


def exactly(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


@st.composite
def received(draw: st.DrawFn) -> tuple[Batch, list[Event]]:
    """A batch of several streams, and its events."""
    streams = [Stream(draw(st.sampled_from(MASKS)), i + 1) for i in range(3)]
    datagrams, events = [], []
    for _ in range(draw(st.integers(0, 5))):
        stream = draw(st.sampled_from(streams))
        data, more = stream.datagram(draw(st.lists(batches(), min_size=1, max_size=4)))
        datagrams.append(data)
        events += more
    return Batch.from_datagrams("bus", datagrams), events


def assert_same(batch: Batch, events: list[Event]) -> None:
    assert len(batch) == len(events)
    assert [batch.payload(i) for i in range(len(events))] == [e.data for e in events]
    rows = batch.events
    for name in ("seq", "time_ns", "groups", "type"):
        assert rows[name].tolist() == [getattr(e, name) for e in events], name
    for size in (1, 8):
        assert records(batch, f"V{size}") == [e.data for e in events if len(e.data) == size]
        assert batch.misfits == sum(len(e.data) != size for e in events)


def records(batch: Batch, dtype: object, **which: Any) -> list[bytes]:
    found = batch.records(dtype, **which)  # type: ignore[arg-type]
    assert not found.flags.writeable
    return [record.tobytes() for record in found]


@given(received())
def test_a_batch_of_the_bus_has_the_events_that_were_sent(got: tuple[Batch, list[Event]]) -> None:
    batch, events = got
    assert batch.counts == {"malformed": 0, "foreign": 0, "copies": 0}
    assert not batch.loss
    assert_same(batch, events)


@given(received(), st.data())
def test_select_by_a_bool_array_keeps_the_marked_events(
    got: tuple[Batch, list[Event]], data: st.DataObject
) -> None:
    batch, events = got
    for _ in range(2):  # also select from the selection
        marked = data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events)))
        batch = batch.select(np.array(marked, bool))
        events = [event for event, m in zip(events, marked, strict=True) if m]
        assert_same(batch, events)
        assert_same(batch.copy(), events)


@given(received(), st.sets(st.sampled_from((1, 2, 3, 4, 32)), max_size=3))
def test_select_by_groups_keeps_events_to_any_of_them(
    got: tuple[Batch, list[Event]], groups: set[int]
) -> None:
    batch, events = got
    mask = Groups(*groups).mask
    wanted = [event for event in events if event.groups & mask]
    assert_same(batch.select(groups), wanted)
    assert_same(batch.select(Groups(*groups)).copy(), wanted)


@given(received(), st.sampled_from((0, 7)), st.sets(st.sampled_from((1, 2, 3, 32)), min_size=1))
def test_records_can_be_selected_by_type_groups_and_topic(
    got: tuple[Batch, list[Event]], kind: int, groups: set[int]
) -> None:
    batch, events = got
    mask = Groups(*groups).mask
    of_type = [e for e in events if e.type == kind]
    assert records(batch, "V8", type=kind) == [e.data for e in of_type if len(e.data) == 8]
    assert batch.misfits == sum(len(e.data) != 8 for e in of_type)
    there = [e for e in events if e.groups & mask]
    assert records(batch, "V8", groups=groups) == [e.data for e in there if len(e.data) == 8]
    assert batch.misfits == sum(len(e.data) != 8 for e in there)
    topic = [e for e in events if e.type == PAIR.type]
    fine = [e for e in topic if len(e.data) == 8 and e.fingerprint == PAIR.fingerprint]
    assert records(batch, PAIR) == [e.data for e in fine]
    assert batch.misfits == len(topic) - len(fine)


@given(received())
def test_messages_of_the_bus_are_its_batches(got: tuple[Batch, list[Event]]) -> None:
    batch, events = got
    rows = batch.messages
    assert set(rows["type"].tolist()) <= {reference.MSG_BATCH}
    assert sum(rows["length"].tolist()) == sum(len(e.data) for e in events)
    whole = b"".join(batch.data[at : at + n].tobytes() for at, n in rows[["offset", "length"]].tolist())
    assert whole == b"".join(e.data for e in events)


def test_records_in_one_piece_are_not_copied() -> None:
    stream = Stream(1, 1)
    one = {"fixed": True, "times": None, "time_ns": 0, "type": 0, "fingerprint": 0}
    data, _ = stream.datagram([one | {"data": [b"12345678"] * 50}])
    batch = Batch.from_datagrams("bus", [data])
    assert np.shares_memory(batch.records("<u8"), batch.data)
    marked = np.zeros(50, bool)
    marked[10:20] = True
    assert np.shares_memory(batch.select(marked).records("<u8"), batch.data)
    marked[30] = True
    part = batch.select(marked)
    assert len(part.records("<u8")) == 11
    assert not np.shares_memory(part.records("<u8"), batch.data)


def test_an_empty_set_of_groups_selects_no_records() -> None:
    batch = Batch.from_datagrams("bus", [bus_batch(b"12345678", record_size=8)])
    assert len(batch.select([])) == 0
    assert len(batch.records("<u4")) == 0
    assert len(batch.records("<u8", groups=[])) == batch.misfits == 0
    assert len(batch.records("<u8", groups=Groups())) == 0


def test_records_of_a_subarray_dtype_have_its_shape() -> None:
    batch = Batch.from_datagrams("bus", [bus_batch(struct.pack("=4I", 1, 2, 3, 4), record_size=8)])
    assert batch.records(np.dtype(("<u4", (2,)))).tolist() == [[1, 2], [3, 4]]
    scattered = batch.select(np.array([True, True]))
    assert scattered.records(np.dtype(("<u4", (2,))), type=0).tolist() == [[1, 2], [3, 4]]


def test_a_select_mask_must_fit() -> None:
    batch = Batch.from_datagrams("bus", [bus_batch(b"1234", record_size=1)])
    for wrong in (np.ones(3, bool), np.ones((2, 2), bool)):
        with pytest.raises(SchemaError, match="4 events"):
            batch.select(wrong)
    with pytest.raises(SchemaError):
        batch.select([33])
    with pytest.raises(SchemaError):
        batch.records("u1", groups=33)


def test_a_gap_within_one_batch_is_its_loss() -> None:
    datagrams = [
        bus_batch(b"12", record_size=1, instance=9, time_ns=5),
        bus_batch(b"3", record_size=1, instance=9, first_seq=12, dgram_seq=4, time_ns=50),
        bus_batch(b"3", record_size=1, instance=9, first_seq=12, dgram_seq=4, time_ns=50),
        bus_batch(instance=9, first_seq=14, dgram_seq=6, time_ns=70),
    ]
    batch = Batch.from_datagrams("bus", datagrams)
    assert [batch.payload(i) for i in range(3)] == [b"1", b"2", b"3"]
    assert batch.counts["copies"] == 1
    assert batch.loss
    assert batch.loss.events == 11
    assert batch.loss.rows.tolist() == [("gap", 9, 10, True, 5, 50), ("gap", 9, 1, True, 50, 70)]


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_a_uevent_datagram_is_one_unmodified_message(datagrams: list[bytes]) -> None:
    batch = Batch.from_datagrams("uevent", datagrams, group=1)
    assert [batch.payload(i) for i in range(len(batch))] == [d for d in datagrams if d]
    assert batch.counts["malformed"] == datagrams.count(b"")
    assert set(batch.messages["group"].tolist()) <= {1}


@given(st.lists(st.binary(max_size=200), max_size=6), st.sampled_from(("bus", "raw:2", "uevent")))
def test_a_batch_can_be_built_from_any_bytes(datagrams: list[bytes], source: str) -> None:
    batch = Batch.from_datagrams(source, datagrams)
    for i in range(len(batch)):
        batch.payload(i)
    batch.records("<u4")
    batch.copy()
    assert len(batch.select(np.ones(len(batch), bool))) == len(batch)


@given(st.lists(st.lists(st.binary(max_size=40), max_size=8), max_size=5))
def test_chains_of_messages_are_walked_as_the_oracle_walks_them(chains: list[list[bytes]]) -> None:
    datagrams = [reference.kernel_chain(*(reference.message(20, p) for p in c)) for c in chains]
    batch = Batch.from_datagrams("route", datagrams)
    payloads = [p for c in chains for p in c]
    assert [batch.payload(i) for i in range(len(batch))] == payloads
    for size in {len(p) for p in payloads}:
        if size:
            assert records(batch, f"V{size}") == [p for p in payloads if len(p) == size]


def test_from_datagrams_refuses_unknown_sources_and_empty_input() -> None:
    with pytest.raises(UnknownSource):
        Batch.from_datagrams("buss", [])
    assert len(Batch.from_datagrams("bus", [])) == 0
    assert len(Batch.from_datagrams("raw:2", iter([]))) == 0


@pytest.mark.parametrize("wrong", [b"abc", b"", "abc", ["x"], [5], None, [None], [[1]]])
def test_from_datagrams_requires_bytes(wrong: Any) -> None:
    with pytest.raises(SchemaError, match="from_datagrams: a list of datagrams, each of them bytes"):
        Batch.from_datagrams("route", wrong)


def test_repr_counts_events_or_messages() -> None:
    assert "2 events" in repr(Batch.from_datagrams("bus", [bus_batch(b"12", record_size=1)]))
    assert "1 messages" in repr(Batch.from_datagrams("raw:2", [reference.message(20)]))
