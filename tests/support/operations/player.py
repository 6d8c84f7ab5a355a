"""Operations done for real, in network namespaces of their own."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.monitors import unsanitized
from tests.support.operations.kinds import Operation

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


class Namespace:
    """A network namespace, as long as its descriptor is open."""

    def __init__(self) -> None:
        with here() as home:
            if libc.unshare(CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "unshare")
            self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            enter(home)

    @property
    def path(self) -> str:
        """For other processes."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def close(self) -> None:
        """Leave it to the kernel."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread within it."""
        with here() as home:
            enter(self.fd)
            try:
                yield
            finally:
                enter(home)


@contextmanager
def here() -> Iterator[int]:
    """A descriptor of this thread's namespace."""
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def enter(fd: int) -> None:
    """Move this thread into a namespace."""
    if libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Player:
    """Two namespaces, and what operations made in them."""

    def __init__(self) -> None:
        self.home, self.other = Namespace(), Namespace()
        self.sockets: dict[str, socket.socket] = {}
        self.succeeded: Counter[str] = Counter()

    def all(self, operations: Iterable[Operation]) -> None:
        for operation in operations:
            self.burst(operation.tool, [operation])

    def burst(self, tool: str, operations: list[Operation]) -> None:
        with (self.other if tool == "ip-other" else self.home).inside():
            if tool in ("ip", "ip -6", "ip-other", "bridge", "tc"):
                self._batch(tool.removesuffix("-other"), operations)
                return
            for operation in operations:
                try:
                    getattr(self, f"_{tool}")(operation.line)
                except OSError:
                    continue
                self.succeeded[operation.kind] += 1

    def _batch(self, tool: str, operations: list[Operation]) -> None:
        text = "".join(f"{operation.line}\n" for operation in operations)
        text = text.replace("OTHER", self.other.path).replace("HOME", self.home.path)
        run = subprocess.run(
            [*tool.split(), "-force", "-batch", "-"],
            input=text,
            capture_output=True,
            text=True,
            env=unsanitized(),
            check=False,
        )
        complaints = [line for line in run.stderr.splitlines() if line.startswith("Command failed")]
        failed = {int(line.rpartition(":")[2]) for line in complaints}
        self.succeeded.update(each.kind for i, each in enumerate(operations, 1) if i not in failed)

    def _sysctl(self, line: str) -> None:
        name, _, value = line.partition("=")
        Path("/proc/sys", *name.split(".")).write_text(value)

    def _conntrack(self, line: str) -> None:
        run = subprocess.run(
            ["conntrack", *line.split()], capture_output=True, env=unsanitized(), check=False
        )
        if run.returncode:
            raise OSError(line)

    def _forget(self, _line: str) -> None:
        self.other.close()
        self.other = Namespace()

    def _join(self, line: str) -> None:
        self._member(line, True)

    def _leave(self, line: str) -> None:
        self._member(line, False)

    def _member(self, line: str, joins: bool) -> None:
        group, device = line.split()
        index = socket.if_nametoindex(device)
        six = ":" in group
        if line not in self.sockets:
            self.sockets[line] = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        if six:
            value = socket.inet_pton(socket.AF_INET6, group) + index.to_bytes(4, "little")
            option = (socket.IPPROTO_IPV6, 20 if joins else 21)  # IPV6_ADD_MEMBERSHIP
        else:
            value = socket.inet_aton(group) + bytes(4) + index.to_bytes(4, "little")
            option = (socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP if joins else socket.IP_DROP_MEMBERSHIP)
        self.sockets[line].setsockopt(*option, value)

    def leave(self) -> None:
        """Leave everything to the kernel."""
        for each in self.sockets.values():
            each.close()
        self.home.close()
        self.other.close()
