"""Network namespaces: the bus ends there, and namespaces and modules come and go under load."""

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.guest.control import stats
from tests.guest.helpers import (
    ADD_MEMBERSHIP,
    GEN,
    SLOW,
    SOL_NETLINK,
    Ledger,
    Tap,
    event,
    generate,
    load,
    load_all,
    order,
    payloads,
    unload,
    unload_all,
)  # fmt: skip
from tests.support.sockets import Child

Open = Callable[..., Tap]
Fork = Callable[..., Child]

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


@contextmanager
def inside(path: str) -> Iterator[None]:
    """This thread in another network namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(path, os.O_RDONLY)
    try:
        assert libc.setns(there, CLONE_NEWNET) == 0
        yield
    finally:
        assert libc.setns(home, CLONE_NEWNET) == 0
        os.close(there)
        os.close(home)


def test_events_stay_in_their_namespace(tap: Open, others: Callable[[], str]) -> None:
    there = others()
    mine = tap(1)
    with inside(there):
        theirs = tap(1)
        order("publish", 1, first=2)
    order("publish", 1, first=1)
    assert payloads(mine.drain()) == [event(1)]
    assert payloads(theirs.drain()) == [event(2)]


def test_listeners_and_statistics_are_a_namespaces_own(tap: Open, others: Callable[[], str]) -> None:
    there = others()
    tap(1)
    order("publish", 1, count=3)
    with inside(there):
        assert order("listening", 1).skipped == 1
        assert order("publish", 1).skipped == 1
        assert (stats(1)["skipped"], stats(1)["events"]) == (1, 0)
    assert stats(1)["skipped"] == 0


def test_a_namespace_ends_with_its_streams_open_and_events_under_way(netns: int, child: Fork) -> None:
    """Its sockets go first, the namespace later, in the kernel's own time."""

    def live() -> int:
        assert libc.unshare(CLONE_NEWNET) == 0
        one = Tap(*range(1, 9))
        for i in range(1, 256):
            order("publish", *(g for g in range(1, 9) if i >> (g - 1) & 1), count=3)
        generate(context="hardirq", count=1000, burst=100, groups=0xFF)
        return len(one.receive(1).data)  # type: ignore[union-attr]

    for _ in range(5):
        assert child(live).result() > 0
    time.sleep(1)


@pytest.mark.timeout(180)
def test_namespaces_come_and_go_while_the_kernel_publishes(tap: Open, child: Fork) -> None:
    one = tap(1)

    def churn() -> int:
        for _ in range(20 // SLOW):
            assert libc.unshare(CLONE_NEWNET) == 0
            mine = Tap(1)
            order("publish", 1, count=20)
            mine.close()
        return 20 // SLOW

    churning = [child(churn, seconds=500) for _ in range(2)]
    accepted = full = 0
    while any(c.running() for c in churning):
        outcome = generate(context="softirq", count=500, burst=50, size=32)
        accepted, full = accepted + outcome.accepted, full + outcome.full
    assert [c.result() for c in churning] == [20 // SLOW] * 2
    ledger = Ledger()
    for datagram in one.drain():
        ledger.take(datagram)
    assert (ledger.events, ledger.lost) == (accepted, full)


def busy_reader() -> "subprocess.Popen[bytes]":
    """Opens sockets of the module, joins, reads and closes, over and over; while there is none, it waits."""
    code = f"""
import socket, time
while True:
    try:
        with socket.socket(16, 3, 31) as s:
            s.setsockopt({SOL_NETLINK}, {ADD_MEMBERSHIP}, 1)
            s.settimeout(0.01)
            try:
                for _ in range(20): s.recv(65536)
            except OSError: pass
        time.sleep(0.02)  # or it would never be out of use
    except OSError: time.sleep(0.001)
"""
    return subprocess.Popen([sys.executable, "-c", code])


@pytest.mark.timeout(240)
def test_unload_under_load(reload: Callable[..., None]) -> None:
    """Refused as long as it is in use, clean when it is not."""
    reload()
    unload("nlbus_probe")
    readers = [busy_reader() for _ in range(2)]
    unloaded = 0
    try:
        for _ in range(5):
            generate(context="hardirq", count=300, burst=100)
            unload("nlbus_gen")
            give_up = time.monotonic() + 20 * SLOW
            while time.monotonic() < give_up:
                try:
                    unload("nlbus")
                except AssertionError:
                    continue
                unloaded += 1
                load("nlbus")
                break
            load("nlbus_gen")
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
    assert unloaded > 0
    unload_all()
    load_all()


def test_unload_straight_after_a_flood(reload: Callable[..., None], tap: Open) -> None:
    """The worker has events left, and its timer is armed."""
    for linger_us in (0, 1_000_000):
        reload(linger_us=linger_us)
        one = Tap(1)
        generate(count=5000, size=100)
        one.close()
        unload_all()
        load_all()


def test_the_generator_cannot_go_while_it_runs(child: Fork, tap: Open) -> None:
    tap(1)
    (GEN / "rate").write_text("200")

    running = child(lambda: generate(count=200, rate=200).accepted)
    time.sleep(0.3)
    done = subprocess.run(["rmmod", "nlbus"], check=False, capture_output=True, text=True)
    assert "in use" in done.stderr
    assert running.result() == 200
    assert Path("/sys/module/nlbus_gen").exists()
