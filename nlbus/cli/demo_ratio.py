"""The demo's third part: the time to empty a full receive buffer, in Python and in C, on the same datagrams."""

import ctypes
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from nlbus import Publisher, Subscriber
from nlbus.cli.demo import PACKAGES
from nlbus.cli.demo_roles import EVENT
from nlbus.publisher import DATAGRAM_BYTES
from nlbus.truesize import truesize

ROUNDS = 21
GROUP = 9
A_DATAGRAM = 505  # events of 64 bytes that fill it
PER_ROUND = 512  # datagrams
SLOTS, SLOT = 64, 32768  # floor.c's
SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5
SO_RCVBUFFORCE = 33


class Sum(ctypes.Structure):
    """struct floor_sum."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("datagrams", "messages", "bytes", "seq")]  # noqa: RUF012


class Reader:
    """Something that empties its queue, and counts events and seconds."""

    def __init__(self, drain: Callable[[], int], fits: int) -> None:
        self._drain = drain
        self.fits = fits  # datagrams
        self.events = 0
        self.times: list[float] = []

    def drain(self) -> None:
        """Empty the queue; the time counts for the current round."""
        began = time.perf_counter()
        events = self._drain()
        self.times[-1] += time.perf_counter() - began
        self.events += events


def show() -> None:
    """Measure, and print the ratio; or why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        library = _compile(Path(folder))
        if isinstance(library, str):
            click.echo(f"Skipped: {library}.")
            return
        with (
            Subscriber("bus", GROUP, on_loss="ignore") as sub,
            _c_socket() as first,
            _c_socket() as second,
            Publisher() as pub,
        ):
            readers = [_python(sub), _c(library, first), _c(library, second)]
            sent = _measure(pub, readers)
            lost = sub.stats()["lost"]
        _report(readers, sent, lost)


def _compile(folder: Path) -> ctypes.CDLL | str:
    source, header = PACKAGES / "bench" / "floor.c", PACKAGES / "kmod" / "uapi"
    if not source.exists():
        return "the C loop, bench/floor.c, is in the source tree only, and this nlbus is installed without it"
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        return "no C compiler (cc) here to make the C loop with"
    target = folder / "floor.so"
    command = [compiler, "-O3", "-shared", "-fPIC", f"-I{header}", "-o", str(target), str(source)]
    try:
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"the C compiler {compiler} does not run: {error.strerror}"
    if made.returncode:
        return f"the C loop does not compile: {made.stderr.strip()}"
    return ctypes.CDLL(str(target))


def _c_socket() -> socket.socket:
    """A socket like the subscriber's."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 2)
    sock.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 20)
    sock.bind((0, 1 << GROUP - 1))
    return sock


def _c(library: ctypes.CDLL, sock: socket.socket) -> Reader:
    memory = np.zeros(SLOTS * SLOT, np.uint8)
    address = ctypes.c_void_p(memory.ctypes.data)
    slot, fd = ctypes.c_size_t(SLOT), sock.fileno()

    def drain() -> int:
        total = Sum()
        library.floor_bus(fd, address, slot, ctypes.byref(total))
        # Named here, the memory lives as long as this function does.
        return int(total.messages) if memory.size else 0

    granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return Reader(drain, granted // truesize(DATAGRAM_BYTES) - 1)


def _python(sub: Subscriber) -> Reader:
    def drain() -> int:
        events = 0
        while batch := sub.recv(timeout=0):
            events += len(batch.records(EVENT))
        return events

    return Reader(drain, sub.stats()["buffer_size"] // truesize(DATAGRAM_BYTES) - 1)


def _measure(pub: Publisher, readers: list[Reader]) -> int:
    """Fill all queues with the same datagrams, empty them one after the other; each goes first in turn."""
    fits = max(1, min(PER_ROUND, *(reader.fits for reader in readers)))
    records = np.zeros(fits * A_DATAGRAM, EVENT)
    fills = PER_ROUND // fits
    turn = 0
    for round_ in range(ROUNDS + 1):
        for reader in readers:
            reader.times.append(0.0)
        for _ in range(fills):
            pub.publish_many(records, GROUP)
            for i in range(len(readers)):
                readers[(turn + i) % len(readers)].drain()
            turn += 1
        if round_ == 0:
            for reader in readers:
                reader.times.clear()  # the first round warms up
    return (ROUNDS + 1) * fills * len(records)


def _report(readers: list[Reader], sent: int, lost: int) -> None:
    python, first, second = readers
    rounds = len(python.times)
    per_round = sent / (rounds + 1)
    both = [(a + b) / 2 for a, b in zip(first.times, second.times, strict=True)]
    ratio = statistics.median(c / p for c, p in zip(both, python.times, strict=True))
    between = sorted(a / b for a, b in zip(first.times, second.times, strict=True))
    low, middle, high = between[rounds // 10], between[rounds // 2], between[-1 - rounds // 10]
    click.echo(
        f"{rounds} rounds of {per_round:,.0f} events, {A_DATAGRAM} a datagram, on queues filled beforehand, "
        "in changing order:"
    )
    for name, reader in (("Python", python), ("C", first), ("C again", second)):
        nanoseconds = statistics.median(reader.times) / per_round * 1e9
        missing = f"{sent - reader.events:,} lost"
        click.echo(
            f"  {name:10}{nanoseconds:6.2f} ns an event, {1e3 / nanoseconds:6.1f} M a second; "
            f"{reader.events:,} of {sent:,} delivered, {missing}"
        )
    click.echo(
        click.style(f"Python reaches {ratio:.2f} of the C loop", bold=True)
        + f" (median of {rounds} paired rounds, batch.records() included; C against itself {middle:.2f}, "
        f"80 % of rounds within {low:.2f} to {high:.2f})."
    )
    if lost != sent - python.events:
        click.echo(f"The subscriber's ledger counts {lost:,} lost.")
