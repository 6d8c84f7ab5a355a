"""Facts that only /proc has: the processes that hold a socket, and the network namespaces."""

import contextlib
import os
import re
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

from nlbus.errors import kernel_error
from nlbus.kernel.netns import NAMED

SOCKET, NETNS = "socket:[", "net:["
HERE = "/proc/thread-self/ns/net"

LONGEST = 64 << 10  # bytes of a file about a process


class Process(NamedTuple):
    """A process: its pid and the first 15 bytes of its command name."""

    pid: int
    command: str


class Place(NamedTuple):
    """A network namespace: its inode, its name of `ip netns` or "", and paths to enter it by."""

    inode: int
    name: str
    paths: list[str]


def overflow_uid() -> int:
    """The uid as which the kernel shows users that have none in our user namespace."""
    try:
        return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return 65534  # DEFAULT_OVERFLOWUID


def all_uids_are_mapped() -> bool:
    """Whether every user has a uid in our user namespace, as in the first one; False without /proc."""
    try:
        counts = [int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    except OSError:
        return False
    return sum(counts) >= 0xFFFF_FFFF  # (uid_t) -1 is no user


def owners(inodes: Container[int]) -> tuple[dict[int, list[Process]], int]:
    """The processes that hold these sockets, by inode, and how many processes we may not inspect."""
    found: dict[int, list[Process]] = {}
    hidden = 0
    for pid in _numbers("/proc"):
        try:
            fds = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208
            held = {_inode(f"/proc/{pid}/fd/{fd}", SOCKET) for fd in fds}
        except PermissionError:
            hidden += 1
            continue
        except OSError:  # it has ended
            continue
        for inode in held:
            if inode is not None and inode in inodes:
                found.setdefault(inode, []).append(Process(pid, _command(pid)))
    return found, hidden


def places() -> tuple[dict[int, Place], int]:
    """The network namespaces of threads and of `ip netns`, by inode, and how many processes hide theirs.

    The caller's own comes first. A namespace that only an open descriptor or a socket keeps alive is missing.
    KernelError.
    """
    here = _own()
    found = {here.st_ino: Place(here.st_ino, "", [HERE])}
    for name in _names(NAMED):
        path = f"{NAMED}/{name}"
        try:
            there = os.stat(path)  # noqa: PTH116
        except OSError:
            continue
        if there.st_dev == here.st_dev:  # otherwise a plain file without a mount
            paths = found[there.st_ino].paths if there.st_ino in found else []
            found[there.st_ino] = Place(there.st_ino, name, [*paths, path])
    hidden = 0
    for pid in _numbers("/proc"):
        try:
            by_inode = _namespaces(pid)
        except PermissionError:
            hidden += 1
            continue
        for inode, path in by_inode.items():
            found.setdefault(inode, Place(inode, "", [])).paths.append(path)
    return found, hidden


def own_netns() -> int:
    """The inode of the calling thread's network namespace. KernelError."""
    return _own().st_ino


def process_facts(
    pid: int,
) -> tuple[bytes | None, bytes | None, list[bytes] | None, int | None, bytes | None]:
    """Name, executable, arguments, real uid and cgroup of a process; None for what is gone or not shown."""
    at = f"/proc/{pid}"
    # These two go first when a process ends; the others stay until its parent has waited for it.
    exe: bytes | None = None
    with contextlib.suppress(OSError):  # gone, of the kernel, or of another user
        exe = os.readlink(os.fsencode(f"{at}/exe"))  # noqa: PTH115
    arguments = _content(f"{at}/cmdline")
    name = _content(f"{at}/comm")
    status = _content(f"{at}/status") or b""
    uid = re.search(rb"^Uid:\t(\d+)", status, re.MULTILINE)
    groups = re.search(rb"^0::(.*)$", _content(f"{at}/cgroup") or b"", re.MULTILINE)
    return (
        None if name is None else name.removesuffix(b"\n"),
        exe,
        arguments.removesuffix(b"\0").split(b"\0") if arguments else None,
        int(uid[1]) if uid else None,
        groups[1] if groups else None,
    )


def _content(file: str) -> bytes | None:
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, LONGEST)
    except OSError:
        return None
    finally:
        os.close(fd)


def _own() -> os.stat_result:
    try:
        return os.stat(HERE)  # noqa: PTH116
    except OSError as error:
        raise kernel_error(error.errno or 0, f"reading {HERE}", "is /proc mounted?") from error


def _namespaces(pid: int) -> dict[int, str]:
    """The network namespaces of a process's threads, by inode, and a path to each. PermissionError."""
    found: dict[int, str] = {}
    for thread in _numbers(f"/proc/{pid}/task"):
        path = f"/proc/{pid}/task/{thread}/ns/net"
        inode = _inode(path, NETNS)
        if inode is not None:
            found.setdefault(inode, path)
    return found


def _inode(link: str, kind: str) -> int | None:
    """The number in a link such as `socket:[123]`; None for links of other kinds or gone. PermissionError."""
    try:
        target = os.readlink(link)  # noqa: PTH115
    except PermissionError:
        raise
    except OSError:
        return None
    return int(target[len(kind) : -1]) if target.startswith(kind) else None


def _command(pid: int) -> str:
    try:
        name = Path(f"/proc/{pid}/comm").read_bytes()
    except OSError:
        return ""
    return name.removesuffix(b"\n").decode(errors="backslashreplace")


def _numbers(directory: str) -> Iterator[int]:
    return (int(name) for name in _names(directory) if name.isdecimal())


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208
    except OSError:
        return []
