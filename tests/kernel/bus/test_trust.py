"""Trust: the kernel vouches for sender and uid; a message's claims about itself do not count."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nlbus import Publisher, Subscriber
from tests.support import reference
from tests.support.sockets import (
    NOBODY,
    ROUTE,
    UEVENT,
    Child,
    Sender,
    drain,
    one_event,
    payloads,
    plain,
    portid,
)  # fmt: skip

Subscribe = Callable[..., Subscriber]
Fork = Callable[..., Child]
Stranger = Callable[[Callable[[], object]], None]
by_each_transport = pytest.mark.usefixtures("each_transport")


@pytest.fixture
def stranger(child: Fork, each_transport: str) -> Callable[[Callable[[], object]], None]:
    """stranger(work): run work as another user, with the privilege to send if needed."""
    return lambda work: child(work, uid=NOBODY, keep_admin=each_transport == "module").result()


@pytest.fixture
def bus_protocol(each_transport: str) -> str:
    return f"raw:{Sender.bus}"


def foreign_publisher(stranger: Stranger, data: bytes = b"evil", groups: int | tuple[int, ...] = 1) -> None:
    """Another user publishes with a normal Publisher."""

    def work() -> None:
        with Publisher() as pub:
            pub.publish(data, groups)

    stranger(work)


@by_each_transport
def test_another_users_events_are_dropped_and_counted_among_good_ones(
    subscribe: Subscribe, publisher: Publisher, stranger: Stranger
) -> None:
    sub = subscribe(groups=(1, 2))
    publisher.publish(b"good", 1)
    foreign_publisher(stranger, groups=(1, 2))
    publisher.publish(b"better", 1)
    got = drain(sub)
    assert payloads(got) == [b"good", b"better"]
    assert not any(b.loss for b in got)
    stats = sub.stats()
    assert "dropped 4 datagrams of other senders: trust=(UID, ...)" in sub.explain()
    assert stats["untrusted"] == 4  # the event and its heartbeat, each to two groups
    assert {s["uid"] for s in stats["streams"]} == {os.getuid()}


@by_each_transport
@pytest.mark.parametrize("trust", [[NOBODY], [0, NOBODY], "any", {NOBODY}])
def test_trust_can_be_widened_to_other_users(subscribe: Subscribe, stranger: Stranger, trust: object) -> None:
    sub = subscribe(groups=1, trust=trust)
    foreign_publisher(stranger, b"friend")
    [batch] = drain(sub)
    assert payloads([batch]) == [b"friend"]
    assert batch.events["uid"].tolist() == [NOBODY]
    assert sub.stats()["untrusted"] == 0


@by_each_transport
@pytest.mark.parametrize("trust", [[NOBODY], []])
def test_trust_can_exclude_even_our_own_events(
    subscribe: Subscribe, publisher: Publisher, trust: list[int]
) -> None:
    sub = subscribe(groups=1, trust=trust)
    publisher.publish(b"me", 1)
    assert drain(sub) == []
    assert sub.stats()["untrusted"] == 1


@by_each_transport
def test_our_own_uid_and_root_are_trusted(child: Fork, publisher: Publisher) -> None:
    def work() -> tuple[list[bytes], int]:
        with Subscriber(groups=1) as sub, Publisher() as pub:
            pub.publish(b"own", 1)
            with Sender() as sender:
                sender.send(one_event(b"raw", **sender.stamp()), 1)
            return payloads(drain(sub)), os.getuid()

    got, uid = child(work, uid=NOBODY, keep_admin=True).result()
    assert uid == NOBODY
    assert got == [b"own", b"raw"]


@by_each_transport
def test_nlmsg_pid_0_in_band_does_not_impersonate_the_kernel(
    subscribe: Subscribe, stranger: Stranger, bus_protocol: str
) -> None:
    sub, raw = subscribe(groups=1), subscribe(bus_protocol, groups=1, transport="auto")

    def work() -> None:
        with Sender() as sender:
            sender.send(one_event(b"evil", nlmsg_pid=0, origin_portid=0, origin_uid=0), 1)

    stranger(work)
    assert drain(sub) == drain(raw) == []
    assert sub.stats()["untrusted"] == raw.stats()["untrusted"] == 1


@by_each_transport
def test_origin_fields_set_by_a_process_are_not_trusted(subscribe: Subscribe, each_transport: str) -> None:
    sub = subscribe(groups=1)
    with Sender() as sender:
        sender.send(one_event(b"x", nlmsg_pid=77, origin_portid=88, origin_uid=NOBODY), 1)
        if each_transport == "module":
            # The module sets them on its protocol; a batch that contradicts the kernel did not pass it.
            assert drain(sub) == []
            assert sub.stats()["untrusted"] == 1
            return
        [batch] = drain(sub)
        assert batch.events["portid"].tolist() == [sender.portid]
        assert batch.events["uid"].tolist() == [0]


@by_each_transport
def test_a_unicast_to_a_subscriber_of_the_bus_is_dropped(subscribe: Subscribe, publisher: Publisher) -> None:
    sub = subscribe(groups=1)
    with Sender() as sender:
        sender.unicast(one_event(b"evil"), portid(sub))
    publisher.publish(b"good", 1)
    assert payloads(drain(sub)) == [b"good"]
    assert sub.stats()["untrusted"] == 1


@by_each_transport
def test_a_unicast_from_anyone_to_any_subscriber_is_dropped(
    subscribe: Subscribe, stranger: Stranger, bus_protocol: str
) -> None:
    subs = [subscribe(groups=1), subscribe(bus_protocol, groups=1, transport="auto")]

    def work() -> None:
        with Sender() as sender:
            for sub in subs:
                sender.unicast(plain(b"evil"), portid(sub))

    stranger(work)
    for sub in subs:
        assert drain(sub) == []
        assert sub.stats()["untrusted"] == 1


@by_each_transport
@pytest.mark.parametrize("raw", [False, True], ids=["bus", "raw"])
def test_a_flood_from_other_users_stops_no_reader(
    subscribe: Subscribe, stranger: Stranger, bus_protocol: str, raw: bool
) -> None:
    # Batches of untrusted datagrams only, while the socket overruns.
    source = {"source": bus_protocol, "transport": "auto"} if raw else {}
    sub = subscribe(**source, groups=1, buffer_events=20, on_loss="ignore")

    def work() -> None:
        with Sender() as sender:
            for _ in range(500):
                sender.send(one_event(b"evil"), 1)

    for _ in range(5):
        stranger(work)
        assert sum(map(len, drain(sub))) == 0
    stats = sub.stats()
    assert stats["untrusted"] + stats["dropped"] == 2500
    assert stats["dropped"] > 0


# Sources of the kernel


@pytest.fixture
def route(subscribe: Subscribe) -> Subscriber:
    return subscribe("route", groups=("link", "neigh", 33))


def test_roots_multicasts_on_route_are_not_the_kernels(route: Subscriber) -> None:
    with Sender(ROUTE) as sender:
        for group in (1, 3):
            # To the group and to itself; the kernel does not receive it.
            sender.send(reference.message(16, bytes(16), portid=0), group)
    assert drain(route) == []
    assert route.stats()["untrusted"] == 2


def test_roots_unicast_on_route_is_not_the_kernels(route: Subscriber) -> None:
    with Sender(ROUTE) as sender:
        sender.unicast(reference.message(16, bytes(16), portid=0), portid(route))
    assert drain(route) == []
    assert route.stats()["untrusted"] == 1


def test_trust_does_not_apply_to_groups_that_only_the_kernel_sends_to(subscribe: Subscribe) -> None:
    route = subscribe("route", groups="link", trust="any")
    with Sender(ROUTE) as sender:
        sender.send(reference.message(16, bytes(16)), 1)
    assert drain(route) == []
    assert route.stats()["untrusted"] == 1


def test_the_kernel_refuses_other_users_messages_on_route(route: Subscriber, child: Fork) -> None:
    def work() -> list[str]:
        refused = []
        with Sender(ROUTE) as sender:
            message = reference.message(16, bytes(16))
            for send, to in ((sender.send, 1), (sender.unicast, portid(route))):
                try:
                    send(message, to)
                except PermissionError:
                    refused.append(send.__name__)
        return refused

    assert child(work, uid=NOBODY).result() == ["send", "unicast"]
    assert drain(route) == []


def test_root_is_trusted_on_udevs_group_and_only_the_kernel_on_the_kernels_group(
    subscribe: Subscribe, child: Fork
) -> None:
    sub = subscribe("uevent", groups=("kernel", "udev"))

    def send(data: bytes, group: int) -> None:
        with Sender(UEVENT) as sender, contextlib.suppress(ConnectionRefusedError):
            sender.send(data, group)

    def work() -> None:
        send(b"libudev\0evil", 2)
        send(b"add@/evil", 1)

    send(b"libudev\0good", 2)
    send(b"add@/forged\0SEQNUM=1", 1)
    assert payloads(drain(sub)) == [b"libudev\0good"]
    assert sub.stats()["untrusted"] == 1
    child(work, uid=NOBODY, keep_admin=True).result()
    assert drain(sub) == []
    assert sub.stats()["untrusted"] == 3


# -- user namespaces ----------------------------------------------------------------------------------

READER = """
import ctypes, sys
if ctypes.CDLL(None).unshare(0x50000000):  # CLONE_NEWUSER | CLONE_NEWNET, while there is one thread
    sys.exit(77)
import nlbus
print(flush=True)
sys.stdin.readline()
with nlbus.Subscriber("bus", groups=1) as sub:
    print(flush=True)
    sys.stdin.readline()
    batch = sub.recv(timeout=0)
    print(len(batch), sub.stats()["untrusted"], flush=True)
"""
SENDER = """
import os, sys
import nlbus
from nlbus.kernel.netns import inside
publisher = inside(int(sys.argv[1]), lambda: nlbus.Publisher(transport="usersock"))
os.setuid(int(sys.argv[2]))
publisher.publish(b"x", groups=1)
os._exit(0)  # without a heartbeat
"""


@pytest.mark.parametrize(
    ("uid_map", "uid", "believed"),
    [
        ("", 0, 0),  # neither end has a mapped uid
        ("", 12345, 0),
        ("65534 0 1", 12345, 0),  # the reader is nobody; the sender looks like nobody
        ("65534 0 1", 1, 0),
        ("0 0 1", 12345, 0),
        ("0 0 1", 0, 1),
        ("7 0 1", 0, 1),
    ],
)
def test_a_sender_without_a_mapped_uid_is_not_taken_for_us(uid_map: str, uid: int, believed: int) -> None:
    def reply(words: str) -> str:
        reader.stdin.write(words + "\n")
        reader.stdin.flush()
        return reader.stdout.readline()

    with subprocess.Popen(
        [sys.executable, "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        if not reader.stdout.readline():
            pytest.skip("no user namespaces")
        if uid_map:
            try:
                Path(f"/proc/{reader.pid}/uid_map").write_text(uid_map)
            except PermissionError:
                pytest.skip("no privilege over the first user namespace")
        assert reply("mapped") == "\n"
        subprocess.run([sys.executable, "-c", SENDER, str(reader.pid), str(uid)], check=True)
        assert reply("sent").split() == [str(believed), str(1 - believed)]


def test_a_subscriber_warns_once_of_senders_that_it_does_not_believe(
    subscribe: Subscribe, stranger: Stranger, caplog: pytest.LogCaptureFixture
) -> None:
    sub = subscribe(groups=(1, 2))
    for _ in range(3):
        foreign_publisher(stranger, groups=1)
        assert not sub.recv(timeout=1.1)
    found = [each.getMessage() for each in caplog.records if "not believed" in each.getMessage()]
    assert len(found) == 1
    assert "trust='any'" in found[0]


def test_who_believes_any_sender_is_not_warned(
    subscribe: Subscribe, stranger: Stranger, caplog: pytest.LogCaptureFixture
) -> None:
    sub = subscribe(groups=1, trust="any")
    foreign_publisher(stranger, groups=1)
    assert sub.recv(timeout=1)
    assert not sub.recv(timeout=0.05)
    assert "not believed" not in caplog.text
