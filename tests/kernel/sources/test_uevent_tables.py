"""uevent's table: the kernel's device events and udev's own messages."""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlbus import Subscriber
from tests.support.sockets import UEVENT, Sender, drain, ip, payloads

Subscribe = Callable[..., Subscriber]
Row = dict[str, Any]
INTEGERS = {"seqnum", "ifindex", "major", "minor", "diskseq"}


def as_text(data: bytes) -> dict[str, str]:
    """The strings of the kernel's message, by key."""
    return dict(word.split("=", 1) for word in data.decode().split("\0")[1:] if word)


def rows(sub: Subscriber) -> list[tuple[Row, bytes]]:
    """Each row with its message's bytes."""
    return [
        (row, batch.payload(row["nl_row"]))
        for batch in drain(sub, 0.1)
        for row in batch.table("uevent").iter_rows()
    ]


def check(row: Row, data: bytes) -> None:
    env = as_text(data)
    assert row["env"] == [f"{key}={value}" for key, value in env.items()]
    for column, value in row.items():
        if column.startswith("nl_") or column == "env":
            continue
        wanted = env.get(column.upper())
        assert value == (int(wanted) if wanted is not None and column in INTEGERS else wanted)


def test_rows_have_the_values_of_the_kernels_text(subscribe: Subscribe) -> None:
    sub = subscribe("uevent")
    ip("link add va type veth peer name vb", "link set va name vc", "link del vb")
    found = rows(sub)
    for row, data in found:
        check(row, data)
        assert row["nl_op"] == {"add": "new", "remove": "del"}.get(row["action"], "change")
        assert row["nl_group"] == 1
    net = [row for row, _ in found if row["subsystem"] == "net"]
    assert [(row["action"], row["interface"]) for row in net if row["action"] != "remove"] == [
        ("add", "vb"), ("add", "va"), ("move", "vc"),
    ]  # fmt: skip
    [moved] = [row for row in net if row["action"] == "move"]
    assert (moved["devpath_old"], moved["devpath"]) == ("/devices/virtual/net/va", "/devices/virtual/net/vc")
    index = {row["interface"]: row["ifindex"] for row in net}
    assert index["va"] == index["vc"] != index["vb"]
    numbers = [row["seqnum"] for row, _ in found]
    assert numbers == sorted(set(numbers))


def test_every_device_has_a_row_after_a_synthetic_event(first_netns: None, subscribe: Subscribe) -> None:
    """An action written to a device's `uevent` file causes an event with all keys of that device."""
    # Devices like /dev/null: nobody reacts to their events.
    devices = [
        path for path in sorted(Path("/sys/class/mem").glob("*")) if os.access(path / "uevent", os.W_OK)
    ]
    if not devices:
        pytest.skip("no uevent file below /sys/class/mem may be written: run as root where /sys is writable")
    sub = subscribe("uevent")
    for path in devices:
        try:
            (path / "uevent").write_text("change 12345678-1234-1234-1234-123456789abc NLBUS=test\n")
        except OSError as error:
            pytest.skip(f"{path}/uevent: {error.strerror}")
    found = [(row, data) for row, data in rows(sub) if b"SYNTH_ARG_NLBUS=test" in data]
    assert len(found) == len(devices)
    for (row, data), path in zip(found, devices, strict=True):
        check(row, data)
        assert row["synth_uuid"] == "12345678-1234-1234-1234-123456789abc"
        assert row["devpath"] == str(path.resolve()).removeprefix("/sys")
        assert row["subsystem"] == "mem"
        assert f"{row['major']}:{row['minor']}" == (path / "dev").read_text().strip()
        assert row["devname"] == path.name


def test_udevs_own_messages_become_rows(subscribe: Subscribe) -> None:
    properties = (
        b"ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=block\0DEVNAME=/dev/sdx\0MAJOR=8\0MINOR=16\0SEQNUM=77\0"
        b"USEC_INITIALIZED=5\0ID_SERIAL=a b=c\0"
    )

    def message(magic: int = 0xFEEDCAFE, start: int = 40) -> bytes:
        # Followed by header_size, properties_off, properties_len, and hashes of subsystem, devtype and tags.
        return (
            b"libudev\0"
            + struct.pack(">I", magic)
            + struct.pack("=III", 40, start, len(properties))
            + struct.pack(">IIII", 1, 2, 3, 4)
            + properties
        )

    sub = subscribe("uevent", groups="udev")
    with Sender(UEVENT) as sender:
        for data in (message(), message(magic=0xCAFEFEED), message(start=48), b"libudev", message()):
            sender.send(data, 2)
    batches = drain(sub)
    assert len(payloads(batches)) == 5
    rows = [row for batch in batches for row in batch.table("uevent").iter_rows()]
    assert len(rows) == 2
    for row in rows:
        assert (row["nl_op"], row["devname"], row["major"], row["minor"], row["seqnum"]) == (
            "new", "/dev/sdx", 8, 16, 77,
        )  # fmt: skip
        assert row["nl_group"] == 2
        assert row["env"][-1] == "ID_SERIAL=a b=c"
        assert row["driver"] is None
    malformed = [chunk.malformed for batch in batches for chunk in chunks(batch)]
    assert sum(malformed) == 3


def chunks(batch: Any) -> list[Any]:
    return list(batch.table("uevent").chunks)
