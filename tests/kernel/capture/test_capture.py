"""Captures of real sockets: replay returns what was received."""

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nlbus import Batch, Publisher, Subscriber, Topic, open_capture, record
from nlbus.capture import Recorder
from tests.support.captures import same
from tests.support.sockets import UEVENT, USERSOCK, Sender, drain, ip, lost, payload, plain

Subscribe = Callable[..., Subscriber]


class Tape:
    """Records the batches drained from a subscriber, and keeps them for comparison."""

    def __init__(self, path: Path, subscriber: Subscriber) -> None:
        self.path = path
        self.batches: list[Batch] = []
        self._subscriber = subscriber
        self._file = path.open("wb")
        self._recorder = Recorder(self._file, subscriber, str(path))

    def drain(self, timeout: float = 0.0, atleast: int = 0) -> None:
        for batch in drain(self._subscriber, timeout, atleast):
            self._recorder.write(batch)
            self.batches.append(batch)

    def check(self) -> list[Batch]:
        """Check that the file has the batches that were received; returns them."""
        assert sum(map(len, self.batches)) > 0
        self._file.close()
        with open_capture(self.path, on_loss="ignore") as capture:
            again = list(capture)
            assert capture.source == self._subscriber.source
            assert capture.groups == self._subscriber.groups
            assert capture.stats()["malformed"] == capture.stats()["skipped"] == 0
        same(again, self.batches)
        return again


@pytest.fixture
def tape(tmp_path: Path, subscribe: Subscribe) -> Callable[..., tuple[Tape, Subscriber]]:
    def make(*args: object, **kwargs: object) -> tuple[Tape, Subscriber]:
        subscriber = subscribe(*args, on_loss="ignore", **kwargs)
        return Tape(tmp_path / "tape.pcapng", subscriber), subscriber

    return make


MakeTape = Callable[..., tuple[Tape, Subscriber]]

CHANGES = (
    "link add va type veth peer name vb",
    "link set va up",
    "link set vb up",
    "addr add 10.9.0.1/24 dev va",
    "route add 10.10.0.0/16 via 10.9.0.2 dev va",
    "link del va",
)


def test_route(tape: MakeTape) -> None:
    here, _ = tape("route")
    ip(*CHANGES)
    here.drain(0.05)
    again = here.check()
    heard = {(g, t) for b in again for g, t in b.messages[["group", "type"]].tolist()}
    assert {(1, 16), (5, 20), (7, 24), (1, 17)} <= heard


def test_uevents(tape: MakeTape) -> None:
    here, _ = tape("uevent", groups=("kernel", "udev"), trust="any")
    with Sender(UEVENT) as sender:
        ip(*CHANGES[:1])
        sender.send(b"libudev\0 from a process", 2)
        here.drain(0.05)
        assert {sender.portid, 0} == {p for b in here.check() for p in b.messages["portid"].tolist()}


def test_raw_with_senders_groups_and_chains(tape: MakeTape) -> None:
    here, _ = tape("raw:usersock", groups=(1, 5, 32))
    with Sender() as one, Sender() as other:
        for i in range(200):
            one.send(plain(payload(i), payload(3 * i), type=0x20 + i % 3), (1, 5, 32)[i % 3])
            other.send(plain(payload(64)), 5)
        here.drain(atleast=600)
    portids = {p for b in here.check() for p in b.messages["portid"].tolist()}
    assert portids == {one.portid, other.portid}


def test_overruns(tape: MakeTape) -> None:
    here, sub = tape("raw:usersock", groups=(1, 2), buffer_events=20)
    with Sender() as sender:
        for _ in range(3):
            for i in range(200):
                sender.send(plain(payload(64, i)), 1 + i % 2)
            here.drain()
    dropped = sum(b.loss.datagrams for b in here.check())
    assert dropped == sub.stats()["dropped"] > 300
    with open_capture(here.path, on_loss="ignore") as capture:
        assert list(capture)
        assert capture.stats()["dropped"] == dropped


TICK = Topic("tick", [("id", "<u8"), ("px", "<f8", 7)], groups=3, type=0x100)


def test_the_bus(tape: MakeTape, publisher: Publisher) -> None:
    """Records and variable-length events, with times and masks; zero-copy, scattered and copied."""
    here, sub = tape("bus", groups=(1, 3, 7), topics=[TICK])
    records = np.zeros(5000, TICK.dtype)
    records["id"] = np.arange(5000)
    for _ in range(3):
        publisher.publish_many(records, topic=TICK)
        here.drain(atleast=5000)
    masks = np.resize(np.array([0b1, 0b101, 0b1000000, 0b1000100], "<u4"), 5000)
    publisher.publish_many(records, masks=masks)
    here.drain(atleast=5000)
    with Publisher(linger=0.01) as other:
        for i in range(300):
            other.publish(payload(i % 50), groups=(1, 7), type=i)
        other.flush()
        here.drain(atleast=300)
    again = here.check()
    copied, delivered = sub.stats()["copied_batches"], sum(map(len, again))
    assert delivered == 15_000 + 5000 + 300
    assert copied < len(again)
    for one, other_batch in zip(again, here.batches, strict=True):
        assert np.array_equal(one.records(TICK), other_batch.records(TICK))
        assert np.array_equal(one.events, other_batch.events)
    assert len(np.concatenate([b.records(TICK) for b in again])) == 15_000


def test_the_bus_with_losses(tape: MakeTape) -> None:
    here, sub = tape("bus", groups=(1, 2), buffer_events=50)
    with Publisher() as one, Publisher() as other:
        for _ in range(5):
            for i in range(300):
                one.publish(payload(64, i), groups=1)
                other.publish(payload(30, i), groups=(1, 2))
            here.drain()
        here.drain()
    again = here.check()
    assert lost(again) == sub.stats()["lost"] > 0
    assert any(b.loss.open for b in again)
    assert {"gap"} == {row["cause"] for b in again for row in b.loss.rows}


@pytest.mark.parametrize("step", [2, 3, 50])
def test_selections_of_the_bus(subscribe: Subscribe, publisher: Publisher, tmp_path: Path, step: int) -> None:
    """Selected runs of events, fixed and variable-length, are batches again."""
    sub = subscribe("bus", groups=(1, 7))
    publisher.publish_many(np.arange(1000, dtype="<u8").view([("n", "<u8")]), groups=(1, 7))
    with Publisher(linger=0.01) as other:
        for i in range(200):
            other.publish(payload(i % 40), groups=7)
        other.flush()
    chosen = [b.select(np.arange(len(b)) % step != 0) for b in drain(sub, atleast=1200)]
    path = tmp_path / "chosen.pcapng"
    with path.open("wb") as file:
        recorder = Recorder(file, sub, str(path))
        for batch in chosen:
            recorder.write(batch)
    with open_capture(path) as capture:
        same(capture, [b for b in chosen if len(b)])


def test_record_ends_by_count_time_or_close(subscribe: Subscribe, tmp_path: Path) -> None:
    sub = subscribe("raw:usersock", groups=1)
    with Sender(USERSOCK) as sender:
        for i in range(10):
            sender.send(plain(struct.pack("I", 2 * i), struct.pack("I", 2 * i + 1)), 1)
        some = record(tmp_path / "some.pcapng", sub, count=7)
        assert some.messages == 7
        assert some.bytes == (tmp_path / "some.pcapng").stat().st_size
        for i in range(10):
            sender.send(plain(struct.pack("I", i)), 1)
    rest = record(str(tmp_path / "rest.pcapng"), sub, seconds=0.1)
    assert (rest.messages, rest.lost, rest.dropped, rest.open) == (10, 0, 0, 0)
    sub.close()
    assert record(tmp_path / "none.pcapng", sub).messages == 0
    with open_capture(tmp_path / "some.pcapng") as capture:
        heard = b"".join(b.payload(i) for b in capture for i in range(len(b)))
    assert heard == struct.pack("7I", *range(7))


# -- tshark ---------------------------------------------------------------------------------------


def wireshark(command: str, *args: str | Path) -> str:
    """The output of one of Wireshark's tools, run without our sanitizers."""
    tool = shutil.which(command)
    if tool is None:
        pytest.skip(f"no `{command}` command: install tshark")
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run([tool, *args], check=False, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "damaged" not in done.stderr
    assert "cut short" not in done.stderr
    return done.stdout


def tshark(path: Path, *args: str) -> str:
    return wireshark("tshark", "-r", path, *args)


def test_tshark_decodes_a_recorded_file(tape: MakeTape) -> None:
    here, _ = tape("route")
    ip(*CHANGES)
    here.drain(0.05)
    here.check()
    packets = json.loads(tshark(here.path, "-T", "json", "--no-duplicate-keys"))
    assert len(packets) == sum(map(len, here.batches))
    rows = [row for b in here.batches for row in b.messages.tolist()]
    times = [b.time_ns for b in here.batches for _ in range(len(b))]
    names = {1: "route:link", 5: "route:ipv4_ifaddr", 7: "route:ipv4_route"}
    devices = set()
    for found, row, time_ns in zip(packets, rows, times, strict=True):
        layers = found["_source"]["layers"]
        frame, netlink = layers["frame"], layers["netlink-route"]
        assert layers["netlink"] == {"netlink.hatype": "824", "netlink.family": "0x0000"}
        assert frame["frame.time_epoch"] == f"{time_ns // 10**9}.{time_ns % 10**9:09}"
        assert int(frame["frame.len"]) == row[1] + 32
        (header,) = (value for key, value in netlink.items() if key.startswith("Netlink message header"))
        assert int(header["netlink-route.nltype"]) == row[2]
        assert int(header["netlink.hdr_len"]) == row[1] + 16
        assert int(header["netlink.hdr_seq"]) == row[4]
        interface = frame["frame.interface_id_tree"]["frame.interface_name"]
        assert interface == names.get(row[6], interface)
        devices |= {
            value["netlink-route.ifla_ifname"]
            for value in netlink.values()
            if isinstance(value, dict) and "netlink-route.ifla_ifname" in value
        }
    assert {"va", "vb"} <= devices
    words = tshark(here.path, "-V")
    for name in (
        "Create network interface (16)",
        "Remove network interface (17)",
        "Add IP address (20)",
        "Add network route (24)",
    ):
        assert f"Message type: {name}" in words


def test_tshark_opens_what_it_cannot_decode(tape: MakeTape, publisher: Publisher) -> None:
    """The bus, which nlmon does not carry, and uevents, which tshark cannot decode, are still packets."""
    here, _ = tape("bus", groups=(1, 7))
    for i in range(5):
        publisher.publish(payload(i), groups=(1, 7))
    here.drain(atleast=5)
    here.check()
    fields = tshark(here.path, "-T", "fields", "-e", "netlink.family", "-e", "frame.interface_name")
    assert fields.splitlines() == [f"0x0002\tbus:1/{publisher.portid}"] * 5


def test_tshark_sees_the_losses_as_statistics(tape: MakeTape) -> None:
    here, _ = tape("raw:usersock", groups=1, buffer_events=20)
    with Sender() as sender:
        for i in range(200):
            sender.send(plain(payload(64, i)), 1)
        here.drain()
    here.check()
    tshark(here.path)
    said = wireshark("capinfos", here.path)
    assert f"Number of packets = {sum(map(len, here.batches))}" in said
    assert "Number of stat entries = 1" in said
    assert "Capture application: nlbus" in said
