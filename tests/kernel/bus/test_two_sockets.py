"""A subscriber with two sockets: USERSOCK, and a protocol that stands in for nlbus.ko's.

No kernel socket forwards events on it here, but root may multicast, with or without the stamps that the
module would set. tests/guest tests the module itself.
"""

import select
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import nlbus
from nlbus import ClosedError, Groups, Publisher, Subscriber
from nlbus.bus import transport
from nlbus.sources import bus
from tests.support.sockets import NOBODY, Child, Sender, drain, one_event, payloads, wait_until

STAND_IN = 10  # NETLINK_FIB_LOOKUP has 32 groups, all unused
Subscribe = Callable[..., Subscriber]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """A function that makes subscribers believe that the module was loaded."""
    protocol = tmp_path / "protocol"
    monkeypatch.setattr(bus, "MODULE_PROTOCOL", protocol)
    # This causes no uevent.
    monkeypatch.setattr(transport, "_hears_uevents", lambda: False)
    return lambda: (protocol.write_text(f"{STAND_IN}\n"), None)[1]


@pytest.fixture
def loaded(load: Callable[[], None]) -> None:
    load()


class Stamped(Sender):
    """Multicasts like the module: with the sender's address and uid in each batch."""

    def __init__(self) -> None:
        super().__init__(STAND_IN)

    def event(self, data: bytes, group: int = 1, **fields: int) -> None:
        stamp = {"origin_portid": self.portid, "groups": 1 << (group - 1)}
        self.send(one_event(data, **(stamp | fields)), group)


def test_events_from_either_socket_are_delivered_once(loaded: None, subscribe: Subscribe) -> None:
    sub = subscribe(groups=(1, 2))
    assert sub.transport == "module"
    with Publisher(transport="usersock") as pub, Stamped() as module:
        for number in range(100):
            pub.publish(b"u%02d" % number, groups=1)
            module.event(b"m%02d" % number, 2, first_seq=number, dgram_seq=number, instance=7)
    got = payloads(drain(sub, 0.1, 200))
    assert [one for one in got if one[:1] == b"u"] == [b"u%02d" % number for number in range(100)]
    assert [one for one in got if one[:1] == b"m"] == [b"m%02d" % number for number in range(100)]
    stats = sub.stats()
    assert (stats["delivered"], stats["lost"], stats["open"], stats["untrusted"]) == (200, 0, 0, 0)
    assert {stream["transport"] for stream in stats["streams"]} == {"usersock", "module"}


def test_only_events_with_their_senders_address_and_uid_are_trusted(
    loaded: None, subscribe: Subscribe
) -> None:
    sub = subscribe(groups=1)
    with Stamped() as module:
        module.event(b"unstamped", origin_portid=0)
        module.event(b"of another", origin_portid=module.portid + 1)
        module.event(b"of another user", origin_uid=NOBODY)
        module.event(b"stamped")
        assert payloads(drain(sub, 0.1, 1)) == [b"stamped"]
    assert sub.stats()["untrusted"] == 3


def test_trust_applies_to_the_stamped_uid(loaded: None, subscribe: Subscribe) -> None:
    sub = subscribe(groups=1, trust=[NOBODY])
    with Stamped() as module:
        module.event(b"root's")
        assert drain(sub, 0.1) == []
    assert sub.stats()["untrusted"] == 1


def test_gaps_and_drops_of_both_sockets_are_counted(loaded: None, subscribe: Subscribe) -> None:
    sub = subscribe(groups=1, buffer_events=20, on_loss="ignore")
    with Publisher(transport="usersock") as pub, Stamped() as module:
        for number in range(100):
            pub.publish(b"%d" % number, groups=1)
            module.event(b"%d" % number, first_seq=number, dgram_seq=number, instance=7)
        batches = drain(sub, 0.1)
        assert sum(map(len, batches)) == 200 - sub.stats()["dropped"]
        pub.publish(b"last", groups=1)
        module.event(b"last", first_seq=100, dgram_seq=100, instance=7)
        batches += drain(sub, 0.1, 2)
    stats = sub.stats()
    assert stats["delivered"] + stats["lost"] == 202
    assert stats["lost"] == stats["dropped"] == sum(batch.loss.events for batch in batches)
    assert stats["open"] == 0
    assert len({int(row["stream"]) for batch in batches for row in batch.loss.rows}) == 2


def test_membership_applies_to_both_sockets(loaded: None, subscribe: Subscribe) -> None:
    sub = subscribe(groups=1)
    with Publisher(transport="usersock") as pub, Stamped() as module:
        sub.join(3)
        pub.publish(b"a", groups=3)
        module.event(b"b", 3)
        sub.leave(3)
        pub.publish(b"c", groups=3)
        module.event(b"d", 3, dgram_seq=1, first_seq=1)
        assert sorted(payloads(drain(sub, 0.1))) == [b"a", b"b"]
    assert sub.groups == Groups(1)
    assert sub.stats()["streams"] == []


def test_either_socket_wakes_waiters_and_makes_fileno_readable(loaded: None, subscribe: Subscribe) -> None:
    sub = subscribe(groups=1)
    assert nlbus.wait([sub], 0) == []
    with Publisher(transport="usersock") as pub, Stamped() as module:
        for send in (lambda: module.event(b"x"), lambda: pub.publish(b"x", groups=1)):
            later = threading.Timer(0.1, send)
            later.start()
            assert nlbus.wait([sub], 5) == [sub]
            assert len(sub.recv(5)) == 1
            later.join()
            drain(sub)


def test_a_flood_on_one_does_not_hide_the_other(loaded: None, subscribe: Subscribe) -> None:
    sub = subscribe(groups=1, on_loss="ignore")
    with Publisher(transport="usersock") as pub, Stamped() as module:
        for _ in range(5000):
            pub.publish(b"flood", groups=1)
        module.event(b"news")
        batches = [sub.recv(0), sub.recv(0)]
    assert b"news" in payloads(batches)


@pytest.mark.parametrize("way", ["wait", "recv", "poll"])
def test_the_module_is_joined_when_it_is_loaded(
    load: Callable[[], None], subscribe: Subscribe, way: str
) -> None:
    sub = subscribe(groups=(1, 9))
    assert sub.transport == "usersock"
    assert "joins nlbus.ko" in sub.explain()
    fd = sub.fileno()
    later = threading.Timer(0.1, load)
    later.start()
    give_up = time.monotonic() + 10
    while sub.transport == "usersock" and time.monotonic() < give_up:
        if way == "wait":
            nlbus.wait([sub], 5)
        elif way == "poll":
            select.select([fd], [], [], 5)
        assert len(sub.recv(0 if way != "recv" else 1.5)) == 0
    later.join()
    assert sub.transport == "module"
    assert "joins nlbus.ko" not in sub.explain()
    with Stamped() as module:
        module.event(b"late", 9)
        assert select.select([fd], [], [], 5)[0], "it watches the new socket too"
        assert payloads([sub.recv(5)]) == [b"late"]
    with Publisher(transport="usersock") as pub:
        pub.publish(b"both", groups=1)
        assert payloads([sub.recv(5)]) == [b"both"]


def test_the_module_is_joined_in_the_subscribers_namespace(
    load: Callable[[], None], subscribe: Subscribe, others: Callable[[], str]
) -> None:
    path = others()
    sub = subscribe(groups=1, netns=path)
    load()
    wait_until(lambda: (sub.recv(0.1), sub.transport)[1] == "module")
    with Stamped() as module:
        module.event(b"here")
        assert drain(sub, 0.1) == []


def test_publishers_of_this_process_let_its_subscribers_join_first(
    load: Callable[[], None], subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    sub = subscribe(groups=1)
    elsewhere = subscribe("uevent")
    only = subscribe(groups=1, transport="usersock")
    load()
    assert sub.transport == "usersock"
    with Publisher() as pub:
        assert pub.transport == "module"
        assert sub.transport == "module"
    assert (only.transport, elsewhere.transport) == ("usersock", "netlink")


def test_a_fixed_transport_uses_no_other(loaded: None, subscribe: Subscribe) -> None:
    both = {transport: subscribe(groups=1, transport=transport) for transport in ("usersock", "module")}
    with Publisher(transport="usersock") as pub, Stamped() as module:
        pub.publish(b"usersock", groups=1)
        module.event(b"module")
    for name, sub in both.items():
        assert sub.transport == name
        assert payloads(drain(sub, 0.1)) == [name.encode()]


def test_a_publisher_without_the_modules_privilege_uses_usersock(
    loaded: None, child: Callable[..., Child]
) -> None:
    def work() -> tuple[str, str]:
        with Publisher() as pub, pytest.raises(PermissionError) as refused:
            Publisher(transport="module")
        return pub.transport, str(refused.value)

    name, why = child(work, drop_caps=True).result()
    assert name == "usersock"
    assert "CAP_NET_ADMIN" in why


def test_close_and_fork_close_both_sockets(
    loaded: None, subscribe: Subscribe, child: Callable[..., Child]
) -> None:
    sub = subscribe(groups=1)

    def work() -> str:
        with pytest.raises(ClosedError, match="fork"):
            sub.recv(0)
        sub.close()
        return "closed"

    assert child(work).result() == "closed"
    with Stamped() as module:
        module.event(b"still open")
    assert payloads([sub.recv(5)]) == [b"still open"]
    sub.close()
    with pytest.raises(ClosedError):
        sub.recv(0)
