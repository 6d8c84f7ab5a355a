"""Every number of a capture's headers at its extremes: batches, or a CaptureError that names the byte."""

import io
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nlbus import CaptureError, open_capture
from nlbus.capture.pcapng import ORDER_MAGIC
from tests.support.reference import message

LINK = message(16, struct.pack("=BxHiII", 0, 1, 3, 0x1043, 0))
DATAGRAM = struct.pack(">HH10xH", 4, 824, 0) + LINK
NANOSECONDS, OFFSET = 9, 14
LATEST = 2**63 - 1


def numbers(bits: int) -> st.SearchStrategy[int]:
    edges = {0, 1, 2, 3, *(2**n + d for n in (7, 8, 15, 16, 24, 31, 32, 33, 62, 63, 64) for d in (-1, 0, 1))}
    return st.sampled_from(sorted(n for n in edges if n < 2**bits)) | st.integers(0, 2**bits - 1)


def block(kind: int, body: bytes, total: int | None = None) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack("=I", len(body) + 12 if total is None else total)
    return struct.pack("=I", kind) + length + body + length


def option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(major: int = 1) -> bytes:
    return block(0x0A0D0D0A, struct.pack("=IHHq", ORDER_MAGIC, major, 0, -1))


def interface(resolution: int = NANOSECONDS, offset: int = 0, snaplen: int = 0, linktype: int = 253) -> bytes:
    options = option(9, bytes([resolution])) + option(OFFSET, struct.pack("=Q", offset & 2**64 - 1))
    return block(1, struct.pack("=HHI", linktype, 0, snaplen) + options)


def packet(ticks: int, number: int = 0, captured: int | None = None, original: int | None = None) -> bytes:
    lengths = (len(DATAGRAM) if size is None else size for size in (captured, original))
    return block(6, struct.pack("=5I", number, ticks >> 32, ticks & 2**32 - 1, *lengths) + DATAGRAM)


def statistics(ticks: int, number: int, code: int, value: int) -> bytes:
    head = struct.pack("=III", number, ticks >> 32, ticks & 2**32 - 1)
    return block(5, head + option(code, struct.pack("=Q", value)))


def pcap(
    linktype: int, snaplen: int = 1 << 18, seconds: int = 0, fraction: int = 0, captured: int = 0
) -> bytes:
    head = struct.pack("=IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, snaplen, linktype)
    return head + struct.pack("=IIII", seconds, fraction, captured or len(DATAGRAM), len(DATAGRAM)) + DATAGRAM


def read(data: bytes) -> list[dict[str, Any]]:
    rows = []
    for batch in open_capture(io.BytesIO(data), on_loss="ignore"):
        assert 0 <= batch.time_ns <= LATEST
        rows += list(batch.rows())
        assert len(batch.loss.rows) >= 0
    return rows


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_any_numbers_of_pcapng(data: st.DataObject) -> None:
    def draw(bits: int, usual: int) -> int:
        return data.draw(st.just(usual) | numbers(bits))

    with suppress(CaptureError):
        read(
            section(draw(16, 1))
            + interface(draw(8, NANOSECONDS), draw(64, 0), draw(32, 0), draw(16, 253))
            + statistics(draw(64, 0), draw(32, 0), draw(16, 7), draw(64, 0))
            + packet(draw(64, 0), draw(32, 0), draw(32, len(DATAGRAM)), draw(32, len(DATAGRAM)))
        )


@settings(deadline=None, max_examples=200)
@given(numbers(32), numbers(32), numbers(32), numbers(32), numbers(32))
@example(linktype=253, snaplen=0, seconds=2**32 - 1, fraction=2**32 - 1, captured=0)
def test_any_numbers_of_pcap(linktype: int, snaplen: int, seconds: int, fraction: int, captured: int) -> None:
    with suppress(CaptureError):
        read(pcap(linktype, snaplen, seconds, fraction, captured))


@settings(deadline=None, max_examples=200)
@given(numbers(64), numbers(64), st.sampled_from([0, 3, 6, 9, 12, 0x80, 0x9E, 0xA1]))
@example(ticks=2**63, offset=0, resolution=9)
@example(ticks=2**63 - 1, offset=0, resolution=9)
@example(ticks=2**64 - 1, offset=0, resolution=0)
@example(ticks=0, offset=2**64 - 1, resolution=9)
@example(ticks=0, offset=2**63, resolution=9)
@example(ticks=0, offset=9_223_372_037, resolution=0)
@example(ticks=2**63, offset=2**64 - 2**33, resolution=9)
def test_a_time_is_read_exactly_or_refused_at_its_byte(ticks: int, offset: int, resolution: int) -> None:
    seconds = offset - 2**64 if offset >= 2**63 else offset
    units = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
    time = ticks * 10**9 // units + seconds * 10**9
    sound, described = section() + interface() + packet(5), interface(resolution, offset)
    capture = open_capture(io.BytesIO(sound + described + packet(ticks, 1)))
    assert capture.recv().time_ns == 5
    # Ticks may be rounded twice before the offset is added.
    if 0 <= time <= LATEST and ticks * 10**9 // units <= LATEST:
        assert abs(capture.recv().time_ns - time) <= 1
    else:
        at = len(sound) + (len(described) if abs(seconds * 10**9) <= LATEST else 0)
        with pytest.raises(CaptureError, match=f"a time outside .* at byte {at};"):
            capture.recv()


@pytest.mark.parametrize("flags", [0, 1 << 26, 0xF << 28, 0x3F << 26])
def test_flags_above_pcaps_link_type_are_no_part_of_it(flags: int, tmp_path: Path) -> None:
    (row,) = read(pcap(253 | flags))
    assert row["ifindex"] == 3
