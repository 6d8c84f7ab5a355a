"""Batches of the bus: valid ones are accepted, and each invalid one is refused with its fault."""

import struct
from typing import Any

import pytest

from nlbus._wire import wire
from tests.support import reference
from tests.support.reference import BATCH, F_TIMES, F_VAR, U64_MAX, Fault, bus_batch, chain

RECORDS = bytes(range(48))


def parse(message: bytes) -> reference.Batch:
    """Parse one message with header and body apart, as in a scatter receive; compare with the oracle."""
    head, rest = message[16:96], message[96:]
    found = reference.Batch(*wire.parse_batch(head, rest))
    assert found == reference.parse_batch(head, rest)
    assert wire.parse_chain(message) == ([found], 0)
    return found


FINE = {
    "one record": (bus_batch(b"abcdefgh", record_size=8), [b"abcdefgh"], None),
    "records": (bus_batch(RECORDS, record_size=16), [RECORDS[:16], RECORDS[16:32], RECORDS[32:]], None),
    "records of an odd size": (bus_batch(b"abcabc", record_size=3), [b"abc", b"abc"], None),
    "seven bytes of padding": (bus_batch(b"abc", record_size=3, trailing=bytes(7)), [b"abc"], None),
    "events without bytes": (bus_batch(var=[b"", b"", b""]), [b"", b"", b""], None),
    "the most events": (bus_batch(bytes(65535), record_size=1), [b"\0"] * 65535, None),
    "a heartbeat": (bus_batch(first_seq=9, dgram_seq=4), [], None),
    "a heartbeat with a record size": (bus_batch(record_size=0xFFFFFFFF), [], None),
    "a VAR heartbeat": (bus_batch(var=[]), [], None),
    "a VAR heartbeat with times": (bus_batch(var=[], times=[]), [], []),
    "a heartbeat with times": (bus_batch(times=[]), [], []),
    "var": (bus_batch(var=[b"a", b"", b"bcd"]), [b"a", b"", b"bcd"], None),
    "var, one empty event": (bus_batch(var=[b""]), [b""], None),
    "var and times": (bus_batch(var=[b"a", b"bc"], times=[0, 7]), [b"a", b"bc"], [0, 7]),
    "times behind an odd size": (bus_batch(b"abcabc", record_size=3, times=[1, 2]), [b"abc"] * 2, [1, 2]),
    "times and padding": (bus_batch(b"a", record_size=1, times=[1], trailing=bytes(4)), [b"a"], [1]),
    "a grown header": (bus_batch(b"abcd", record_size=4, grown=bytes(16)), [b"abcd"], None),
    "a grown header and times": (bus_batch(b"a", record_size=1, times=[3], grown=bytes(8)), [b"a"], [3]),
    "a grown header and nothing else": (bus_batch(grown=bytes(8)), [], None),
    "the last sequence numbers": (
        bus_batch(b"a", record_size=1, first_seq=U64_MAX - 1, dgram_seq=U64_MAX - 1),
        [b"a"],
        None,
    ),
    "the highest group": (bus_batch(groups=1 << 31), [], None),
    "a datagram that was sent again": (bus_batch(repeats=5), [], None),
}


@pytest.mark.parametrize("name", FINE)
def test_a_valid_batch_is_accepted(name: str) -> None:
    message, events, times = FINE[name]
    found = parse(message)
    assert found.fault == Fault.BUS_OK
    assert found.events == events
    assert found.times == times


REFUSED = {
    "another magic": (bus_batch(magic=0x6E627573), Fault.BUS_MAGIC),
    "version 0": (bus_batch(version=0), Fault.BUS_VERSION_),
    "version 2": (bus_batch(version=2), Fault.BUS_VERSION_),
    "header_len 0": (bus_batch(header_len=0), Fault.BUS_HEADER),
    "header_len 72": (bus_batch(header_len=72), Fault.BUS_HEADER),
    "header_len 84": (bus_batch(grown=bytes(4)), Fault.BUS_HEADER),
    "header_len beyond the message": (bus_batch(header_len=88), Fault.BUS_HEADER),
    "header_len one byte beyond": (bus_batch(trailing=bytes(7), header_len=88), Fault.BUS_HEADER),
    "header_len at its largest": (bus_batch(header_len=0xFFF8), Fault.BUS_HEADER),
    "an unknown flag": (bus_batch(flags=4), Fault.BUS_FLAGS),
    "the highest flag beside a known one": (bus_batch(var=[], flags=0x80000001), Fault.BUS_FLAGS),
    "no group": (bus_batch(groups=0), Fault.BUS_GROUPS_),
    "events without bytes that cost nothing": (bus_batch(count=3), Fault.BUS_SIZE),
    "one event too many": (bus_batch(count=65536), Fault.BUS_COUNT),
    "count at its largest": (bus_batch(count=0xFFFFFFFF, record_size=0xFFFFFFFF), Fault.BUS_COUNT),
    "VAR with count + 1 that wraps": (bus_batch(flags=F_VAR, count=0xFFFFFFFF), Fault.BUS_COUNT),
    "first_seq + count wraps": (bus_batch(b"ab", record_size=1, first_seq=U64_MAX - 1), Fault.BUS_SEQ),
    "the last dgram_seq": (bus_batch(dgram_seq=U64_MAX), Fault.BUS_SEQ),
    "one byte short": (bus_batch(b"abc", count=1, record_size=4), Fault.BUS_SHORT),
    "a size that wraps 32 bits to 0": (bus_batch(count=0x8000, record_size=0x20000), Fault.BUS_SHORT),
    "a size that wraps to what is there": (
        bus_batch(bytes(4), count=2, record_size=0x80000002),
        Fault.BUS_SHORT,
    ),
    "the largest size": (bus_batch(count=65535, record_size=0xFFFFFFFF), Fault.BUS_SHORT),
    "no room for times": (bus_batch(b"abcdefgh", record_size=8, flags=F_TIMES), Fault.BUS_SHORT),
    "times one byte short": (
        bus_batch(b"abcdefgh", record_size=8, trailing=bytes(3), flags=F_TIMES),
        Fault.BUS_SHORT,
    ),
    "no padding before no times": (bus_batch(var=[], flags=F_VAR | F_TIMES), Fault.BUS_SHORT),
    "times for one event of two": (bus_batch(b"ab", record_size=1, times=[1]), Fault.BUS_SHORT),
    "a VAR heartbeat without its offset": (bus_batch(flags=F_VAR), Fault.BUS_SHORT),
    "an offset too few": (bus_batch(flags=F_VAR, trailing=bytes(7), count=1), Fault.BUS_SHORT),
    "eight bytes too many": (bus_batch(b"abc", record_size=3, trailing=bytes(8)), Fault.BUS_SIZE),
    "eight bytes behind a heartbeat": (bus_batch(trailing=bytes(8)), Fault.BUS_SIZE),
    "eight bytes behind var": (bus_batch(var=[b"a"], trailing=bytes(8)), Fault.BUS_SIZE),
    "eight bytes behind times": (
        bus_batch(b"a", record_size=1, times=[0], trailing=bytes(8)),
        Fault.BUS_SIZE,
    ),
    "VAR with a record size": (bus_batch(var=[b"a"], record_size=1), Fault.BUS_SIZE),
    "offsets from 1": (bus_batch(b"abcd", offsets=[1, 4]), Fault.BUS_OFFSETS),
    "a heartbeat's offset is not 0": (bus_batch(b"abcd", offsets=[4]), Fault.BUS_OFFSETS),
    "offsets that fall": (bus_batch(b"abcd", offsets=[0, 3, 2, 4]), Fault.BUS_OFFSETS),
    "the last offset falls": (bus_batch(b"abcd", offsets=[0, 3, 2]), Fault.BUS_OFFSETS),
    "an offset that falls from the highest": (
        bus_batch(b"abcd", offsets=[0, 0xFFFFFFFF, 4]),
        Fault.BUS_OFFSETS,
    ),
    "the last offset one beyond": (bus_batch(b"abcd", offsets=[0, 5]), Fault.BUS_OFFSETS),
    "the last offset at its largest": (bus_batch(b"abcd", offsets=[0, 0xFFFFFFFF]), Fault.BUS_OFFSETS),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_invalid_batch_is_refused_with_its_fault(name: str) -> None:
    message, fault = REFUSED[name]
    assert Fault(parse(message).fault) == fault


def test_every_fault_has_a_case() -> None:
    assert {fault for _, fault in REFUSED.values()} | {Fault.BUS_OK} == set(Fault)


def test_the_header_is_checked_before_the_body() -> None:
    # with every rule violated, the first one is reported, and so on in order
    wrong: dict[str, Any] = {
        "magic": 0,
        "version": 0,
        "header_len": 0,
        "flags": 4,
        "groups": 0,
        "count": 65536,
        "dgram_seq": U64_MAX,
    }
    faults = []
    while wrong:
        faults.append(Fault(parse(bus_batch(**wrong)).fault))
        del wrong[next(iter(wrong))]
    assert faults == [
        Fault[f"BUS_{n}"] for n in ["MAGIC", "VERSION_", "HEADER", "FLAGS", "GROUPS_", "COUNT", "SEQ"]
    ]


@pytest.mark.parametrize("shift", range(8))
def test_any_alignment_can_be_parsed(shift: int) -> None:
    message = bus_batch(var=[b"a", b"bc", b""], times=[1, 2, 3])
    head = memoryview(bytes(shift) + message[16:96])[shift:]
    rest = memoryview(bytes(shift) + message[96:])[shift:]
    assert wire.parse_batch(head, rest) == reference.parse_batch(message[16:96], message[96:])


def test_a_chain_gives_all_its_batches() -> None:
    batches = [bus_batch(b"abc", record_size=3), bus_batch(var=[b"a", b"bcd"], first_seq=1), bus_batch()]
    found, malformed = wire.parse_chain(chain(*batches))
    assert malformed == 0
    assert [reference.Batch(*b).events for b in found] == [[b"abc"], [b"a", b"bcd"], []]
    assert [offset % 8 for offset, *_ in wire.walk(chain(*batches))[0]] == [0, 0, 0]


def test_a_malformed_batch_does_not_affect_the_others() -> None:
    good = bus_batch(b"abcd", record_size=4)
    other, empty = reference.message(0x11, b"another type"), reference.message(reference.MSG_BATCH)
    data = chain(good, bus_batch(magic=1), other, empty, good)
    found, malformed = wire.parse_chain(data)
    assert (found, malformed) == reference.parse_chain(data)
    assert [b[0] for b in found] == [Fault.BUS_OK, Fault.BUS_MAGIC, Fault.BUS_SHORT, Fault.BUS_OK]


@pytest.mark.parametrize("size", [16, 17, 95])
def test_a_message_too_small_for_a_header_is_short(size: int) -> None:
    assert wire.parse_chain(bus_batch(nlmsg_len=size)[:size]) == (
        [(Fault.BUS_SHORT, None, None, None, None)],
        0,
    )


FIELDS = {name: 0x0101 * (i + 1) for i, name in enumerate(reference.BATCH_FIELDS)}


def test_put_batch_writes_what_the_oracle_writes() -> None:
    prefix, length = wire.put_batch(FIELDS, 8)
    fixed = ("magic", "version", "header_len", "repeats")
    values: dict[str, Any] = {name: value for name, value in FIELDS.items() if name not in fixed}
    assert length == 104
    assert prefix + bytes(8) == bus_batch(trailing=bytes(8), **values)


def test_put_batch_refuses_lengths_beyond_nlmsg_len() -> None:
    largest = 2**32 - 1 - 96
    assert struct.unpack_from("=I", wire.put_batch(FIELDS, largest)[0]) == (2**32 - 1,)
    assert wire.put_batch(FIELDS, largest + 1) == (b"", 0)
    assert wire.put_batch(FIELDS, 2**32 - 1) == (b"", 0)


def test_the_oracle_has_the_same_faults_and_header() -> None:
    assert {f.name: f.value for f in Fault} == wire.FAULTS
    assert BATCH.size == 80
    for name in ("MSG_BATCH", "MAGIC", "VERSION", "F_VAR", "F_TIMES", "MAX_COUNT"):
        assert getattr(reference, name) == wire.CONSTANTS[f"NLBUS_{name}"]
