"""raw:<protocol>: any protocol by name or number, its messages as they are."""

from collections.abc import Callable

import pytest

from nlbus import KernelError, SchemaError, Subscriber
from tests.kernel.helpers import Sender, drain, one_event, payloads, plain

Subscribe = Callable[..., Subscriber]


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


def test_a_group_that_the_protocol_does_not_have_is_named(subscribe: Subscribe) -> None:
    with pytest.raises(KernelError, match="raw:2.*33"):
        subscribe("raw:2", groups=33)


def test_raw_hears_the_bus_and_the_bus_does_not_hear_raw_messages(subscribe: Subscribe) -> None:
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
    # Streams are the bus's: here nobody can tell copies from news.
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
