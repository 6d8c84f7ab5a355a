"""Captures by other writers: compressed, with flags in pcap's header, of families unknown here."""

import gzip
import io
import os
import resource
import struct
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus import CaptureError, ClosedError, open_capture
from tests.support.captures import (
    MESSAGES,
    NETLINK,
    NS,
    TIMES,
    block,
    comment,
    cooked,
    halves,
    interface,
    packet,
    pcap,
    section,
    statistics,
)

PCAP = pcap(*((at, cooked(data)) for at, data in zip(TIMES, MESSAGES, strict=True)))
PCAPNG = section() + interface(NS) + b"".join(
    packet(cooked(data), at) for at, data in zip(TIMES, MESSAGES, strict=True)
)  # fmt: skip


def heard(data: bytes) -> tuple[list[bytes], str]:
    """The payloads, and the error at the end."""
    got: list[bytes] = []
    try:
        for batch in open_capture(io.BytesIO(data)):
            got += [batch.payload(i) for i in range(len(batch))]
    except CaptureError as error:
        return got, str(error)
    return got, ""


WHOLE = heard(PCAPNG)[0]


# -- compressed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [PCAP, PCAPNG])
def test_gzip_is_read(data: bytes) -> None:
    assert len(heard(data)[0]) == len(MESSAGES)
    assert heard(gzip.compress(data)) == heard(data)
    members = b"".join(gzip.compress(data[i : i + 7]) + bytes(3) for i in range(0, len(data), 7))
    assert heard(members) == heard(data)


@given(st.integers(0, len(gzip.compress(PCAPNG)) - 1))
def test_truncated_gzip_delivers_the_whole_messages(cut: int) -> None:
    got, error = heard(gzip.compress(PCAPNG, mtime=0)[:cut])
    assert got == WHOLE[: len(got)]
    assert "too short" in error or "ends too early" in error or "an empty file" in error


@given(st.integers(0, len(gzip.compress(PCAPNG)) - 1), st.integers(1, 255))
def test_damaged_gzip_gives_an_error_or_the_whole_content(at: int, flip: int) -> None:
    data = bytearray(gzip.compress(PCAPNG, mtime=0))
    data[at] ^= flip
    got, error = heard(bytes(data))
    assert error or got == WHOLE  # some header bits are ignored


def test_gzip_takes_no_more_memory_than_a_plain_file() -> None:
    compressor = zlib.compressobj(wbits=31)
    big = block(99, bytes(1 << 20))
    data = compressor.compress(section() + interface(NS))
    data += b"".join(compressor.compress(big) for _ in range(64))
    data += compressor.compress(packet(cooked(MESSAGES[0]), 1)) + compressor.flush()
    tracemalloc.start()
    try:
        got, error = heard(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(got), error) == (1, "")
    assert peak < 16 << 20


def test_thousands_of_empty_members_are_fast() -> None:
    began = time.monotonic()
    assert "too short" in heard(gzip.compress(b"") * 20_000)[1]
    assert time.monotonic() - began < 5


def test_a_gzip_pipe_is_delivered_as_data_arrives() -> None:
    compressor = zlib.compressobj(wbits=31)
    reader, writer = os.pipe()
    head = section() + interface(NS) + packet(cooked(MESSAGES[0]), 1)
    os.write(writer, compressor.compress(head) + compressor.flush(zlib.Z_SYNC_FLUSH))
    with os.fdopen(reader, "rb") as file, open_capture(file) as capture:
        assert len(capture.recv()) == 1
        os.write(writer, compressor.compress(packet(cooked(MESSAGES[1]), 2)) + compressor.flush())
        os.close(writer)
        assert len(capture.recv()) == 1
        with pytest.raises(ClosedError):
            capture.recv()


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        (b"\x28\xb5\x2f\xfd", r"compressed with zstd: decompress it first \(zstd -d\)"),
        (b"\xfd7zXZ\0", r"compressed with xz: .* \(xz -d\)"),
        (b"\x04\x22\x4d\x18", r"compressed with lz4: .* \(lz4 -d\)"),
        (b"BZh9", r"compressed with bzip2: .* \(bzip2 -d\)"),
    ],
)
def test_the_error_names_other_compressions(begin: bytes, words: str) -> None:
    with pytest.raises(CaptureError, match=words):
        open_capture(io.BytesIO(begin + bytes(99)))
    with pytest.raises(CaptureError, match=words):
        open_capture(io.BytesIO(gzip.compress(begin + bytes(99))))


# -- headers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [0x0400_0000, 0x4400_0000, 0xF800_0000, 0xFC00_0000])
def test_flags_above_pcaps_link_type_are_ignored(flags: int) -> None:
    data = PCAP[:20] + struct.pack("<I", NETLINK | flags) + PCAP[24:]
    assert heard(data) == heard(PCAP)


@pytest.mark.parametrize(
    "data",
    [
        section() + interface(NS, (14, struct.pack("<q", 1 << 40))),
        section() + interface(NS) + statistics((3, halves(0)), (7, halves(1)), ticks=(1 << 64) - 1),
    ],
)
def test_times_beyond_64_bits_are_damage(data: bytes) -> None:
    assert "a time outside the years 1970 to 2262, at byte" in heard(data)[1]


def test_millions_of_groups_are_fast() -> None:
    words = "source=route protocol=0 group=0 portid=0 uid=0 nsid=-1 groups="
    blocks, first = [section()], 1
    for _ in range(48):
        last = first + 6_000
        groups = ",".join(map(str, range(first, last)))
        blocks.append(interface((2, b"route"), comment(f"nlbus {words}{groups}"), NS))
        first = last
    data = b"".join(blocks)
    began = time.monotonic()
    with open_capture(io.BytesIO(data)) as capture:
        assert len(capture.groups) >= 1 << 16
    assert time.monotonic() - began < 2


# -- families of generic netlink ----------------------------------------------------------------------


def test_a_family_of_another_kernel_is_not_looked_up() -> None:
    words = "nlbus source=genl:nosuch protocol=16 group={} portid=0 uid=0 nsid=-1"
    data = section()
    data += interface((2, b"genl:nosuch"), comment(words.format(0) + " groups=900"), NS)
    data += interface((2, b"genl:nosuch:alarms"), comment(words.format(900)), NS)
    data += packet(cooked(MESSAGES[0], 16), 1, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for source in (None, "genl:nosuch"):
        capture_file = io.BytesIO(data)
        fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(8)]
        for fd in fds:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(fds), hard))  # socket() fails
        try:
            with pytest.raises(OSError, match="Too many"):
                os.open("/dev/null", os.O_RDONLY)
            with open_capture(capture_file, source) as capture:
                batch = capture.recv()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert batch.messages["group"].tolist() == [900]
        assert capture.source is not None
        assert capture.source.name == "genl:nosuch"
        assert "groups alarms" in capture.explain()
