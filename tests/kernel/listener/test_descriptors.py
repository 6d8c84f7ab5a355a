"""Out of descriptors: each operation raises an NlbusError that says what it did, and leaks nothing."""

import errno
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nlbus
from nlbus import KernelError, Listener, NlbusError, Subscriber, packet
from nlbus.bus.wait import _kept
from nlbus.listener.function import Loop
from nlbus.listener.rules import load_rules
from tests.support.captures import interface, section
from tests.support.sockets import Child

ENOUGH = 24


def listen() -> None:
    app = Listener()
    app.on("route", table="link")(lambda event: None)
    app.on("uevent")(lambda event: None)
    app.run(workers=2, seconds=0)


def wait() -> None:
    with Subscriber("uevent") as sub:
        nlbus.wait([sub], timeout=0)
    _kept.waiter = None  # each thread keeps its last one


def record(folder: Path, name: str, **more: Any) -> None:
    with Subscriber("route", "link") as sub:
        nlbus.record(folder / name, sub, seconds=0, **more)


def read(file: Path) -> None:
    with nlbus.open_capture(file) as capture:
        list(capture)


def operations(folder: Path) -> dict[str, Callable[[], object]]:
    capture = folder / "read.pcapng"
    capture.write_bytes(section() + interface())
    rules = folder / "rules.toml"
    rules.write_text("[[rule]]\nsource='route'\nexec='true'\n")
    return {
        "Listener": listen,
        "wait": wait,
        "record": lambda: record(folder, "x.pcapng"),
        "record a table": lambda: record(folder, "x.arrows", table="link"),
        "record many files": lambda: record(folder, "y.parquet", table="link", roll_seconds=9.0),
        "open_capture": lambda: read(capture),
        "snapshot": lambda: nlbus.snapshot("route", "link"),
        "snapshot elsewhere": lambda: nlbus.snapshot("route", "link", netns="/proc/self/ns/net"),
        "netlink_sockets": lambda: nlbus.netlink_sockets(here=True),
        "sources": nlbus.sources,
        "a family": lambda: Subscriber("genl:nlctrl").close(),
        "module_stats": nlbus.module_stats,
        "packet.rules": packet.rules,
        "load_rules": lambda: load_rules(rules, Loop()),
        "State": lambda: Subscriber("route", "link", snapshot=True).close(),
    }


def failures(operation: Callable[[], object]) -> list[str]:
    """What is wrong with the errors and the descriptors of an operation, for every number of free ones."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wrong = []

    def tried() -> str:
        try:
            operation()
        except NlbusError as error:
            # Not there at all on some kernels, whatever the number of descriptors.
            out = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
            return "out of descriptors" if out and ": " in str(error) else "another NlbusError"
        except BaseException as error:
            return f"{type(error).__name__}: {error}"
        return "done"

    usual = tried()  # and what is imported or opened once is there now
    before = open_descriptors()
    for free in range(ENOUGH):
        spare = [os.dup(0)]
        os.close(spare[0])
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare[0] + free, hard))
        try:
            found = tried()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if found not in ("out of descriptors", usual):
            wrong.append(f"{free} free: {found}")
        if (now := open_descriptors()) != before:
            wrong.append(f"{free} free: {found}, leaks {now - before}")
            before = now
    return wrong


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_out_of_descriptors(child: Callable[..., Child], tmp_path: Path) -> None:
    def work() -> dict[str, list[str]]:
        return {name: failures(operation) for name, operation in operations(tmp_path).items()}

    wrong = {name: found for name, found in child(work).result().items() if found}
    assert not wrong, "\n".join(f"{name}: {each}" for name, found in wrong.items() for each in found)


def test_out_of_threads(child: Callable[..., Child]) -> None:
    def work() -> tuple[int, bool, int]:
        before, started = threading.active_count(), []
        start = threading.Thread.start

        def limited(thread: threading.Thread) -> None:
            if len(started) == 5:
                raise RuntimeError("can't start new thread")
            started.append(thread)
            start(thread)

        threading.Thread.start = limited  # type: ignore[method-assign]
        descriptors = open_descriptors()
        app = Listener()
        app.on("route", table="link")(lambda event: None)
        with pytest.raises(KernelError, match=r"starting 8 workers: .*; only 5 threads could be started"):
            app.run(workers=8, seconds=0)
        return open_descriptors() - descriptors, threading.active_count() == before, len(started)

    assert child(work).result() == (0, True, 5)
