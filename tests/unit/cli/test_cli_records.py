"""Records and lines of `nlbus listen`, built from bytes."""

import json
import struct

import numpy as np
import pytest

from nlbus import Batch, Loss
from nlbus.cli.render import records
from nlbus.sources import find
from nlbus.sources.uevent import parse_uevent
from tests.support import reference

KERNEL_UEVENT = (
    b"add@/devices/virtual/net/v0\0ACTION=add\0DEVPATH=/devices/virtual/net/v0\0NAME=a b\0SEQNUM=7\0"
)
VARIABLES = b"ACTION=change\0DEVPATH=/devices/x\0TAG=\xff\0"
UDEV_HEADER = struct.pack(">I", 0xFEEDCAFE) + struct.pack("=IIIIIII", 40, 40, len(VARIABLES), 0, 0, 0, 0)
UDEV_UEVENT = b"libudev\0" + UDEV_HEADER + VARIABLES


def bus(*payloads: bytes, **fields: int) -> list[records.Record]:
    datagrams = [
        reference.bus_batch(data, record_size=len(data), first_seq=i, dgram_seq=i, **fields)
        for i, data in enumerate(payloads)
    ]
    return list(records.events(find("bus"), Batch.from_datagrams("bus", datagrams)))


def messages(source: str, *datagrams: bytes, group: int = 1) -> list[records.Record]:
    return list(records.events(find(source), Batch.from_datagrams(source, datagrams, group=group)))


def test_an_event_of_the_bus_is_a_json_object() -> None:
    (record,) = bus(b"hello", groups=0b1000001, type=0x100, time_ns=1_700_000_000_123_456_789)
    found = json.loads(records.as_json(record))
    assert found["time"] == "2023-11-14T22:13:20.123456789Z"
    assert found["time_ns"] == 1_700_000_000_123_456_789
    assert (found["source"], found["groups"], found["group_names"]) == ("bus", [1, 7], ["1", "7"])
    assert (found["type"], found["seq"], found["length"], found["text"]) == (0x100, 0, 5, "hello")
    assert {"portid", "uid"} <= set(found)
    assert "hex" not in found


def test_an_event_of_the_bus_is_a_text_line() -> None:
    (record,) = bus(b"hello there", groups=0b1000001, type=0x100, time_ns=1_700_000_000_123_456_789)
    assert plain(record) == "2023-11-14T22:13:20.123456789Z bus 1,7 0x100 11 hello there"


@pytest.mark.parametrize("payload", [b"\xff", b"\x00\x01", b"\x1b[2J", "\u202e".encode()])
def test_unprintable_payloads_are_hex(payload: bytes) -> None:
    (record,) = bus(payload)
    assert json.loads(records.as_json(record))["hex"] == payload.hex()
    assert plain(record).endswith(f" {payload.hex()}")


def test_white_space_is_text_and_stays_on_one_line() -> None:
    (record,) = bus(b"a\tb\nc\r")
    assert json.loads(records.as_json(record))["text"] == "a\tb\nc\r"
    assert plain(record).endswith(r" a\tb\nc\r")


def test_any_time_can_be_shown() -> None:
    (record,) = bus(b"x", time_ns=1 << 63)
    assert json.loads(records.as_json(record))["time"] == "NaT"


def test_events_stop_at_the_limit() -> None:
    batch = Batch.from_datagrams("bus", [reference.bus_batch(b"abcd", record_size=1, count=4)])
    assert [record["payload"] for record in records.events(find("bus"), batch, 3)] == [b"a", b"b", b"c"]


def test_a_message_of_route_has_names() -> None:
    datagram = reference.kernel_chain(reference.message(16, b"\x01" * 100, seq=9))
    (record,) = messages("route", datagram)
    found = json.loads(records.as_json(record))
    assert (found["group_names"], found["type"], found["type_name"]) == (["link"], 16, "RTM_NEWLINK")
    assert (found["seq"], found["portid"], found["length"], found["hex"]) == (9, 0, 100, "01" * 100)
    assert plain(record).endswith(f" route link RTM_NEWLINK 100 {'01' * 48}… 52 more")


def test_text_on_raw_sources_is_hex_too() -> None:
    (record,) = messages("raw:2", reference.kernel_chain(reference.message(0x20, b"text")))
    assert json.loads(records.as_json(record))["hex"] == b"text".hex()
    assert " 0x20 4 " in plain(record)


def test_a_uevent_of_the_kernel_has_its_variables() -> None:
    (record,) = messages("uevent", KERNEL_UEVENT)
    found = json.loads(records.as_json(record))
    assert (found["action"], found["devpath"]) == ("add", "/devices/virtual/net/v0")
    assert (found["type"], found["env"]["NAME"], found["env"]["SEQNUM"]) == (None, "a b", "7")
    assert plain(record).endswith(" add@/devices/virtual/net/v0 NAME='a b' SEQNUM=7")


def test_a_uevent_of_udev_has_its_variables() -> None:
    (record,) = messages("uevent", UDEV_UEVENT, group=2)
    assert (record["group_names"], record["action"], record["devpath"]) == (("udev",), "change", "/devices/x")
    assert plain(record).endswith(r" change@/devices/x TAG='\udcff'")


@pytest.mark.parametrize(
    "data", [b"libudev\0short", b"no uevent", b"libudev\0" + b"\xff" * 40, b"x@y\0ACTION\0"]
)
def test_an_invalid_uevent_is_hex(data: bytes) -> None:
    assert parse_uevent(data) is None
    (record,) = messages("uevent", data)
    assert json.loads(records.as_json(record))["hex"] == data.hex()


def test_uevents_are_escaped_for_terminals() -> None:
    data = b"add@/x\0ACTION=add\0DEVPATH=/x\x1b[2J\0A\x07=\n\0"
    (record,) = messages("uevent", data)
    assert plain(record).endswith(r" add@/x\x1b[2J A\x07='\n'")


def test_a_process_event_has_kind_and_numbers() -> None:
    body = struct.pack("=IIIIHHIIQ6I", 1, 1, 0, 0, 40, 0, 1, 0, 10**12, 7, 7, 8, 8, 0, 0)
    (record,) = messages("proc", reference.message(3, body))
    assert (found := json.loads(records.as_json(record)))["event"] == "fork"
    assert found["fields"] == {"parent_pid": 7, "parent_tgid": 7, "child_pid": 8, "child_tgid": 8}
    assert found["type_name"] == "NLMSG_DONE"
    assert plain(record).endswith(" proc proc fork 60 parent_pid=7 parent_tgid=7 child_pid=8 child_tgid=8")


def test_a_message_of_another_connector_is_hex() -> None:
    (record,) = messages("proc", reference.message(3, b"\5" * 60))
    assert " NLMSG_DONE 60 0505" in plain(record)


def test_a_generic_netlink_message_has_its_command() -> None:
    (record,) = messages("genl:nlctrl", reference.message(16, b"\1\2\0\0"), group=16)
    assert (found := json.loads(records.as_json(record)))["cmd"] == 1
    assert (found["type"], found["type_name"]) == (16, "nlctrl")
    assert plain(record).endswith(" genl:nlctrl notify cmd=1 4 01020000")


def test_an_audit_record_is_text() -> None:
    (record,) = messages("audit", reference.message(1107, b"audit(1.000:2): pid=1 msg='x'"))
    assert json.loads(records.as_json(record))["text"] == "audit(1.000:2): pid=1 msg='x'"
    assert plain(record).endswith(" audit readlog AUDIT_USER_AVC 29 audit(1.000:2): pid=1 msg='x'")


@pytest.mark.parametrize(("number", "group", "name"), [(5, 5, "5"), (0, 65536, "0")])
def test_an_nflog_packet_has_the_group_in_its_message(number: int, group: int, name: str) -> None:
    datagram = reference.message(0x400, struct.pack(">BBH", 2, 0, number))
    (record,) = messages("nflog", datagram, group=0)
    assert (record["groups"], record["group_names"]) == ([group], (name,))
    (record,) = messages("nflog", reference.message(3, b""), group=0)
    assert record["groups"] == []


def test_gaps_are_records() -> None:
    batch = Batch.from_datagrams(
        "bus",
        [
            reference.bus_batch(b"a", record_size=1, first_seq=0, dgram_seq=0, instance=5, time_ns=10),
            reference.bus_batch(b"b", record_size=1, first_seq=4, dgram_seq=4, instance=5, time_ns=20),
        ],
    )
    (gap,) = records.gaps(batch.loss)
    assert json.loads(records.as_json(gap)) == {
        "type": "gap",
        "cause": "gap",
        "count": 3,
        "unit": "events",
        "exact": True,
        "earliest_ns": 10,
        "latest_ns": 20,
        "stream": "0x0000000000000005",
    }
    assert plain(gap) == (
        "--- gap: 3 events lost between 1970-01-01T00:00:00.000000010Z and 1970-01-01T00:00:00.000000020Z, "
        "stream 0x0000000000000005 ---"
    )


def test_an_overrun_is_a_gap_with_a_minimum_count() -> None:
    row = struct.pack("=QQqqB?6x", 0, 1, 10, 20, 1, False)
    (gap,) = records.gaps(Loss(row))
    assert (gap["cause"], gap["unit"], gap["exact"], gap["stream"]) == ("overrun", "datagrams", False, None)
    assert plain(gap).startswith("--- gap: 1 datagram dropped, each an event or more, between ")


def test_open_drops_are_an_open_gap() -> None:
    assert plain(records.open_gap(2)) == "--- gap: 2 datagrams dropped that no gap explains yet ---"
    assert json.loads(records.as_json(records.open_gap(2)))["cause"] == "open"


def plain(record: records.Record) -> str:
    import click

    return click.unstyle(records.as_text(record))


def test_times_are_iso_8601() -> None:
    assert records.iso(1) == "1970-01-01T00:00:00.000000001Z"
    assert records.iso(int(np.int64(10**18))) == "2001-09-09T01:46:40.000000000Z"
