"""Helpers of the kernel tests: senders independent of nlbus, child processes, and the kernel's figures."""

import ctypes
import os
import pickle
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from nlbus import Batch, Subscriber
from tests.support import reference

ROUTE, USERSOCK, UEVENT = 0, 2, 15
SOL_NETLINK = 270
SO_SNDBUFFORCE = 32
SO_ATTACH_FILTER = 26
NOBODY = 65534
PR_SET_KEEPCAPS = 8
CAP_NET_ADMIN = 12
LINUX_CAPABILITY_VERSION_3 = 0x20080522
ROOT = Path(__file__).resolve().parents[2]

# Sending


class Sender:
    """A netlink socket that multicasts arbitrary bytes, by default on the bus's protocol. A filter drops what
    it receives.
    """

    bus = USERSOCK  # replaced by the fixture each_transport

    def __init__(self, protocol: int | None = None) -> None:
        self.protocol = self.bus if protocol is None else protocol
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, self.protocol)
        drop_all = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0))
        program = struct.pack("HxxxxxxP", 1, ctypes.addressof(drop_all))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
        self.socket.bind((0, 0))
        self.portid: int = self.socket.getsockname()[0]

    def send(self, data: bytes, group: int = 1) -> None:
        """Multicast one datagram to one group."""
        self.socket.sendto(data, (self.portid, 1 << (group - 1)))

    def stamp(self) -> dict[str, int]:
        """The fields of a batch that nlbus.ko would fill in if it forwarded the datagram."""
        return {} if self.protocol == USERSOCK else {"origin_portid": self.portid, "origin_uid": os.geteuid()}

    def unicast(self, data: bytes, portid: int) -> None:
        self.socket.sendto(data, (portid, 0))

    def room(self, size: int) -> None:
        """Allow datagrams of `size` bytes; skips the test without the privilege for that."""
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, size + 4096)
        except PermissionError:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size + 4096)
        if self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < size + 32:
            pytest.skip(f"datagrams of {size} bytes need CAP_NET_ADMIN in the first user namespace")

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def payload(length: int, seed: int = 0) -> bytes:
    """Bytes that depend on the seed, so that misplaced ones are noticed."""
    return np.random.default_rng([length, seed]).bytes(length)


def plain(*payloads: bytes, type: int = 0x20) -> bytes:
    """A datagram with one message per payload, numbered by seq."""
    return reference.kernel_chain(*(reference.message(type, p, seq=i) for i, p in enumerate(payloads)))


def one_event(data: bytes, **fields: int) -> bytes:
    """A datagram of the bus with one event."""
    return reference.bus_batch(data, record_size=len(data), **fields)


# Receiving


def drain(subscriber: Subscriber, timeout: float = 0.0, atleast: int = 0) -> list[Batch]:
    """All batches until `timeout` seconds pass without one; waits up to 10 s for `atleast` events."""
    batches: list[Batch] = []
    have = 0
    give_up = time.monotonic() + 10
    while True:
        missing = have < atleast and time.monotonic() < give_up
        batch = subscriber.recv(0.1 if missing else timeout)
        if len(batch) or batch.loss:
            batches.append(batch)
            have += len(batch)
        elif not missing:
            return batches


def payloads(batches: Iterable[Batch]) -> list[bytes]:
    return [batch.payload(i) for batch in batches for i in range(len(batch))]


def events(batches: Iterable[Batch]) -> list[tuple[bytes, int, int]]:
    """(bytes, type, groups mask) per event of the bus."""
    return [
        (batch.payload(i), int(row["type"]), int(row["groups"]))
        for batch in batches
        for i, row in enumerate(batch.events)
    ]


def lost(batches: Iterable[Batch]) -> int:
    return sum(batch.loss.events for batch in batches)


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "the condition never became true"
        time.sleep(0.002)


# The kernel's figures


class SocketRow(NamedTuple):
    """One row of /proc/net/netlink."""

    protocol: int
    portid: int
    groups: int
    rmem: int
    drops: int


def portid(subscriber: Subscriber) -> int:
    return int(subscriber._receiver.portid)


def proc_netlink(subscriber: Subscriber) -> SocketRow:
    """The kernel's row for this subscriber's socket; if it has two, the one of nlbus.ko."""
    socket = subscriber._receiver.sockets[-1]
    for line in Path("/proc/thread-self/net/netlink").read_text().splitlines()[1:]:
        _, protocol, port, groups, rmem, _, _, _, drops, _ = line.split()
        if (int(protocol), int(port)) == (socket.protocol, socket.portid):
            return SocketRow(int(protocol), int(port), int(groups, 16), int(rmem), int(drops))
    raise AssertionError("the kernel does not list this socket")


def here() -> str:
    """This thread's network namespace, as net:[inode]."""
    return str(Path("/proc/thread-self/ns/net").readlink())


def ip(*commands: str) -> None:
    """Run ip(8) commands in this namespace; skips the test if ip is not installed."""
    tool = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if tool is None:
        pytest.skip("no `ip` command: install iproute2")
    for command in commands if len(commands) < 10 else ():
        done = subprocess.run([tool, *command.split()], check=False, capture_output=True, text=True)
        if "Unknown device type" in done.stderr or "not supported" in done.stderr:
            pytest.skip(f"this kernel cannot `ip {command}`: {done.stderr.strip()}")
        assert done.returncode == 0, f"ip {command}: {done.stderr}"
    if len(commands) >= 10:
        subprocess.run([tool, "-batch", "-"], check=True, input="\n".join(commands), text=True)


def run(tool: str, *args: str, text: str = "") -> str:
    """The output of this command in this namespace, given `text`; skips the test if it is not installed."""
    path = shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"no `{tool}` command: install it")
    done = subprocess.run([path, *args], check=False, capture_output=True, text=True, input=text)
    assert done.returncode == 0, f"{tool} {' '.join(args)} {text}: {done.stderr}"
    return done.stdout


def track_connections() -> None:
    """Make netfilter track the connections over lo in this namespace."""
    ip("link set lo up")
    run("nft", "add table ip track; add chain ip track out { type filter hook output priority 0; }")
    run("nft", "add rule ip track out ct state new")


def heard(batches: Iterable[Batch]) -> list[tuple[int, int]]:
    """(group, message type) per message."""
    return [pair for batch in batches for pair in batch.messages[["group", "type"]].tolist()]


# Other processes


class Child:
    """Runs `work()` in a forked process, optionally as another user; `result()` returns its value.

    drop_caps: same user, no capabilities. keep_admin: another user with CAP_NET_ADMIN. The child has a
    time limit. An exception in the child fails the test.
    """

    def __init__(
        self,
        work: Callable[[], Any],
        *,
        uid: int | None = None,
        drop_caps: bool = False,
        keep_admin: bool = False,
        seconds: int = 60,
    ) -> None:
        self.status: int | None = None
        self.reader, writer = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns about threads; the child takes none of their locks, or that is the test.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid:
            os.close(writer)
            return
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            try:
                become(uid, drop_caps, keep_admin)
                answer = ("ok", work())
            except NotPermitted as error:
                answer = ("skip", str(error))
            except BaseException:
                answer = ("failed", traceback.format_exc())
            with open(writer, "wb") as out:  # noqa: PTH123
                pickle.dump(answer, out)
        finally:
            os._exit(0)

    def result(self) -> Any:
        reader, self.reader = self.reader, -1
        with open(reader, "rb") as pipe:  # noqa: PTH123
            data = pipe.read()
        self.kill()
        assert data, f"the child died: status {self.status}"
        kind, value = pickle.loads(data)
        if kind == "skip":
            pytest.skip(value)
        assert kind == "ok", f"in the child:\n{value}"
        return value

    def running(self) -> bool:
        """Whether the child is still running."""
        if self.status is None and (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.status = ended[1]
        return self.status is None

    def kill(self) -> None:
        """Kill the child unless it has ended."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.status = os.waitpid(self.pid, 0)[1]
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1


class NotPermitted(Exception):  # noqa: N818
    """The test process lacks the privilege to change to the child's credentials."""


def become(uid: int | None, drop_caps: bool, keep_admin: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if keep_admin:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    if uid is not None:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        except OSError as error:
            raise NotPermitted(
                f"becoming uid {uid} needs CAP_SETUID and a user namespace that maps it: {error.strerror}"
            ) from error
    if drop_caps or keep_admin:
        caps = 1 << CAP_NET_ADMIN if keep_admin else 0
        header = ctypes.create_string_buffer(struct.pack("=Ii", LINUX_CAPABILITY_VERSION_3, 0))
        if libc.capset(header, ctypes.create_string_buffer(struct.pack("=6I", caps, caps, 0, 0, 0, 0))) < 0:
            raise NotPermitted(f"capset: {os.strerror(ctypes.get_errno())}")


def python(code: str) -> list[str]:
    """A command that runs this code in a fresh interpreter with this nlbus."""
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]


def blocked(sub: Subscriber, call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """A thread that blocks in `call`, and a list that receives its outcome."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(call())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome
