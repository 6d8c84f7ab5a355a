"""Bad input and missing privileges: a clear error or a counted drop, and the reader continues."""

import errno
import resource
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nlbus
from nlbus import (
    KernelError,
    NlbusError,
    PermissionDenied,
    Publisher,
    SchemaError,
    Subscriber,
    Topic,
    UnknownSource,
)  # fmt: skip
from tests.support import reference
from tests.support.reference import bus_batch, chain, message
from tests.support.sockets import NOBODY, Child, Sender, drain, one_event, payload, payloads, plain

Subscribe = Callable[..., Subscriber]
Fork = Callable[..., Child]


@pytest.fixture
def sub(subscribe: Subscribe) -> Subscriber:
    return subscribe(groups=(1, 2, 32))


GOOD = one_event(b"good", instance=1)
# The datagram, and the counter that it increments by one.
DROPPED = {
    "one byte": (b"\0", "malformed"),
    "cut in the netlink header": (GOOD[:15], "malformed"),
    "cut in the batch header": (GOOD[:95], "malformed"),
    "a header alone": (GOOD[:96], "malformed"),
    "cut in the events": (GOOD[:-1], "malformed"),
    "nlmsg_len of 0": (one_event(b"evil", nlmsg_len=0), "malformed"),
    "nlmsg_len below its header": (one_event(b"evil", nlmsg_len=15), "malformed"),
    "nlmsg_len beyond the datagram": (one_event(b"evil", nlmsg_len=4096), "malformed"),
    "nlmsg_len of 4 GiB": (one_event(b"evil", nlmsg_len=0xFFFFFFFF), "malformed"),
    "bad magic": (one_event(b"evil", magic=1), "malformed"),
    "another version": (one_event(b"evil", version=2), "malformed"),
    "unknown flag": (one_event(b"evil", flags=4), "malformed"),
    "no groups": (one_event(b"evil", groups=0), "malformed"),
    "groups that it did not come by": (one_event(b"evil", groups=0b10), "malformed"),
    "a count that its bytes do not bear out": (one_event(b"evil", count=2), "malformed"),
    "a count that overflows": (one_event(b"evil", count=0x40000001), "malformed"),
    "events without bytes": (bus_batch(b"", record_size=0, count=9), "malformed"),
    "offsets that lead out": (bus_batch(offsets=[0, 1 << 31]), "malformed"),
    "offsets that fall": (bus_batch(b"abc", offsets=[0, 3, 1]), "malformed"),
    "sequence numbers at their end": (one_event(b"evil", first_seq=2**64 - 1), "malformed"),
    "a message of another kind": (message(0x20, bytes(100)), "foreign"),
    "a short message of another kind": (message(3, b""), "foreign"),
    "trailing bytes": (reference.pad(one_event(b"good" * 2, instance=5)) + b"x", "malformed"),
}


@pytest.mark.parametrize("name", DROPPED)
def test_a_bad_datagram_is_counted_once_and_the_good_ones_around_it_arrive(
    sub: Subscriber, name: str
) -> None:
    data, counter = DROPPED[name]
    kept = [b"good" * 2] if name == "trailing bytes" else []
    with Sender() as sender:
        for copies in (1, 200):  # alone, and within a full arena
            before = sub.stats()
            instance = 10 + copies
            for i in range(copies):
                sender.send(one_event(payload(200, i), instance=instance, first_seq=i, dgram_seq=i))
            sender.send(data)
            sender.send(one_event(b"after", instance=instance, first_seq=copies, dgram_seq=copies))
            got = drain(sub)
            after = sub.stats()
            assert payloads(got) == [payload(200, i) for i in range(copies)] + kept + [b"after"]
            assert not any(b.loss for b in got)
            moved = {
                n: after[n] - before[n] for n in ("malformed", "foreign", "untrusted", "copies", "truncated")
            }
            kept = []
            expected = dict.fromkeys(moved, 0)
            expected[counter] = 1
            if name == "trailing bytes" and copies == 200:
                expected["copies"] = 1  # its batch was valid and arrives a second time
            assert moved == expected


def test_a_bad_message_in_a_chain_affects_only_itself(sub: Subscriber) -> None:
    good = {"instance": 3, "dgram_seq": 0}
    with Sender() as sender:
        sender.send(
            chain(
                one_event(b"one", **good, first_seq=0),
                one_event(b"bad magic", magic=9),
                message(0x30, b"not ours"),
                one_event(b"two", **good, first_seq=1),
                one_event(b"goes back", **good, first_seq=0),
                one_event(b"three", **good, first_seq=2),
            )
        )
    assert payloads(drain(sub)) == [b"one", b"two", b"three"]
    stats = sub.stats()
    assert (stats["malformed"], stats["foreign"], stats["lost"]) == (2, 1, 0)


def test_forged_numbers_of_a_stream_are_confined_to_their_sender(
    sub: Subscriber, publisher: Publisher
) -> None:
    publisher.publish(b"one", 1)
    stream = publisher.stats()["streams"][0]
    with Sender() as sender:  # the same instance and groups, another portid: another stream
        sender.send(one_event(b"forged", instance=stream["instance"], first_seq=10**9, dgram_seq=10**9))
    publisher.publish(b"two", 1)
    got = drain(sub)
    assert payloads(got) == [b"one", b"forged", b"two"]
    assert not any(b.loss for b in got)


cuts = st.integers(1, 120)
garbage = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.builds(lambda data, cut: data[:cut], st.sampled_from(sorted({d for d, _ in DROPPED.values()})), cuts),
    st.builds(
        lambda at, value: one_event(b"evil" * 5)[:at] + bytes([value]) + one_event(b"evil" * 5)[at + 1 :],
        st.integers(0, 115), st.integers(0, 255),
    ),
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(rubbish=st.lists(garbage, max_size=30), source=st.sampled_from(("bus", "raw:2")))
def test_rubbish_among_good_events_stops_nothing(
    subscribe: Subscribe, rubbish: list[bytes], source: str
) -> None:
    sub = subscribe(source, groups=1, on_loss="ignore")
    with Sender() as sender, Publisher() as pub:
        for i, data in enumerate([*rubbish, b"\0"]):
            sender.send(data)
            pub.publish(i.to_bytes(2, "big"), 1, 0x99)
        good = []
        for batch in drain(sub):
            whole = [batch.payload(i) for i in range(len(batch))]
            assert batch.copy().records("V2").tobytes() == b"".join(p for p in whole if len(p) == 2)
            ours = batch.events["portid"] if source == "bus" else batch.messages["portid"]
            good += [p for p, port in zip(whole, ours.tolist(), strict=True) if port == pub.portid]
        wanted = [i.to_bytes(2, "big") for i in range(len(rubbish) + 1)]
        assert [p[-2:] for p in good] == wanted
    sub.close()


# Misuse


@pytest.mark.parametrize("groups", [0, 33, -1, 1 << 32, [1, 33], (), [], "", b"1", 1.5, None, True, [None]])
def test_groups_that_the_bus_does_not_have_are_refused(groups: Any, publisher: Publisher) -> None:
    with pytest.raises(SchemaError):
        publisher.publish(b"x", groups)
    if groups != "":
        with pytest.raises(SchemaError):
            Subscriber(groups=groups)


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("bsu", "'bus'"), ("rout", "'route'"), ("udev", "uevent"), ("raw:usersok", "'usersock'"),
        ("raw:99", "0 to 31"), ("raw:", "protocol"), ("", "bus"),
    ],
)  # fmt: skip
def test_the_error_for_an_unknown_source_suggests_a_name(source: str, hint: str) -> None:
    with pytest.raises(UnknownSource, match=hint):
        Subscriber(source, groups=1)


def test_the_error_for_an_unknown_group_suggests_a_name() -> None:
    with pytest.raises(UnknownSource, match="'link'"):
        Subscriber("route", groups="lnik")
    with pytest.raises(UnknownSource, match="numbers only"):
        Subscriber(groups="tick")


@pytest.mark.parametrize("type_", [-1, 1 << 32])
def test_an_event_type_that_does_not_fit_is_refused(publisher: Publisher, type_: int) -> None:
    with pytest.raises(SchemaError):
        publisher.publish(b"x", 1, type_)
    with pytest.raises(SchemaError):
        publisher.publish_many(np.zeros(3, "u1"), 1, type_)


@pytest.mark.parametrize(
    "rows",
    [np.array([b"x", None], object), np.zeros((2, 2, 2)), np.zeros(2, [("a", "O")])],
    ids=["objects", "3-D", "field"],
)
def test_arrays_without_plain_byte_rows_are_refused(publisher: Publisher, rows: Any) -> None:
    with pytest.raises(SchemaError):
        publisher.publish_many(rows, 1)


def test_a_payload_that_is_no_buffer_is_a_type_error(publisher: Publisher) -> None:
    for data in ("text", 5, None, [1]):
        with pytest.raises(TypeError):
            publisher.publish(data, 1)  # type: ignore[arg-type]
    with pytest.raises((BufferError, NlbusError, ValueError)):
        publisher.publish(memoryview(b"abcdef")[::2], 1)
    assert publisher.stats()["streams"] == []


def test_records_of_a_dtype_that_does_not_fit_are_misfits_not_garbage(
    sub: Subscriber, publisher: Publisher
) -> None:
    topic = Topic("t", [("a", "<u4")], groups=1)
    publisher.publish_many(np.arange(6, dtype="<u4").view(topic.dtype), topic=topic)
    [batch] = drain(sub)
    assert batch.records("<u8").shape == (0,)
    assert batch.misfits == 6


# Privileges


def test_the_error_for_a_join_names_the_missing_privilege(child: Fork) -> None:
    def work() -> list[tuple[str, int | None, bool]]:
        said = []
        for source in ("bus", "raw:2"):
            try:
                Subscriber(source, groups=1)
            except PermissionDenied as error:
                said.append((str(error), error.errno, isinstance(error, PermissionError)))
        return said

    for text, number, builtin in child(work, drop_caps=True).result():
        assert "CAP_NET_ADMIN" in text
        assert "unshare" in text
        assert number == errno.EPERM
        assert builtin


def test_publishing_and_listening_to_the_kernel_need_no_privilege(subscribe: Subscribe, child: Fork) -> None:
    sub = subscribe(groups=1, trust="any")

    def work() -> list[str]:
        with Publisher() as pub:
            pub.publish(b"no privilege", 1)
        with Subscriber("route") as route, Subscriber("uevent") as uevent:
            return [route.transport, uevent.transport]

    assert child(work, uid=NOBODY).result() == ["netlink", "netlink"]
    assert payloads(drain(sub)) == [b"no privilege"]


def test_a_subscriber_without_the_privilege_keeps_its_groups_after_a_refused_join(child: Fork) -> None:
    def work() -> tuple[str, list[int], bytes]:
        with Subscriber("route", groups="link") as route:
            try:
                route.join("ipv4_mroute_r")
            except PermissionDenied as error:
                return str(error), list(route.groups), bytes(len(route.recv(0)))
        return "", [], b""

    text, groups, empty = child(work, drop_caps=True).result()
    assert "ipv4_mroute_r" in text
    assert groups == [1]
    assert empty == b""


def test_running_out_of_descriptors_is_a_kernel_error(child: Fork) -> None:
    def work() -> list[int | None]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        numbers = []
        for make in (lambda: Subscriber(groups=1), Publisher):
            try:
                make()
            except KernelError as error:
                numbers.append(error.errno)
        return numbers

    assert child(work).result() == [errno.EMFILE, errno.EMFILE]


@pytest.mark.parametrize(
    ("source", "groups", "words"),
    [
        ("route", 5000, "joining route (5000): Invalid argument; this kernel has no such group"),
        ("raw:3", 1, "joining raw:3 (1): Protocol not supported; this kernel has no NETLINK_FIREWALL"),
    ],
)
def test_help_matches_the_error(source: str, groups: int, words: str) -> None:
    with pytest.raises(KernelError) as caught:
        Subscriber(source, groups=groups)
    assert caught.value.strerror == words


def test_too_many_open_files_is_not_reported_as_a_missing_privilege(child: Fork) -> None:
    def work() -> list[str]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        said = []
        for source in ("route", "conntrack", "nflog"):
            with pytest.raises(KernelError, match="ulimit") as caught:
                Subscriber(source)
            said.append(str(caught.value))
        return said

    assert not any("privilege" in said or "CAP_" in said for said in child(work).result())


def test_fileno_without_a_free_descriptor_is_a_kernel_error(child: Fork) -> None:
    def work() -> str:
        sub = Subscriber("route", groups="link")
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        for _ in range(2):
            with pytest.raises(KernelError, match=r"wait for route.*ulimit") as caught:
                sub.fileno()
        return str(caught.value)

    assert child(work).result()


def test_sources_lists_what_is_available_here(child: Fork) -> None:
    here = {source.name: source for source in nlbus.sources()}
    assert here["bus"].available
    assert here["route"].available
    there = child(lambda: [(s.name, s.available, s.reason) for s in nlbus.sources()], drop_caps=True).result()
    there = {name: (available, reason) for name, available, reason in there}
    assert not there["bus"][0]
    assert "CAP_NET_ADMIN" in there["bus"][1]
    assert there["route"][0]


def test_a_protocol_that_the_kernel_lacks_is_a_kernel_error() -> None:
    with pytest.raises(KernelError) as caught:
        Subscriber("raw:31", groups=1)
    assert caught.value.errno == errno.EPROTONOSUPPORT


def test_plain_messages_with_bad_lengths_on_a_raw_source(subscribe: Subscribe) -> None:
    raw = subscribe("raw:2", groups=1)
    with Sender() as sender:
        sender.send(plain(b"good") + struct.pack("=IHHII", 1000, 1, 0, 0, 0))
        sender.send(message(1, b"x", length=17)[:17])
        sender.send(message(1, b"x", length=3))
        sender.send(plain(b"last"))
    assert payloads(drain(raw)) == [b"good", b"x", b"last"]
    assert raw.stats()["malformed"] == 2
