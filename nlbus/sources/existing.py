"""Current objects as events: processes from /proc, devices from /sys.

This only reads, and no other listener hears it. Objects that vanish meanwhile are left out.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")  # a second
NS = 10**9


class Process(NamedTuple):
    """A process, as its first thread."""

    pid: int
    ppid: int
    sid: int
    started_ns: int  # since boot
    comm: bytes
    uids: tuple[int, int]  # real, effective
    gids: tuple[int, int]


def processes() -> Iterator[Process]:
    """Yield all processes of /proc, by pid."""
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):  # noqa: PTH208
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
            status = Path(f"/proc/{pid}/status").read_text(errors="replace")
        except OSError:
            continue
        # The name is in parentheses and may have parentheses itself.
        comm = stat[stat.index(b"(") + 1 : stat.rindex(b")")]
        fields = stat[stat.rindex(b")") + 2 :].split()
        ids = {line.split(":")[0]: line.split()[1:3] for line in status.splitlines() if line[1:4] == "id:"}
        yield Process(
            pid,
            int(fields[1]),
            int(fields[3]),
            int(fields[19]) * NS // TICKS,
            comm,
            (int(ids["Uid"][0]), int(ids["Uid"][1])),
            (int(ids["Gid"][0]), int(ids["Gid"][1])),
        )


def devices() -> Iterator[bytes]:
    """Yield a uevent `add` per device with a subsystem, parents first. Only real events have a SEQNUM."""
    seen = set()
    for folder in ("bus", "class"):
        for link in sorted(Path("/sys", folder).glob("*/devices/*" if folder == "bus" else "*/*")):
            path = os.path.realpath(link)
            if path.startswith("/sys/devices/"):
                seen.add(path)
    for path in sorted(seen):
        try:
            subsystem = Path(os.readlink(f"{path}/subsystem")).name  # noqa: PTH115
            own = Path(path, "uevent").read_bytes()
        except OSError:
            continue
        devpath = os.fsencode(path.removeprefix("/sys"))
        named = [b"ACTION=add", b"DEVPATH=" + devpath, b"SUBSYSTEM=" + os.fsencode(subsystem)]
        yield b"\0".join([b"add@" + devpath, *named, *own.splitlines(), b""])
