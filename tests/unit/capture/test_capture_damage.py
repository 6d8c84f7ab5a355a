"""Damaged captures: everything before the damage is delivered, then an error names the offset."""

import io
import struct
from bisect import bisect_right
from functools import cache
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nlbus import Batch, CaptureError, ClosedError, open_capture
from tests.support.captures import (
    block,
    block_ends,
    comment,
    cooked,
    halves,
    interface,
    packet,
    pcap,
    section,
    simple_packet,
    statistics,
)
from tests.support.reference import bus_batch, message

NS = (9, bytes([9]))
DATA = Path(__file__).parents[2] / "data"


def recorded() -> bytes:
    """Every kind of block that nlbus writes; every packet is a batch."""
    words = "protocol=2 group=1 portid=5 uid=6 nsid=-1 groups=1,7"
    data = section("<", (4, b"nlbus"))
    data += interface((2, b"bus"), comment(f"nlbus source=bus {words}"), NS)
    for i in range(6):
        event = bus_batch(var=[b"event", bytes([i]) * i], times=[0, 1], dgram_seq=i, first_seq=2 * i)
        if i % 2:
            lost = (2, halves(i)), (3, halves(i)), (7, struct.pack("<Q", i))
            data += statistics(comment(f"nlbus cause=gap stream={i:#x} exact=1"), *lost, ticks=i)
            data += statistics(comment(f"nlbus open={i} grew=1"), ticks=i)
        data += packet(cooked(event, 2), i)
    return data


def others() -> bytes:
    data = section() + interface((2, b"nlmon0")) + interface(linktype=1)
    for i in range(5):
        data += packet(cooked(message(16 + i, bytes(i))), i, i % 2) + block(99, b"unknown?")
        data += simple_packet(cooked(message(20, b"simple")))
    return data + section(">") + interface(order=">") + packet(cooked(message(1, b"")), 8, order=">")


FILES = {
    "recorded": recorded(),
    "others": others(),
    "pcap": pcap(*((i * 1000, cooked(message(16, bytes(i)))) for i in range(8))),
    "nlmon.pcap": (DATA / "route-nlmon-6.1-snapped.pcap").read_bytes(),
    "nlmon.pcapng": (DATA / "route-nlmon-6.1.pcapng").read_bytes(),
}
NAMES = sorted(FILES)


def heard(data: bytes) -> tuple[list[tuple[int, bytes]], CaptureError | None]:
    """(time, payload) of every delivered message, and the error at the end."""
    got: list[tuple[int, bytes]] = []
    try:
        capture = open_capture(io.BytesIO(data), on_loss="ignore")
    except CaptureError as error:
        return got, error
    error = None
    while error is None:
        try:
            batch = capture.recv()
        except ClosedError:
            return got, None
        except CaptureError as damage:
            error = damage
        else:
            got += [(batch.time_ns, batch.payload(i)) for i in range(len(batch))]
    with pytest.raises(CaptureError) as again:
        capture.recv()
    assert str(again.value) == str(error)
    return got, error


@cache
def ends(name: str) -> list[int]:
    data = FILES[name]
    if name != "others":
        return block_ends(data)
    at, found = 0, []
    swap = data.rindex(struct.pack("<I", 0x0A0D0D0A))
    while at < len(data):
        at += struct.unpack_from("<I" if at < swap else ">I", data, at + 4)[0]
        found.append(at)
    return found


@cache
def upto(name: str, end: int) -> list[tuple[int, bytes]]:
    """The messages of the intact file that ends there."""
    got, error = heard(FILES[name][:end])
    assert error is None
    return got


def test_the_undamaged_files_are_valid() -> None:
    for name in NAMES:
        assert ends(name)[-1] == len(FILES[name])
        assert len(upto(name, len(FILES[name]))) >= 6, name


@pytest.mark.parametrize("name", ["recorded", "others", "pcap"])
def test_a_file_may_be_cut_at_every_offset(name: str) -> None:
    data = FILES[name]
    for cut in range(len(data)):
        before = bisect_right(ends(name), cut)
        end = ends(name)[before - 1] if before else 0
        got, error = heard(data[:cut])
        if cut == end and cut:
            assert error is None
        else:
            assert error is not None
            assert error.offset == end, cut
            assert str(end) in str(error)
        assert got == (upto(name, end) if end else [])


@settings(deadline=None, max_examples=500)
@given(st.data())
def test_any_bytes_may_be_overwritten(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NAMES))
    whole = FILES[name]
    at = data.draw(st.integers(0, len(whole) - 1))
    news = data.draw(
        st.one_of(
            st.binary(min_size=1, max_size=8),
            st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**32 - 4, 16, 12, 28, 32]).map(
                lambda n: struct.pack("<I", n)
            ),
        )
    )
    if data.draw(st.booleans()):
        at -= at % 4
    before = bisect_right(ends(name), at)
    sound = ends(name)[before - 1] if before else 0
    got, error = heard(whole[:at] + news + whole[at + len(news) :])
    certain = upto(name, sound) if sound else []
    assert got[: len(certain)] == certain
    assert error is None or error.offset >= sound
    assert len(got) <= 10 * len(whole)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=400), st.sampled_from(["", "recorded", "others", "pcap"]))
@example(struct.pack("<I", 0x0A0D0D0A), "")
@example(section() + interface() + struct.pack("<I", 6), "")
def test_any_bytes_may_be_appended(tail: bytes, name: str) -> None:
    whole = FILES.get(name, b"")
    got, error = heard(whole + tail)
    certain = upto(name, len(whole)) if name else []
    assert got[: len(certain)] == certain
    assert error is None or error.offset >= len(whole) or not name


GOOD = section() + interface(NS) + packet(cooked(message(16, b"good")), 1)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (block(6, bytes(20), length=0), "a block of 0 bytes"),
        (block(6, bytes(20), length=8), "a block of 8 bytes"),
        (block(6, bytes(20), length=34), "a block of 34 bytes"),
        (block(6, bytes(20), length=0xFFFFFFFC), "a block of 4294967292 bytes"),
        (block(6, bytes(20), length=64), "32 of 64 bytes"),
        (block(6, bytes(20), last=28), "two lengths differ"),
        (block(99, bytes(20), last=28), "two lengths differ"),
        (block(6, bytes(16)), "too short for what it is"),
        (block(2, bytes(16)), "too short for what it is"),
        (block(3, b""), "too short for what it is"),
        (packet(b"", 1, 1), "an interface that was not described"),
        (packet(bytes(16), 1, 0xFFFFFFFF), "an interface that was not described"),
        (packet(bytes(16), captured=17), "longer than its block"),
        (packet(bytes(16), captured=0xFFFFFFFF), "longer than its block"),
        (simple_packet(bytes(16), original=17), "longer than its block"),
        (block(1, bytes(4)), "interface description that is too short"),
        (block(1, struct.pack("<HHI", 253, 0, 0) + struct.pack("<HH", 1, 9)), "option longer than its block"),
        (block(5, bytes(8)), "statistics that are too short"),
        (statistics(number=1), "statistics of an interface that was not described"),
        (section(major=2), "pcapng version 2"),
        (block(0x0A0D0D0A, bytes(16)), "no known byte order"),
        (block(0x0A0D0D0A, struct.pack("<I", 0x1A2B3C4D)), "a section header of 16 bytes"),
        (section()[:20], "20 of 28 bytes"),
        (b"x" * 11, "11 of 12 bytes"),
    ],
)
def test_the_error_names_the_damage(bad: bytes, why: str) -> None:
    got, error = heard(GOOD + bad)
    assert got == [(1, b"good")]
    assert error is not None
    assert why in str(error)
    assert error.offset == len(GOOD)
    assert f"at byte {len(GOOD)}; everything before it was delivered" in str(error)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "an empty file"),
        (b"\n", "too short"),
        (b"hello world, this is no capture", "not a capture: neither pcapng nor pcap"),
        (section()[:20], "the file ends within a block"),
        (pcap()[:20], "the file ends within a block"),
        (section() + interface(linktype=1), "no netlink packets"),
    ],
)
def test_a_file_without_a_valid_header_is_refused_by_open(data: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.pcapng"
    path.write_bytes(data)
    with pytest.raises(CaptureError, match=why) as caught:
        open_capture(path)
    assert caught.value.path == str(path)
    assert "broken.pcapng" in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_pcap_record_may_be_long() -> None:
    data = pcap((1000, cooked(message(16, b"good")))) + struct.pack("<4I", 0, 0, 0xFFFFFFFF, 0)
    got, error = heard(data + bytes(100))
    assert got == [(1000, b"good")]
    assert error is not None
    assert "a block of 4294967311 bytes" in str(error)


def test_a_constant_timestamp_still_gives_many_batches() -> None:
    """Memory is bounded: packets with one timestamp do not form an endless batch."""
    data = section() + interface(NS) + packet(cooked(message(16, b"")), 1) * 300_000
    batches: list[Batch] = list(open_capture(io.BytesIO(data)))
    assert [len(b) for b in batches] == [131072, 131072, 37856]
