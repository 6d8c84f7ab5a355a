"""Publishing from user space: privileges, accepted and refused datagrams, and the answers."""

import os
import random
import struct
from collections.abc import Callable

import pytest

from tests.guest.control import ACK, Answer, Asker, stats
from tests.guest.helpers import HEAD, MAX_DATAGRAM, Ledger, Tap, order, payloads
from tests.support import reference
from tests.support.sockets import NOBODY, Child

Open = Callable[..., Tap]
Fork = Callable[..., Child]

MESSAGE, BATCH = reference.MESSAGE.size, reference.BATCH.size


def one_batch(data: bytes = b"event", **fields: int) -> bytes:
    return reference.bus_batch(data, **{"record_size": len(data), **fields})


def at(field: str) -> int:
    """Where a field of nlbus_batch stands in a datagram."""
    formats = reference.BATCH.format[1:]
    index = reference.BATCH_FIELDS.index(field)
    return MESSAGE + struct.calcsize("=" + formats[:index])


@pytest.fixture
def asker(netns: int) -> Asker:
    with Asker() as opened:
        yield opened


def test_one_send_reaches_every_group_of_the_mask_once_with_its_sender(tap: Open, asker: Asker) -> None:
    both, first, other = tap(1, 9), tap(1), tap(2)
    asker.send(one_batch(groups=0b1_0000_0001, instance=77, dgram_seq=5, first_seq=40))
    got = both.drain()
    assert [d.group for d in got] == [1, 9]
    assert payloads(got) == [b"event"]
    assert payloads(first.drain()) == [b"event"]
    assert other.drain() == []
    for d in got:
        assert (d.portid, d.uid) == (asker.portid, os.getuid())
        header = d.header
        assert (header["origin_portid"], header["origin_uid"]) == (asker.portid, os.getuid())
        assert (header["instance"], header["dgram_seq"], header["first_seq"]) == (77, 5, 40)


def test_every_byte_but_the_stamp_arrives_as_sent(tap: Open, asker: Asker) -> None:
    one = tap(4)
    data = reference.chain(
        one_batch(b"abc", groups=8, type=1, time_ns=9, fingerprint=3),
        reference.bus_batch(var=[b"", b"longer than before", b"x"], times=[0, 5, 6], groups=8, first_seq=1),
        one_batch(groups=8, first_seq=4, grown=bytes(16)),
        one_batch(groups=8, first_seq=5),
    )
    asker.send(data)
    [got] = one.drain()
    expected = bytearray(data)
    messages, _ = reference.walk(data)
    for message in messages:
        struct.pack_into("=II", expected, message.offset + at("origin_portid"), asker.portid, os.getuid())
    assert got.data == bytes(expected)


def test_what_the_sender_says_in_nlmsghdr_stays_with_the_module(tap: Open, asker: Asker) -> None:
    one = tap(1)
    answer = asker.ask(one_batch(nlmsg_flags=ACK, nlmsg_seq=99, nlmsg_pid=1234))
    assert answer == Answer(0, "", None, 99)
    [got] = one.drain()
    [message], _ = reference.walk(got.data)
    assert (message.flags, message.seq, message.portid) == (0, 0, 0)


def test_without_ack_nothing_is_said_of_success(tap: Open, asker: Asker) -> None:
    one = tap(1)
    asker.send(one_batch())
    assert asker.answer(0.2) is None
    assert len(one.drain()) == 1


def test_nobody_listening_is_success(asker: Asker) -> None:
    assert asker.ask(one_batch(groups=0xFFFFFFFF, nlmsg_flags=ACK)).errno == 0


GOOD = one_batch(b"12345678", first_seq=10, nlmsg_seq=1)


def second(**fields: int) -> bytes:
    """A good batch, and another that does not go with it."""
    return reference.chain(GOOD, one_batch(**{"first_seq": 11, "nlmsg_seq": 2, **fields}))


# A datagram, a part of the answer, and the offset of the fault in its message; None: in the nlmsghdr.
MALFORMED: dict[str, tuple[bytes, str, int | None]] = {
    "magic": (one_batch(magic=1), "magic", at("magic")),
    "version": (one_batch(version=2), "version", at("version")),
    "header-short": (one_batch(header_len=72), "header_len", at("header_len")),
    "header-odd": (one_batch(header_len=84), "header_len", at("header_len")),
    "header-beyond": (one_batch(header_len=800), "header_len", at("header_len")),
    "header-grown": (one_batch(grown=bytes(9) + b"\1" + bytes(6)), "header extension", HEAD + 9),
    "flags": (one_batch(flags=4), "flag", at("flags")),
    "count": (one_batch(count=65536), "count", at("count")),
    "count-more": (one_batch(count=2), "too short", at("count")),
    "count-wraps": (one_batch(count=65535, record_size=0x10001), "too short", at("count")),
    "size-0": (reference.bus_batch(b"", count=1), "record_size", at("record_size")),
    "size-var": (reference.bus_batch(offsets=[0, 0], record_size=4), "record_size", at("record_size")),
    "groups": (one_batch(groups=0), "groups", at("groups")),
    "first-seq": (one_batch(first_seq=2**64 - 1), "first_seq", at("first_seq")),
    "dgram-seq": (one_batch(dgram_seq=2**64 - 1), "dgram_seq", at("dgram_seq")),
    "origin-portid": (one_batch(origin_portid=1), "origin_portid", at("origin_portid")),
    "origin-uid": (one_batch(origin_uid=1000), "origin_uid", at("origin_uid")),
    "trailing": (one_batch(trailing=bytes(8)), "nothing announces", HEAD + 5),
    "padding": (one_batch(trailing=b"\0\1"), "padding", HEAD + 6),
    "length-beyond": (one_batch(nlmsg_len=4096), "nlmsg_len", None),
    "length-short": (reference.message(0x10, bytes(79)), "nlmsg_len", None),
    "offsets-first": (reference.bus_batch(bytes(8), offsets=[1, 2]), "offsets", HEAD),
    "offsets-fall": (reference.bus_batch(bytes(8), offsets=[0, 5, 4]), "offsets fall", HEAD + 8),
    "offsets-beyond": (reference.bus_batch(bytes(8), offsets=[0, 4, 9]), "offsets", HEAD + 8),
    "offsets-huge": (reference.bus_batch(bytes(8), offsets=[0, 2**32 - 1]), "offsets", HEAD + 4),
    "offsets-missing": (reference.bus_batch(bytes(8), flags=1, count=2), "offsets", at("count")),
    "times-missing": (one_batch(flags=2), "times", at("count")),
    "times-padding": (
        reference.bus_batch(b"a" + bytes(6) + b"\1" + bytes(4), flags=2, count=1, record_size=1),
        "padding",
        HEAD + 7,
    ),
    "second-groups": (second(groups=2), "several streams", at("groups")),
    "second-instance": (second(instance=2), "several streams", at("instance")),
    "second-dgram": (second(dgram_seq=1), "dgram_seq", at("dgram_seq")),
    "second-seq": (second(first_seq=10), "first_seq", at("first_seq")),
    "second-type": (second(nlmsg_type=0x11), "no batch", None),
    "unaligned": (one_batch(b"1234", nlmsg_len=HEAD + 4) + one_batch(), "multiple of 8", None),
    "rest": (reference.pad(one_batch(b"12345678"), 8) + bytes(8), "behind", None),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_each_malformed_input_is_refused_with_its_own_words_and_place(
    tap: Open, asker: Asker, name: str
) -> None:
    data, text, offset = MALFORMED[name]
    one = tap(*range(1, 33))
    answer = asker.ask(data)
    assert answer.errno == 22
    assert text in answer.text
    assert answer.offset == offset
    assert name.startswith("second") == (answer.seq == 2)
    assert one.drain(0.05) == []
    assert stats(0)["refused"] == 1


def test_no_two_faults_share_their_words(asker: Asker) -> None:
    """Each message names one field."""
    words: dict[str, set[int | None]] = {}
    for data, _, offset in MALFORMED.values():
        words.setdefault(asker.ask(data).text, set()).add(offset if offset and offset < HEAD else None)
    assert "" not in words
    assert {text: places for text, places in words.items() if len(places) > 1} == {}


def test_too_large_a_datagram_is_refused(tap: Open, asker: Asker) -> None:
    one = tap(1)
    asker.socket.setsockopt(1, 32, 1 << 20)
    assert asker.ask(one_batch(bytes(MAX_DATAGRAM - HEAD), nlmsg_flags=ACK)).errno == 0
    answer = asker.ask(one_batch(bytes(MAX_DATAGRAM - HEAD + 1)))
    assert (answer.errno, "NLBUS_MAX_DATAGRAM" in answer.text) == (90, True)
    assert len(one.drain()) == 1


@pytest.mark.parametrize("length", [1, 15, 16, 17, 95])
def test_scraps_harm_nobody(asker: Asker, length: int) -> None:
    """Below 16 bytes there is nothing to answer to."""
    asker.send(GOOD[:length])
    answer = asker.answer(0.2)
    assert (answer is None) == (length < 16)
    assert asker.ask(one_batch(nlmsg_flags=ACK)).errno == 0


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_is_refused_or_is_what_the_oracle_allows(tap: Open, asker: Asker, seed: int) -> None:
    random.seed(seed)
    one = tap(*range(1, 33))
    good = reference.chain(GOOD, reference.bus_batch(var=[b"ab", b"", b"c"], times=[0, 1, 2], first_seq=11))
    taken = 0
    for _ in range(300):
        data = bytearray(good)
        for _ in range(random.randint(1, 3)):
            data[random.randrange(len(data))] = random.choice([0, 1, 7, 0x7F, 0xFF])
        data[4:8] = b"\x10\0" + struct.pack("=H", ACK)
        answer = asker.ask(bytes(data))
        got = one.drain(0)
        assert bool(got) == (answer.errno == 0)
        for datagram in got:
            assert all(batch.fault == 0 for batch in datagram.batches)
        taken += answer.errno == 0
    assert 0 < taken < 300  # event bytes and times may be anything


# Other users


def attempt(data: bytes, groups: int = 0) -> tuple[int, str]:
    """(errno, text) of sending a datagram as the caller: of the send, else of the answer."""
    with Asker() as mine:
        try:
            mine.send(data, groups)
        except OSError as error:
            return error.errno, "send"
        answer = mine.answer(1)
        return (answer.errno, answer.text) if answer else (0, "")


def test_another_user_is_refused_by_the_modules_own_check(tap: Open, child: Fork) -> None:
    """The core accepts any uid's unicast to a kernel socket."""
    one = tap(1)
    errno, text = child(lambda: attempt(one_batch(nlmsg_flags=ACK)), uid=NOBODY).result()
    assert errno == 1
    assert "CAP_NET_ADMIN" in text
    assert one.drain() == []


def test_another_user_cannot_multicast_past_the_module(tap: Open, child: Fork) -> None:
    one = tap(1)
    assert child(lambda: attempt(one_batch(), groups=1), uid=NOBODY).result() == (1, "send")
    assert one.drain() == []


def test_root_that_multicasts_past_the_module_has_no_stamp(tap: Open, asker: Asker) -> None:
    """Subscribers do not believe it: origin_portid differs from the sender that the kernel reports."""
    one = tap(1)
    asker.send(one_batch(), groups=1)
    for datagram in one.drain():
        if datagram.header["origin_portid"] == 0:
            assert datagram.portid == asker.portid != 0


def test_another_user_with_the_capability_publishes_under_its_own_name(tap: Open, child: Fork) -> None:
    one = tap(1)
    errno, _ = child(lambda: attempt(one_batch(nlmsg_flags=ACK)), uid=NOBODY, keep_admin=True).result()
    assert errno == 0
    [got] = one.drain()
    assert (got.uid, got.header["origin_uid"]) == (NOBODY, NOBODY)
    assert got.header["origin_portid"] == got.portid != 0


def test_another_user_may_not_join_but_may_where_the_module_is_told_so(
    reload: Callable[..., None], child: Fork
) -> None:
    def join() -> int:
        try:
            Tap(1).close()
        except OSError as error:
            return error.errno
        return 0

    assert child(join, uid=NOBODY).result() == 1
    reload(open_receive=1)
    assert child(join, uid=NOBODY).result() == 0
    errno, text = child(lambda: attempt(one_batch(nlmsg_flags=ACK)), uid=NOBODY).result()
    assert (errno, "CAP_NET_ADMIN" in text) == (1, True)


def test_kernel_and_user_events_never_share_a_datagram(tap: Open, asker: Asker) -> None:
    one = tap(1)
    for i in range(50):
        order("publish", 1, first=i)
        asker.send(one_batch(dgram_seq=i, first_seq=i))
    ledger = Ledger()
    for datagram in one.drain():
        for batch in ledger.take(datagram):
            assert batch.header is not None
            assert batch.header["origin_portid"] == datagram.portid
    assert (len(ledger.streams), ledger.events, ledger.lost) == (2, 100, 0)


# Reliable publishing


def test_a_full_subscriber_that_asked_for_it_is_told_to_the_publisher(tap: Open, asker: Asker) -> None:
    tap(1, buffer=2048, error=True)
    healthy = tap(1)
    refusals, sent = 0, 0
    for i in range(20):
        answer = asker.ask(one_batch(bytes(1000), nlmsg_flags=ACK, dgram_seq=i, first_seq=i))
        assert answer.errno in (0, 105)
        refusals += answer.errno == 105
        sent += 1
    assert refusals > 0
    assert len(payloads(healthy.drain())) == sent


def test_a_retry_with_the_same_number_is_a_copy_to_all_who_could_take_it(tap: Open, asker: Asker) -> None:
    stuck, healthy = tap(1, buffer=2048, error=True), tap(1)
    number = 0

    def numbered(repeats: int = 0) -> bytes:
        data = struct.pack("=Q", number) * 100
        return one_batch(data, nlmsg_flags=ACK, dgram_seq=number, first_seq=number, repeats=repeats)

    while asker.ask(numbered()).errno == 0:
        number += 1
    first = stuck.drain(0)
    assert asker.ask(numbered(1)).errno == 0
    for got in (first + stuck.drain(0.1), healthy.drain(0.1)):
        events = payloads(got)
        assert [struct.unpack_from("=Q", data)[0] for data in events] == list(range(number + 1))


def test_a_full_subscriber_that_did_not_ask_stalls_nobody(tap: Open, asker: Asker) -> None:
    tap(1, buffer=2048)
    for i in range(30):
        assert asker.ask(one_batch(bytes(1000), nlmsg_flags=ACK, dgram_seq=i, first_seq=i)).errno == 0
