"""Reading intact captures: pcap and pcapng from any writer."""

import os
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from nlbus import (
    CaptureError,
    Groups,
    open_capture,
)
from tests.support.captures import (
    MESSAGES,
    NS,
    TIMES,
    Message,
    block,
    comment,
    cooked,
    found,
    halves,
    interface,
    old_packet,
    opened,
    packet,
    payloads,
    pcap,
    read,
    section,
    simple_packet,
    statistics,
)
from tests.support.reference import bus_batch, chain, kernel_chain, message


def expected(times: Iterable[int] = TIMES) -> list[Message]:
    return [Message(t, 16 + i, 0x400, i, 0, 0, -1, bytes([i]) * (4 * i)) for i, t in enumerate(times)]


# -- formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("ns", [False, True])
def test_pcap_is_read_in_both_byte_orders_and_both_units(order: str, ns: bool) -> None:
    times = [t + i for i, t in enumerate(TIMES)] if ns else TIMES
    data = pcap(*zip(times, map(cooked, MESSAGES), strict=True), order=order, ns=ns)
    assert found(read(data)) == expected(times)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("make", [packet, old_packet])
def test_pcapng_is_read_in_both_byte_orders(order: str, make: type) -> None:
    data = section(order) + interface(NS, order=order)
    for time, one in zip(TIMES, MESSAGES, strict=True):
        data += make(cooked(one), time, order=order)
    assert found(read(data)) == expected()


def test_simple_packets_have_no_time() -> None:
    data = section() + interface(snaplen=100) + b"".join(simple_packet(cooked(one)) for one in MESSAGES)
    batches = read(data)
    assert found(batches) == expected([0] * 5)
    assert len(batches) == 1


def test_simple_packets_are_truncated_at_the_interfaces_length() -> None:
    whole = cooked(kernel_chain(*MESSAGES))
    data = section() + interface(snaplen=80) + simple_packet(whole[:80], original=len(whole))
    capture = opened(data)
    assert payloads(capture) == [b"", b"\x01" * 4, b"\x02" * 8]
    assert (capture.stats()["truncated"], capture.stats()["malformed"]) == (1, 1)


@pytest.mark.parametrize(
    ("resolution", "offset", "ticks", "time"),
    [
        (None, 0, 1_700_000_000_000_123, 1_700_000_000_000_123_000),
        (0, 0, 1_700_000_000, 1_700_000_000_000_000_000),
        (3, 0, 1_700_000_000_123, 1_700_000_000_123_000_000),
        (9, 0, 1_700_000_000_000_000_123, 1_700_000_000_000_000_123),
        (12, 0, 7_000_000_000_123_999, 7_000_000_000_123),
        (255 - 128, 0, 1 << 63, 0),
        (0x80 | 10, 0, (1_700_000_000 << 10) + 512, 1_700_000_000_500_000_000),
        (0x80 | 33, 0, (1_700_000_000 << 33) + 1, 1_700_000_000_000_000_000),
        (0x80 | 34, 0, (5 << 34) + (1 << 33), 5_500_000_000),
        (0x80 | 127, 0, 1 << 63, 0),
        (9, 1_700_000_000, 5, 1_700_000_000_000_000_005),
        (9, -1, 1_000_000_005, 5),
    ],
)
def test_timestamps_may_have_any_resolution(
    resolution: int | None, offset: int, ticks: int, time: int
) -> None:
    pairs = [(14, struct.pack("<q", offset))] if offset else []
    if resolution is not None:
        pairs.append((9, bytes([resolution])))
    data = section() + interface(*pairs) + packet(cooked(MESSAGES[1]), ticks)
    assert [b.time_ns for b in read(data)] == [time]


def test_unknown_blocks_and_options_are_skipped() -> None:
    odd = block(0x0BAD, b"whatever") + block(0x80000001, b"") + block(10, bytes(4))
    data = section("<", (2, b"hardware")) + odd + interface((99, b"what?"), NS, (2, b"nlmon0")) + odd
    for time, one in zip(TIMES, MESSAGES, strict=True):
        data += packet(cooked(one), time, pairs=((2, bytes(4)), (1, b"a comment"))) + odd
    data += statistics(ticks=TIMES[-1])
    assert found(read(data)) == expected()


def test_sections_may_have_different_byte_orders() -> None:
    one = section("<") + interface(linktype=1) + interface(NS) + packet(cooked(MESSAGES[1]), TIMES[1], 1)
    other = section(">") + interface(NS, order=">") + packet(cooked(MESSAGES[2]), TIMES[2], order=">")
    assert found(read(one + other + one)) == [expected()[i] for i in (1, 2, 1)]


def test_a_batch_has_one_time_and_one_source() -> None:
    data = section() + interface(NS) + interface(NS)
    kinds = [(1, 0, 0), (1, 1, 0), (2, 0, 0), (2, 0, 15), (2, 1, 15), (1, 0, 15), (1, 0, 0)]
    for time, number, protocol in kinds:
        data += packet(cooked(MESSAGES[1], protocol), time, number)
    capture = opened(data)
    names = []
    for batch in capture:
        assert capture.source is not None
        names.append((batch.time_ns, capture.source.name, len(batch)))
    assert names == [(1, "route", 2), (2, "route", 1), (2, "uevent", 2), (1, "uevent", 1), (1, "route", 1)]


def test_messages_of_one_time_are_an_array_of_records() -> None:
    rows = np.arange(12, dtype="<u4").reshape(4, 3)
    data = section() + interface(NS)
    data += b"".join(packet(cooked(message(20, row.tobytes()), 2), 5) for row in rows)
    (batch,) = read(data, "raw:usersock")
    assert np.array_equal(batch.records([("x", "<u4", 3)])["x"], rows)


def test_a_pipe_is_read_as_data_arrives() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as pipe, open(writer, "wb", buffering=0) as out:  # noqa: PTH123
        out.write(section() + interface(NS) + packet(cooked(MESSAGES[1]), 1) + packet(cooked(MESSAGES[2]), 2))
        with open_capture(pipe) as capture:
            assert payloads([capture.recv()]) == [b"\x01" * 4]
            assert payloads([capture.recv()]) == [b"\x02" * 8]  # although nothing marks it as complete
            out.write(packet(cooked(MESSAGES[3]), 3)[:50])
            out.write(packet(cooked(MESSAGES[3]), 3)[50:])
            out.close()
            assert payloads(capture) == [b"\x03" * 12]


def test_a_file_may_be_larger_than_the_window(tmp_path: Path) -> None:
    big = message(20, bytes(300_000))
    path = tmp_path / "big.pcapng"
    path.write_bytes(section() + interface(NS) + b"".join(packet(cooked(big), i) for i in range(20)))
    with open_capture(path) as capture:
        assert [len(p) for p in payloads(capture)] == [300_000] * 20


# -- sources --------------------------------------------------------------------------------------

UEVENT = b"add@/devices/x\0ACTION=add\0DEVPATH=/devices/x\0"


def mixed() -> bytes:
    data = section() + interface(NS)
    event = bus_batch(b"abcd", record_size=4)
    for i, (datagram, protocol) in enumerate(
        [(MESSAGES[1], 0), (UEVENT, 15), (event, 2), (MESSAGES[2], 7), (MESSAGES[3], 12345)]
    ):
        data += packet(cooked(datagram, protocol), i)
    return data


def test_the_protocol_determines_the_source() -> None:
    capture = opened(mixed())
    heard = [(capture.source.name, payloads([batch])) for batch in capture if capture.source]
    assert heard == [
        ("route", [b"\x01" * 4]), ("uevent", [UEVENT]), ("bus", [b"abcd"]), ("raw:selinux", [b"\x02" * 8]),
    ]  # fmt: skip
    assert capture.stats()["skipped"] == 1


@pytest.mark.parametrize(
    ("source", "heard"),
    [
        ("route", [b"\x01" * 4]), ("raw:0", [b"\x01" * 4]), ("uevent", [UEVENT]), ("bus", [b"abcd"]),
        ("raw:7", [b"\x02" * 8]), ("raw:31", []),
    ],
)  # fmt: skip
def test_one_source_can_be_picked(source: str, heard: list[bytes]) -> None:
    capture = opened(mixed(), source)
    assert capture.source is not None
    assert capture.source.name == source
    assert payloads(capture) == heard


def test_raw_reads_the_bus_as_messages() -> None:
    (batch,) = read(mixed(), "raw:usersock")
    assert batch.messages["type"].tolist() == [0x10]


def test_the_interface_overrides_the_protocol() -> None:
    text = "nlbus source=raw:route protocol=0 group=36 portid=77 uid=3 nsid=5 groups=7,36"
    data = section() + interface(NS, comment(text)) + packet(cooked(MESSAGES[1], 99), 4)
    capture = opened(data)
    assert capture.groups == Groups(7, 36)
    assert capture.source is not None
    assert capture.source.name == "raw:route"
    assert found(capture) == [Message(4, 17, 0x400, 1, 77, 36, 5, b"\x01" * 4)]
    assert "groups 7, 36" in capture.explain()
    assert found(read(data, "raw:0"))
    assert not found(read(data, "route"))


@pytest.mark.parametrize(
    "text",
    [
        "nlbus source=marsupials protocol=0 group=1 portid=0 uid=0 nsid=-1",
        "nlbus source=uevent protocol=0 group=1 portid=0 uid=0 nsid=-1",
    ],
)
def test_an_unknown_source_is_read_by_its_protocol(text: str) -> None:
    capture = opened(section() + interface(NS, comment(text)) + packet(cooked(MESSAGES[1]), 4))
    assert [m.group for m in found(capture)] == [1]
    assert capture.source is not None
    assert capture.source.name == "route"


@pytest.mark.parametrize(
    "text",
    [
        "nlbus", "nlbus source=route", "nlbus source=route protocol=0 group=1 portid=-1 uid=0 nsid=-1",
        "nlbus source=route protocol=0 group=99999999999 portid=0 uid=0 nsid=-1", "nlbus =", "hello",
        "nlbus source=route protocol=0 group=x portid=0 uid=0 nsid=-1",
        "nlbus source=route protocol=0 group=1 portid=0 uid=0 nsid=4000000000",
    ],
)  # fmt: skip
def test_comments_by_other_writers_are_ignored(text: str) -> None:
    data = section() + interface(NS, comment(text)) + packet(cooked(MESSAGES[1]), TIMES[1])
    assert found(read(data)) == [expected()[1]]


def test_requests_captured_by_nlmon_are_omitted() -> None:
    request = kernel_chain(message(18, bytes(4), flags=0x301), message(18, bytes(4), flags=0x301))
    data = pcap(
        (0, cooked(request)), (0, cooked(MESSAGES[1])), (0, cooked(request, 7)), (1, cooked(b"short"))
    )
    capture = opened(data)
    assert payloads(capture) == [
        b"\x01" * 4,
        bytes(4),
        bytes(4),
    ]  # on raw protocols, processes multicast, too
    assert (capture.stats()["requests"], capture.stats()["malformed"]) == (1, 1)


def test_other_link_types_are_counted() -> None:
    data = section() + interface(linktype=1) + interface(NS) + packet(b"ethernet", 1, 0)
    capture = opened(data + packet(cooked(MESSAGES[1]), TIMES[1], 1) + packet(b"ethernet", 1, 0))
    assert found(capture) == [expected()[1]]
    assert capture.stats()["skipped"] == 2


def test_a_capture_without_netlink_is_refused() -> None:
    with pytest.raises(CaptureError, match="no netlink packets: link types 1, not 253"):
        opened(pcap((0, b"ethernet"), linktype=1))
    with pytest.raises(CaptureError, match="link types 1, 113"):
        opened(section() + interface(linktype=1) + interface(linktype=113))


def test_a_section_without_blocks_is_empty() -> None:
    capture = opened(section())
    assert list(capture) == []
    assert capture.source is None
    assert "not known" not in capture.explain()


def test_the_bus_captured_by_nlmon_is_delivered_once() -> None:
    """nlmon records a copy per group, one after the other; missing events are counted."""
    data = section() + interface(NS)
    for dgram, seq in [(0, 0), (0, 0), (1, 2), (1, 2), (3, 6), (3, 6)]:
        event = bus_batch(
            struct.pack("<2I", seq, seq + 1), record_size=4, groups=3, first_seq=seq, dgram_seq=dgram
        )
        data += packet(cooked(event, 2), dgram)
    capture = opened(data)
    batches = list(capture)
    assert b"".join(payloads(batches)) == struct.pack("<6I", 0, 1, 2, 3, 6, 7)
    assert [b.loss.events for b in batches] == [0, 0, 2]
    stats = capture.stats()
    assert (stats["copies"], stats["lost"], stats["delivered"]) == (3, 2, 6)


def test_chains_of_the_bus_are_read() -> None:
    whole = chain(bus_batch(b"ab", record_size=1), bus_batch(var=[b"x", b"", b"yz"], first_seq=2))
    (batch,) = read(section() + interface(NS) + packet(cooked(whole, 2), 3))
    assert payloads([batch]) == [b"a", b"b", b"x", b"", b"yz"]


# -- truncation and loss --------------------------------------------------------------------------------


def test_the_whole_messages_of_a_truncated_packet_are_delivered() -> None:
    whole = cooked(kernel_chain(*MESSAGES))
    data = section() + interface(NS)
    data += packet(whole[:90], 1, original=len(whole)) + packet(cooked(MESSAGES[1]), 2)
    capture = opened(data)
    assert payloads(capture) == [b"", b"\x01" * 4, b"\x02" * 8, b"\x01" * 4]
    assert capture.stats()["truncated"] == 1


def test_a_truncated_uevent_is_dropped() -> None:
    data = section() + interface(NS) + packet(cooked(UEVENT, 15)[:-5], 1, original=99)
    capture = opened(data + packet(cooked(UEVENT, 15), 1))
    assert payloads(capture) == [UEVENT]
    assert capture.stats()["truncated"] == 1


def test_drops_that_dumpcap_counted_are_losses() -> None:
    def drops(count: int, ticks: int) -> bytes:
        times = (2, halves(5)), (3, halves(ticks))
        return statistics(*times, (4, struct.pack("<Q", 999)), (7, struct.pack("<Q", count)), ticks=ticks)

    data = section() + interface(NS) + packet(cooked(MESSAGES[1]), 9) + drops(0, 10)
    data += drops(3, 20) + packet(cooked(MESSAGES[1]), 30) + drops(3, 40) + drops(5, 50)
    capture = opened(data)
    batches = list(capture)
    assert [(b.time_ns, len(b), b.loss.datagrams) for b in batches] == [
        (9, 1, 0),
        (20, 0, 3),
        (30, 1, 0),
        (50, 0, 2),
    ]
    assert batches[1].loss.rows.tolist() == [("overrun", 0, 3, False, 5, 20)]
    assert capture.stats()["dropped"] == 5
