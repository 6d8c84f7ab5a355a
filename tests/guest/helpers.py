"""Shared by guest tests: loading modules, publishing from the kernel, and listeners independent of nlbus."""

import contextlib
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support import reference

BUILT = Path(os.environ.get("NLBUS_KMOD", ""))
DEBUG = os.environ.get("NLBUS_GUEST") == "debug"  # ten times slower
SLOW = 5 if DEBUG else 1
SYS = Path("/sys/module/nlbus/parameters")
PROBE = Path("/sys/kernel/debug/nlbus_probe")
GEN = Path("/sys/module/nlbus_gen/parameters")

SOL_NETLINK = 270
ADD_MEMBERSHIP, BROADCAST_ERROR, NO_ENOBUFS, CAP_ACK, EXT_ACK = 1, 4, 5, 10, 11
SO_RCVBUFFORCE = 33
SO_PASSCRED, SCM_CREDENTIALS = 16, 2
MAX_DATAGRAM = 32448
HEAD = 96  # nlmsghdr and nlbus_batch
MAX_EVENT = MAX_DATAGRAM - HEAD

# Modules


def load(name: str, **parameters: object) -> None:
    """Insert a module; AssertionError with insmod's message if that fails."""
    path = BUILT / ("probe" if name == "nlbus_probe" else "") / f"{name}.ko"
    settings = [f"{key}={value}" for key, value in parameters.items()]
    done = subprocess.run(["insmod", path, *settings], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def unload(name: str) -> None:
    done = subprocess.run(["rmmod", name], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def loaded(name: str) -> bool:
    return Path("/sys/module", name).exists()


def load_all(**parameters: object) -> None:
    load("nlbus", **parameters)
    load("nlbus_gen")
    load("nlbus_probe")


def unload_all() -> None:
    for name in ("nlbus_probe", "nlbus_packet", "nlbus_gen", "nlbus"):
        if loaded(name):
            unload(name)


def protocol() -> int:
    return int((SYS / "protocol").read_text())


def kernel_log() -> str:
    return subprocess.run(["dmesg"], check=True, capture_output=True, text=True).stdout


# Publishing from the kernel


class Outcome(NamedTuple):
    """Events that were accepted, had no listener, met a full buffer, or were refused."""

    accepted: int
    skipped: int
    full: int
    refused: int


def mask(groups: Iterable[int]) -> int:
    """Bit g - 1 for group g."""
    return sum(1 << (group - 1) for group in groups)


def order(how: str, *groups: int, type: int = 0, size: int = 8, count: int = 1, first: int = 0) -> Outcome:
    """Publish by nlbus_probe.ko in this namespace: each event is its number, repeated."""
    PROBE.write_text(f"{how} {mask(groups):#x} {type:#x} {size} {count} {first}")
    *counts, wrong = map(int, PROBE.read_text().split())
    assert wrong == 0
    return Outcome(*counts)


def generate(**settings: object) -> Outcome:
    """Publish by nlbus_gen.ko in this namespace."""
    defaults = {
        "context": "process", "call": "publish", "count": 1000, "rate": 0, "burst": 1, "size": 64,
        "groups": 1, "type": 0, "threads": 1,
    }  # fmt: skip
    for name, value in (defaults | settings).items():
        (GEN / name).write_text(str(value))
    (GEN / "run").write_text("1")
    result = dict(pair.split("=") for pair in (GEN / "run").read_text().split())
    return Outcome(*(int(result[name]) for name in ("taken", "skipped", "full", "failed")))


def event(number: int, size: int = 8) -> bytes:
    """An event as order() publishes it."""
    return (struct.pack("=Q", number) * (size // 8 + 1))[:size]


# Listening


class Datagram(NamedTuple):
    """A datagram, with its group and sender as the kernel reports them."""

    data: bytes
    group: int
    portid: int
    uid: int

    @property
    def batches(self) -> list[reference.Batch]:
        """All batches, which must be well formed."""
        batches, malformed = reference.parse_chain(self.data)
        assert not malformed
        assert [batch.fault for batch in batches] == [0] * len(batches)
        return batches

    @property
    def header(self) -> dict[str, int]:
        """The header of the first batch."""
        header = self.batches[0].header
        assert header is not None
        return header


class Tap:
    """A netlink socket that is a member of groups of the module."""

    def __init__(self, *groups: int, buffer: int = 1 << 27, error: bool = False) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol())
        try:
            self.join(groups, buffer, error)
        except OSError:
            self.close()
            raise
        self.portid: int = self.socket.getsockname()[0]

    def join(self, groups: Iterable[int], buffer: int, error: bool) -> None:
        # Tests without this privilege do not need the buffer.
        with contextlib.suppress(PermissionError):
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_PASSCRED, 1)
        self.socket.setsockopt(SOL_NETLINK, NO_ENOBUFS, 1)
        if error:
            self.socket.setsockopt(SOL_NETLINK, BROADCAST_ERROR, 1)
        self.socket.bind((0, 0))
        for group in groups:
            self.socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)

    def close(self) -> None:
        self.socket.close()

    def receive(self, timeout: float = 0.0) -> Datagram | None:
        """The next datagram; None after the timeout."""
        self.socket.settimeout(timeout)
        try:
            data, ancillary, _, (portid, groups) = self.socket.recvmsg(1 << 16, 64)
        except (TimeoutError, BlockingIOError):
            return None
        [credentials] = [value for _, kind, value in ancillary if kind == SCM_CREDENTIALS]
        return Datagram(data, groups.bit_length(), portid, struct.unpack("=3i", credentials)[1])

    def until(self, events: int, timeout: float = 10.0) -> list[Datagram]:
        """Receive datagrams until they contain so many events, not counting copies."""
        found, seen, give_up = [], Ledger(), time.monotonic() + timeout * SLOW
        while seen.events < events:
            got = self.receive(0.2)
            assert got or time.monotonic() < give_up, f"{seen.events} of {events} events came"
            if got:
                seen.take(got)
                found.append(got)
        return found

    def drain(self, timeout: float = 0.3) -> list[Datagram]:
        """All datagrams until none arrives for `timeout`. The default includes heartbeats."""
        return list(iter(lambda: self.receive(timeout * SLOW), None))

    def dropped(self) -> int:
        """Datagrams dropped for lack of buffer, counted by the kernel."""
        return int(struct.unpack("=9I", self.socket.getsockopt(socket.SOL_SOCKET, 55, 36))[8])


class Ledger:
    """The reader's rules of uapi/nlbus.h in a few lines: copies and losses."""

    def __init__(self) -> None:
        self.streams: dict[tuple[int, int, int], list[int]] = {}  # next dgram_seq, next seq
        self.events = self.lost = self.copies = 0

    def take(self, datagram: Datagram) -> list[reference.Batch]:
        """The batches of a datagram; none if it is a copy."""
        batches = datagram.batches
        header = datagram.header
        stream = (datagram.portid, header["instance"], header["groups"])
        at = self.streams.setdefault(stream, [header["dgram_seq"], header["first_seq"]])
        if header["dgram_seq"] < at[0]:
            self.copies += 1
            return []
        at[0] = header["dgram_seq"] + 1
        for batch in batches:
            assert batch.header is not None
            assert batch.header["first_seq"] >= at[1]
            self.lost += batch.header["first_seq"] - at[1]
            self.events += batch.header["count"]
            at[1] = batch.header["first_seq"] + batch.header["count"]
        return batches


def payloads(datagrams: Iterable[Datagram]) -> list[bytes]:
    """All events without copies, in order of arrival."""
    ledger = Ledger()
    return [one for datagram in datagrams for batch in ledger.take(datagram) for one in batch.events]


def numbers(datagrams: Iterable[Datagram]) -> Iterator[int]:
    """The event numbers of order()."""
    return (struct.unpack_from("=Q", one)[0] for one in payloads(datagrams))
