"""Programs that print events: `ip monitor`, `udevadm monitor`, `conntrack -E`; their lines are counted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from nlbus.bench.libraries.listening import QUIET
from nlbus.bench.results import Missing
from nlbus.diag import netlink_sockets

PATIENCE = 10.0  # seconds until it has joined
PAUSE = 0.02
# A shell makes background jobs ignore Ctrl-C. Their children would inherit that and never end.
INTERRUPTIBLE = ("env", "--default-signal=INT")


class Tool(NamedTuple):
    """A program, its source, and the text by which an event of the storm is recognized."""

    subject: str
    command: tuple[str, ...]
    package: str  # Debian's
    protocol: int
    event: bytes
    overrun: bytes  # its message for ENOBUFS, on stderr


TOOLS = {
    "route": Tool(
        "ip monitor", ("ip", "-o", "monitor", "route"), "iproute2", 0, b"10.", b"No buffer space available"
    ),
    "uevent": Tool(
        "udevadm monitor",
        ("udevadm", "monitor", "--kernel", "--property"),
        "udev",
        15,
        b"INTERFACE=lo",
        b"No buffer space available",
    ),
    "conntrack": Tool(
        "conntrack -E", ("conntrack", "-E", "-e", "NEW"), "conntrack", 12, b"[NEW]", b"ENOBUFS"
    ),
}


class Printed(NamedTuple):
    """Its events, processor time, receive buffer (bytes), and last line."""

    events: int
    overruns: int
    cpu: float
    buffer: int
    words: str


def buffer_of(pid: int) -> int:
    """Bytes of the largest receive buffer of a process's netlink sockets, as the kernel counts; or 0."""
    ours = (
        one.buffer_size or 0
        for one in netlink_sockets(here=True)
        if any(each.pid == pid for each in one.processes)
    )
    return max(ours, default=0)


def program(name: str) -> str | None:
    """The path of the program, also in directories of root's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def listen(tool: Tool, make: Callable[[], object]) -> Printed | Missing:
    """Start it, make the storm, and end it when it prints nothing any more."""
    path = program(tool.command[0])
    if path is None:
        return Missing("libraries", tool.subject, f"no `{tool.command[0]}`: install {tool.package}")
    with TemporaryDirectory(prefix="nlbus-bench-") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [*INTERRUPTIBLE, path, *tool.command[1:]], stdout=stdout, stderr=stderr
            )
        try:
            if not _joined(tool.protocol, process):
                return Missing("libraries", tool.subject, f"it did not begin: {err.read_text().strip()}")
            buffer = buffer_of(process.pid)
            make()
            size = -1
            while size != out.stat().st_size:
                size = out.stat().st_size
                time.sleep(QUIET)
        finally:
            if process.returncode is None:  # else it ended by itself, and was waited for
                os.kill(process.pid, signal.SIGINT)  # not waited for: it is there, if only as a zombie
                _, _, used = os.wait4(process.pid, 0)
                process.returncode = 0
        events = sum(tool.event in line for line in out.read_bytes().splitlines())
        said = err.read_bytes()
        return Printed(
            events,
            said.count(tool.overrun),
            used.ru_utime + used.ru_stime,
            buffer,
            said.decode(errors="replace").strip().rpartition("\n")[2],
        )


def _joined(protocol: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether a socket of this process joins a group within PATIENCE seconds."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up and process.poll() is None:
        held = _sockets(process.pid)
        for line in Path("/proc/net/netlink").read_text().splitlines()[1:]:
            _, number, _, groups, *_, inode = line.split()
            if int(number) == protocol and int(groups, 16) and inode in held:
                return True
        time.sleep(PAUSE)
    return False


def _sockets(pid: int) -> set[str]:
    """The inodes of its sockets."""
    held = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            held.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    return held
