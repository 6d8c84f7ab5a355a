"""raw:<protocol>: any protocol by name or number, with unmodified messages, the bus's among them."""

from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlbus import Batch, Groups, KernelError, Publisher, SchemaError, Subscriber, Topic
from tests.support import reference
from tests.support.sockets import Sender, drain, events, one_event, payload, payloads, plain

Subscribe = Callable[..., Subscriber]
TICK = Topic("tick", [("id", "<u8"), ("px", "<f8")], groups=3, type=0x100)
BOOK = Topic("book", [("id", "<u8"), ("qty", "<i8")], groups=(3, 4), type=0x101)
EVERY = tuple(range(1, 33))


@pytest.mark.parametrize("name", ["raw:2", "raw:usersock", "raw:NETLINK_USERSOCK", "raw:Usersock"])
def test_a_protocol_has_a_number_and_a_name(subscribe: Subscribe, name: str) -> None:
    raw = subscribe(name, groups=(1, 32))
    with Sender() as sender:
        sender.send(plain(b"one", b"two"), 1)
        sender.send(plain(b"three"), 32)
    assert payloads(drain(raw)) == [b"one", b"two", b"three"]
    assert raw.transport == "netlink"


def test_groups_must_be_given() -> None:
    for groups in (None, ()):
        with pytest.raises(SchemaError, match="groups"):
            Subscriber("raw:2", groups=groups)


def test_the_error_names_a_group_that_the_protocol_lacks(subscribe: Subscribe) -> None:
    with pytest.raises(KernelError, match=r"raw:2.*33"):
        subscribe("raw:2", groups=33)


def test_raw_receives_the_bus_and_the_bus_ignores_raw_messages(subscribe: Subscribe) -> None:
    raw, bus = subscribe("raw:2", groups=1), subscribe(groups=1)
    with Sender() as sender:
        sender.send(one_event(b"event"))
        sender.send(plain(b"message"))
    [batch] = drain(raw)
    assert len(batch) == 2
    assert batch.payload(0).endswith(b"event")
    assert len(batch.payload(0)) == 80 + 5
    assert len(batch.events) == 0
    assert payloads(drain(bus)) == [b"event"]
    assert bus.stats()["foreign"] == 1


def test_a_message_sent_to_two_groups_comes_twice(subscribe: Subscribe) -> None:
    # Only the bus has streams: here, copies cannot be recognised.
    raw = subscribe("raw:2", groups=(1, 2))
    with Sender() as sender:
        for group in (1, 2):
            sender.send(plain(b"x"), group)
    [batch] = drain(raw)
    assert batch.messages["group"].tolist() == [1, 2]
    assert "streams" not in raw.stats()


def test_membership_changes_while_messages_flow(subscribe: Subscribe) -> None:
    raw = subscribe("raw:2", groups=1)
    with Sender() as sender:
        sender.send(plain(b"queued"), 1)
        raw.leave(1)
        sender.send(plain(b"missed"), 1)
        raw.join((2, 3))
        sender.send(plain(b"heard"), 3)
    assert payloads(drain(raw)) == [b"queued", b"heard"]


def test_any_type_and_flags_pass_unchanged(subscribe: Subscribe) -> None:
    raw = subscribe("raw:2", groups=1)
    with Sender() as sender:
        for kind in (1, 2, 3, 4, 0x10, 0xFFFF, 0):
            sender.send(plain(b"x", type=kind))
    [batch] = drain(raw)
    # ERROR and DONE too: on a multicast they end nothing.
    assert batch.messages["type"].tolist() == [1, 2, 3, 4, 0x10, 0xFFFF, 0]


# The bus received raw: the same bytes without a kernel decode to the same events.

masks_ = st.sampled_from((1, 2, 0b11, 0x80000000, 0xFFFFFFFF))
kinds = st.sampled_from((0, 1, 0x100, 2**32 - 1))
singles = st.tuples(st.just("one"), st.binary(max_size=70), masks_, kinds)
arrays = st.tuples(st.just("many"), st.tuples(st.integers(0, 600), st.integers(1, 70)), masks_, kinds)
scattered = st.tuples(
    st.just("masked"),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.lists(masks_, min_size=1, max_size=5),
    kinds,
)
topics = st.tuples(st.just("topic"), st.sampled_from((TICK, BOOK)), st.integers(1, 3000))
calls = st.lists(st.one_of(singles, arrays, scattered, topics, st.tuples(st.just("flush"))), max_size=12)


def publish(pub: Publisher, call: tuple[Any, ...], seed: int) -> list[tuple[bytes, int, int]]:
    """Make one call; returns the events that it publishes."""
    match call:
        case ("one", data, mask, kind):
            pub.publish(data, Groups.from_mask(mask), kind)
            return [(data, kind, mask)]
        case ("many", (count, size), mask, kind):
            rows = np.frombuffer(payload(count * size, seed), "u1").reshape(count, size)
            pub.publish_many(rows, Groups.from_mask(mask), kind)
            return [(row.tobytes(), kind, mask) for row in rows]
        case ("masked", (count, size), some, kind):
            rows = np.frombuffer(payload(count * size, seed), "u1").reshape(count, size)
            masks = np.resize(np.array(some, np.uint32), count)
            pub.publish_many(rows, masks=masks, type=kind)
            return [(r.tobytes(), kind, m) for r, m in zip(rows, masks.tolist(), strict=True)]
        case ("topic", topic, count):
            rows = np.frombuffer(payload(16 * count, seed), topic.dtype)
            pub.publish_many(rows, topic=topic)
            return [(row.tobytes(), topic.type, topic.groups.mask) for row in rows]
    pub.flush()
    return []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(calls=calls, lingering=st.booleans())
def test_any_events_by_any_path_arrive_once_in_order_as_they_were(
    subscribe: Subscribe, calls: list[tuple[Any, ...]], lingering: bool
) -> None:
    sub, raw = subscribe(groups=EVERY), subscribe("raw:2", groups=EVERY)
    wanted: list[tuple[bytes, int, int]] = []
    with Publisher(linger=1.0 if lingering else 0.0) as pub:
        for seed, call in enumerate(calls):
            wanted += publish(pub, call, seed)
        pub.flush()
    live = drain(sub)
    got = events(live)
    assert len(got) == len(wanted)
    for mask in {mask for _, _, mask in wanted}:
        assert [e for e in got if e[2] == mask] == [e for e in wanted if e[2] == mask]
    # The same bytes without a kernel decode to the same events.
    copied = [p for batch in drain(raw) for p in raw_datagrams(batch)]
    made = Batch.from_datagrams("bus", copied)
    assert events([made]) == got
    assert [r["time_ns"] for b in live for r in b.events] == made.events["time_ns"].tolist()
    assert [r["seq"] for b in live for r in b.events] == made.events["seq"].tolist()
    sub.close()
    raw.close()


def raw_datagrams(batch: Batch) -> list[bytes]:
    """The datagrams in a raw batch of the bus."""

    def which(i: int) -> tuple[int, int, int]:
        head = reference.BATCH.unpack_from(batch.payload(i))
        fields = dict(zip(reference.BATCH_FIELDS, head, strict=True))
        return int(batch.messages["group"][i]), fields["instance"], fields["dgram_seq"]

    return [
        reference.kernel_chain(*(reference.message(reference.MSG_BATCH, batch.payload(i)) for i in rows))
        for _, rows in groupby(range(len(batch)), key=which)
    ]
