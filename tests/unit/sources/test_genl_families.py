"""Tables of generic netlink families that this kernel may lack, from bytes as its headers describe them."""

import struct
from dataclasses import replace
from typing import Any

import pytest

from nlbus import Batch
from nlbus.kernel.constants import MessageType
from nlbus.kernel.requests import NLMSGHDR, attribute, message, messages
from nlbus.sources import Source
from nlbus.sources.genl import recorded, recorded_source

NUMBER = 0x2B


def source_of(name: str) -> Source:
    # Without `genl`, nobody asks this kernel for the family.
    return replace(recorded(recorded_source(name), NUMBER), genl="")


def row_of(name: str, command: int, body: bytes) -> dict[str, Any]:
    batch = Batch.from_datagrams(source_of(name), [message(NUMBER, bytes([command, 1, 0, 0]) + body, 0, 0)])
    [row] = batch.rows()
    assert batch.counts["malformed"] == 0
    return row


def u32(number: int, value: int) -> bytes:
    return attribute(number, struct.pack("=I", value))


def test_drops_have_place_reason_and_payload() -> None:
    port = attribute(4, u32(0, 3) + attribute(1, b"eth0\0"))
    body = attribute(2, struct.pack("=Q", 0xFFFFFFFF81000000)) + attribute(3, b"ip_rcv+0x1\0") + port
    body += attribute(8, b"") + attribute(5, struct.pack("=Q", 1_700_000_000 * 10**9))
    body += attribute(6, struct.pack("=H", 0x0800)) + attribute(7, b"abc") + u32(10, 1500)
    row = row_of("NET_DM", 5, body + attribute(14, b"\0\0") + attribute(23, b"NO_SOCKET\0"))
    assert (row["nl_table"], row["reason"], row["symbol"]) == ("drop", "NO_SOCKET", "ip_rcv+0x1")
    assert (row["pc"], row["payload"], row["origin"]) == (0xFFFFFFFF81000000, b"abc", "sw")
    assert (row["in_port_ifindex"], row["in_port_name"], row["orig_len"]) == (3, "eth0", 1500)


def test_sampled_packets_and_their_groups() -> None:
    body = attribute(0, b"\2\0") + u32(2, 98) + u32(3, 5) + u32(4, 7) + u32(5, 100) + attribute(6, b"xy")
    row = row_of("psample", 0, body)
    assert (row["nl_table"], row["sample_group"], row["group_seq"]) == ("sample", 5, 7)
    assert (row["iifindex"], row["oifindex"], row["data"]) == (2, None, b"xy")
    assert row_of("psample", 3, u32(3, 5) + u32(7, 1))["nl_op"] == "del"


def test_temperatures_may_be_below_zero() -> None:
    assert row_of("thermal", 0, u32(2, 4) + u32(3, -5000 & 0xFFFFFFFF))["tz_temp"] == -5000
    row = row_of("thermal", 5, u32(2, 4) + u32(5, 1) + u32(3, 85000))
    assert (row["nl_table"], row["event"], row["tz_trip_id"]) == ("event", "tz_trip_up", 1)


def test_acpi_events() -> None:
    event = struct.pack("=20s15sxII", b"button/power", b"LNXPWRBN:00", 0x80, 1)
    row = row_of("acpi_event", 1, attribute(1, event))
    assert (row["device_class"], row["bus_id"], row["type"], row["data"]) == (
        "button/power",
        "LNXPWRBN:00",
        0x80,
        1,
    )


@pytest.mark.parametrize("size", [168, 328, 600])
def test_task_statistics_of_any_length(size: int) -> None:
    stats = struct.pack("=HxxIBb", 8, 256, 1, -5).ljust(80, b"\0") + b"sh\0".ljust(size - 80, b"\0")
    row = row_of("TASKSTATS", 2, attribute(4, u32(1, 77) + attribute(3, stats)))
    assert (row["comm"], row["exitcode"], row["nice"], row["flag"]) == ("sh", 256, -5, ["fork"])
    assert (row["irq_count"] is None, row["process_id"]) == (size < 400, None)


def test_the_struct_with_fields_in_its_middle_is_not_read() -> None:
    stats = struct.pack("=H", 15).ljust(400, b"\0")
    datagram = message(NUMBER, bytes([2, 1, 0, 0]) + attribute(4, u32(1, 77) + attribute(3, stats)), 0, 0)
    batch = Batch.from_datagrams(source_of("TASKSTATS"), [datagram])
    assert len(batch.table("task")) == 0


def test_requests_to_a_family_have_its_number() -> None:
    source = source_of("NET_DM")
    assert source.handshake is not None
    options = {name: option.default for name, option in source.options.items()}
    requests = list(messages(source.handshake.join(1, options, 9)))
    assert [(reply.type, reply.body[0], seq) for reply, seq in requests] == [(NUMBER, 2, 0), (NUMBER, 3, 9)]
    refused = struct.pack("=i", -11) + NLMSGHDR.pack(20, NUMBER, 0, 9, 0)  # EAGAIN: it runs already
    [(ack, _)] = messages(message(MessageType.ERROR, refused, 0, 9))
    assert source.handshake.answer(ack, 9) == 0
