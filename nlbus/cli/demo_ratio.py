"""The demo's third part: how long Python and C take to receive the same datagrams."""

import ctypes
import itertools
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
PER_ROUND = 768  # datagrams
SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5
SO_RCVBUFFORCE = 33


class Sum(ctypes.Structure):
    """struct floor_sum."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("datagrams", "messages", "bytes", "seq")]


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
            _c(library) as first,
            _c(library) as second,
            Publisher() as pub,
        ):
            readers = [_python(sub), first, second]
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
    library = ctypes.CDLL(str(target))
    library.floor_reader.restype = ctypes.c_void_p
    library.floor_reader.argtypes = [ctypes.c_int, ctypes.c_size_t]
    return library


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


@contextmanager
def _c(library: ctypes.CDLL) -> Iterator[Reader]:
    with _c_socket() as sock:
        loop = ctypes.c_void_p(library.floor_reader(sock.fileno(), DATAGRAM_BYTES))

        def drain() -> int:
            total = Sum()
            library.floor_bus(loop, ctypes.byref(total))
            return int(total.messages)

        granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        try:
            yield Reader(drain, granted // truesize(DATAGRAM_BYTES) - 1)
        finally:
            library.floor_free(loop)


def _python(sub: Subscriber) -> Reader:
    def drain() -> int:
        events = 0
        while batch := sub.recv(timeout=0):
            events += len(batch.records(EVENT))
        return events

    return Reader(drain, sub.stats()["buffer_size"] // truesize(DATAGRAM_BYTES) - 1)


def _measure(pub: Publisher, readers: list[Reader]) -> int:
    """Fill all queues with the same datagrams, empty them one after the other, in every order in turn.

    Who goes first finds bytes that are in no cache yet, who goes last frees them. The events sent.
    """
    fits = max(1, min(PER_ROUND // 6, *(reader.fits for reader in readers)))
    records = np.zeros(fits * A_DATAGRAM, EVENT)
    fills = 6 * max(1, PER_ROUND // (6 * fits))  # each order as often as any other
    orders = list(itertools.permutations(readers))
    turn = 0
    for round_ in range(ROUNDS + 1):
        for reader in readers:
            reader.times.append(0.0)
        for _ in range(fills):
            pub.publish_many(records, GROUP)
            for reader in orders[turn % len(orders)]:
                reader.drain()
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
