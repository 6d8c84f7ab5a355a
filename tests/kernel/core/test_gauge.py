"""The kernel's counters on real sources: drops, fill and high-water mark, buffer growth, and the sentinel."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import nlbus
from nlbus import LossError, Subscriber
from tests.support.sockets import (
    NOBODY,
    ROUTE,
    Child,
    Sender,
    become,
    drain,
    ip,
    one_event,
    plain,
    proc_netlink,
    wait_until,
)  # fmt: skip

SO_DETACH_FILTER = 27
NETLINK_ADD_MEMBERSHIP = 1
SOL_NETLINK = 270
LINK_GROUP = 1

Subscribe = Callable[..., Subscriber]


def netlink_sockets(protocol: int) -> set[int]:
    """This process's descriptors of netlink sockets of this protocol."""
    found = set()
    for entry in list(Path("/proc/self/fd").iterdir()):
        if not entry.is_socket():
            continue
        with socket.socket(fileno=os.dup(int(entry.name))) as one:
            if (one.family, one.proto) == (socket.AF_NETLINK, protocol):
                found.add(int(entry.name))
    return found


def sentinel_of(subscriber: Subscriber) -> socket.socket:
    """The subscriber's sentinel, its second socket, through another descriptor."""
    for fd in netlink_sockets(subscriber._source.protocol):
        one = socket.socket(fileno=os.dup(fd))
        portid, groups = one.getsockname()
        if groups == subscriber.groups.mask and portid != subscriber._receiver.portid:
            return one
        one.close()
    raise AssertionError("there is no sentinel")


def raise_error(subscriber: Subscriber) -> None:
    """Make the kernel raise ENOBUFS on the sentinel, as netlink_set_err() does; here by an overrun."""
    with sentinel_of(subscriber) as sentinel:
        sentinel.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        sentinel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for _ in range(3):
            ip("link set lo up", "link set lo down")


# -- the sentinel -----------------------------------------------------------------------------------


def test_an_event_that_the_kernel_failed_to_build_is_a_loss(subscribe: Subscribe) -> None:
    sub = subscribe("route", groups="link", on_loss="ignore")
    before = time.time_ns()
    raise_error(sub)
    batches = drain(sub, 0.1)
    rows = [row for batch in batches for row in batch.loss.rows]
    assert [(row["cause"], row["count"], row["exact"], row["stream"]) for row in rows] == [
        ("unbuilt", 1, False, 0)
    ]
    assert rows[0]["earliest"] <= rows[0]["latest"] <= time.time_ns()
    assert rows[0]["latest"] >= before
    assert sub.stats()["unbuilt"] == 1
    assert sub.stats()["dropped"] == 0
    assert sum(map(len, batches)) >= 6, "the events themselves came"


def test_the_sentinels_error_makes_the_subscriber_ready(subscribe: Subscribe) -> None:
    sub = subscribe("route", groups="link", on_loss="ignore")
    assert nlbus.wait([sub], 0) == []
    raise_error(sub)
    while len(sub.recv(0)):
        pass
    while nlbus.wait([sub], 0):  # each error is reported and cleared
        assert sub.recv(0).loss.unbuilt or not nlbus.wait([sub], 0)
    assert sub.stats()["unbuilt"] >= 1


def test_a_waiting_receive_is_woken_by_the_sentinel(subscribe: Subscribe) -> None:
    sub = subscribe("route", groups=["ipv4_rule"], on_loss="ignore")
    with sentinel_of(sub) as sentinel:
        sentinel.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        sentinel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sentinel.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, LINK_GROUP)  # the subscriber is no member
        for _ in range(3):
            ip("link set lo up", "link set lo down")
    batch = sub.recv(5)
    assert not len(batch)
    assert batch.loss.unbuilt == 1
    assert "could not build" in str(batch.loss)


def test_on_loss_raise_reports_unbuilt_events(subscribe: Subscribe) -> None:
    sub = subscribe("route", groups="link", on_loss="raise")
    raise_error(sub)
    with pytest.raises(LossError, match="could not build"):
        drain(sub, 0.1)


def test_the_sentinel_follows_the_groups_and_queues_nothing(subscribe: Subscribe) -> None:
    sub = subscribe("route", groups="link")
    with sentinel_of(sub) as sentinel:
        sub.join(["neigh", "ipv6_mcaddr"])
        assert sentinel.getsockname()[1] == 0b101
        sub.leave("link")
        assert sentinel.getsockname()[1] == 0b100
        sub.join("link")
        ip("link set lo up")
        with pytest.raises(BlockingIOError):
            sentinel.recv(1, socket.MSG_DONTWAIT)
    assert len(sub.recv(1))


def test_sources_whose_kernel_code_never_reports_errors_have_no_sentinel(subscribe: Subscribe) -> None:
    before = netlink_sockets(15) | netlink_sockets(2)
    subscribe("uevent")
    subscribe("bus", groups=1, transport="usersock")  # "auto" would listen to uevents for the module
    assert len((netlink_sockets(15) | netlink_sockets(2)) - before) == 2


def test_closing_closes_the_sentinel(subscribe: Subscribe) -> None:
    before = netlink_sockets(ROUTE)
    sub = subscribe("route", groups="link")
    assert len(netlink_sockets(ROUTE) - before) == 2
    sub.close()
    assert netlink_sockets(ROUTE) == before


# -- fill, high-water mark, growth --------------------------------------------------------------------


def test_stats_have_fill_and_high_water_mark(subscribe: Subscribe) -> None:
    sub = subscribe("route", groups="link")
    assert (sub.stats()["buffer_used"], sub.stats()["buffer_peak"]) == (0, 0)
    for _ in range(20):
        ip("link set lo up", "link set lo down")
    queued = proc_netlink(sub).rmem
    assert queued > 20 * 2 * 832
    assert sub.stats()["buffer_used"] == sub.stats()["buffer_peak"] == queued
    drain(sub)
    assert sub.stats()["buffer_used"] == 0
    assert sub.stats()["buffer_peak"] == queued


def test_the_high_water_mark_counts_fills_between_receives(subscribe: Subscribe) -> None:
    sub = subscribe("raw:2", groups=1)
    with Sender() as sender:
        for _ in range(100):
            sender.send(plain(b"x" * 64))
        queued = proc_netlink(sub).rmem
        drain(sub)
    assert 100 * 600 < sub.stats()["buffer_peak"] <= queued


def test_an_overrun_sets_the_high_water_mark(subscribe: Subscribe) -> None:
    sub = subscribe("raw:2", groups=1, buffer_events=4, on_loss="ignore")
    with Sender() as sender:
        for _ in range(100):
            sender.send(plain(b"x" * 64))
    drain(sub)
    stats = sub.stats()
    assert stats["buffer_peak"] >= stats["buffer_size"]
    assert stats["dropped"] == proc_netlink(sub).drops > 0
    assert stats["buffer_grown"] == 0, "a requested buffer size stays"


def test_the_default_buffer_grows_after_an_overrun_up_to_a_limit(
    subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlbus.bus.options.DEFAULT_BUFFER", 1 << 16)
    monkeypatch.setattr("nlbus.bus.options.GROWN_BUFFER", 1 << 18)
    sub = subscribe("bus", groups=1, on_loss="ignore")
    sizes = [sub.stats()["buffer_size"]]
    dropped = 0
    with Sender() as sender:
        for _ in range(5):
            while proc_netlink(sub).drops == dropped:
                for i in range(100):
                    sender.send(one_event(b"x" * 64, first_seq=i, dgram_seq=i))
            drain(sub)
            dropped = proc_netlink(sub).drops
            assert sub.stats()["dropped"] == dropped
            sizes.append(sub.stats()["buffer_size"])
    assert sizes == [1 << 16, 1 << 17, 1 << 18, 1 << 18, 1 << 18, 1 << 18]
    assert sub.stats()["buffer_grown"] == 2
    assert "may grow to 262144" in sub.explain()


def test_overruns_of_route_are_counted_as_the_kernel_counts_them(subscribe: Subscribe) -> None:
    sub = subscribe("route", groups=["link"], buffer_events=2, on_loss="ignore")
    start = time.time_ns()
    for _ in range(50):
        ip("link set lo up", "link set lo down")
    batches = drain(sub)
    rows = [row for batch in batches for row in batch.loss.rows]
    assert sum(int(row["count"]) for row in rows) == sub.stats()["dropped"] == proc_netlink(sub).drops > 0
    assert all(row["cause"] == "overrun" for row in rows)
    assert all(start - 10**9 < row["earliest"] <= row["latest"] <= time.time_ns() for row in rows)
    wait_until(lambda: proc_netlink(sub).rmem == 0)
    ip("link set lo up")
    assert len(sub.recv(1)), "it goes on after an overrun"


def test_a_drop_larger_than_all_received_datagrams_is_reported_with_them(subscribe: Subscribe) -> None:
    sub = subscribe("raw:2", groups=1, buffer_events=24, on_loss="ignore")
    assert not len(sub.recv(0))
    with Sender() as sender:
        for dropped in (1, 2, 3):
            sender.send(plain(b"x"))
            sender.send(plain(b"x" * 30_000))  # larger than the buffer: accepted only if empty
            assert proc_netlink(sub).drops == dropped
            [ready] = nlbus.wait([sub], 1)
            batch = ready.recv(0)
            assert (len(batch), batch.loss.datagrams) == (1, 1)
    assert nlbus.wait([sub], 0) == []


def test_a_gap_explains_the_dropped_datagram_that_caused_it(subscribe: Subscribe) -> None:
    sub = subscribe(groups=1, buffer_events=48, on_loss="ignore")
    assert not len(sub.recv(0))
    with Sender() as sender:
        for seq, size in enumerate((1, 1, 60_000, 1)):
            if seq == 1:
                assert len(sub.recv(0)) == 1
            sender.send(one_event(b"x" * size, first_seq=seq, dgram_seq=seq))
    batch = sub.recv(0)
    assert (len(batch), batch.loss.events, batch.loss.open) == (2, 1, 0)
    assert not sub.recv(0).loss
    stats = sub.stats()
    assert (stats["lost"], stats["dropped"], stats["open"]) == (1, 1, 0)


def test_drops_are_checked_even_without_pressure(subscribe: Subscribe) -> None:
    sub = subscribe("route", groups="link", on_loss="ignore")
    assert not len(sub.recv(0))
    raise_error(sub)
    sub.recv(0)
    give_up = time.monotonic() + 5
    while not sub.stats()["unbuilt"]:  # each receive returns something and empties the queue
        assert time.monotonic() < give_up
        ip("link set lo up", "link set lo down")
        assert len(sub.recv(0))


def test_a_buffer_does_not_shrink_when_privileges_are_dropped(
    child: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlbus.bus.options.DEFAULT_BUFFER", 1 << 20)

    def work() -> list[int]:
        sub = Subscriber("bus", groups=1, on_loss="ignore")
        sizes = [sub.stats()["buffer_size"]]
        become(NOBODY, drop_caps=False, keep_admin=False)
        with Sender() as sender:
            for i in range(2000):
                sender.send(one_event(b"x" * 64, first_seq=i, dgram_seq=i))
        drain(sub)
        stats = sub.stats()
        assert stats["dropped"] > 0
        assert stats["buffer_grown"] == 0
        return [*sizes, stats["buffer_size"]]

    before, after = child(work).result()
    if before < 1 << 20:
        pytest.skip("a large receive buffer needs CAP_NET_ADMIN in the first user namespace")
    assert after == before
