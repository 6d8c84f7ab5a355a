"""Trials: sequences of operations in namespaces of their own, and States that follow them."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from nlbus import KernelError, State, Subscriber, snapshot
from nlbus.sources import find
from tests.support.monitors import unsanitized
from tests.support.operations.differences import Difference, differences
from tests.support.operations.kinds import Operation
from tests.support.operations.sequences import Churn

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
QUIET = 0.6  # seconds: longer than a repair waits before it looks again
PATIENCE = 4.0  # until rows that differ are a difference: a namespace is taken apart after its link has gone


@cache
def keyed(source: str) -> tuple[str, ...]:
    """The tables of a source that have a key and that this kernel can dump."""
    found = []
    for schema in find(source).schemas:
        if schema.key and schema.dump:
            try:
                snapshot(source, schema.name)
            except KernelError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
            else:
                found.append(schema.name)
    return tuple(found)


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


class Trial:
    """A sequence in namespaces of its own; the State of its subscriber and one fed by the same batches."""

    def __init__(self, sequence: Churn) -> None:
        self.sequence = sequence
        self.home, self.other = Namespace(), Namespace()
        self.sockets: dict[str, socket.socket] = {}
        self.succeeded: Counter[str] = Counter()
        self.lost = 0
        self.found: list[Difference] = []
        self.tables = keyed(sequence.source)
        if sequence.late:
            self._all(sequence.prelude)
        self.subscriber = Subscriber(
            sequence.source,
            tables=self.tables,
            snapshot=True,
            netns=self.home.fd,
            on_loss="ignore",
            buffer_events=8 if sequence.small else None,
        )
        self.state = State(sequence.source, *self.tables)
        if not sequence.late:
            self._all(sequence.prelude)

    def _all(self, operations: Iterable[Operation]) -> None:
        for operation in operations:
            self._burst(operation.tool, [operation])

    def play(self) -> None:
        """Do all operations, and receive now and then."""
        done = 0
        for tool, operations in self.sequence.bursts():
            self._burst(tool, operations)
            done += len(operations)
            if done - 1 in self.sequence.breaks:
                self.receive()

    def _burst(self, tool: str, operations: list[Operation]) -> None:
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

    def receive(self) -> bool:
        """Receive and apply all that is there; whether there was anything."""
        heard = False
        while True:
            batch = self.subscriber.recv(timeout=0)
            self.lost += bool(batch.loss)
            if not len(batch) and batch.origin == "live":
                return heard
            heard = heard or bool(len(batch))
            self.state.apply(batch)

    def compare(self, audited: bool = False) -> list[Difference]:
        """What the subscriber's State says otherwise than the kernel, and one fed by its batches."""
        states = {"fed": self.state, "own": self.subscriber.state}
        with self.home.inside():
            self.found = [
                found
                for table in self.tables
                for found in differences(self.sequence.source, table, states, audited)
            ]
        return self.found

    def close(self) -> None:
        """Leave everything to the kernel."""
        self.subscriber.close()
        for each in self.sockets.values():
            each.close()
        self.home.close()
        self.other.close()


def run(sequences: Sequence[Churn], at_once: int = 10) -> list[Trial]:
    """Play sequences, several at once, wait until it is quiet, and compare; the trials are closed."""
    done: list[Trial] = []
    for first in range(0, len(sequences), at_once):
        trials = []
        try:
            for sequence in sequences[first : first + at_once]:
                trials.append(Trial(sequence))
                trials[-1].play()
                for trial in trials:
                    if not trial.sequence.small:
                        trial.receive()
            _agree(trials, audited=False)
            sound = [trial for trial in trials if not trial.found]
            _agree(sound, audited=True)
        finally:
            for trial in trials:
                trial.close()
        done += trials
    return done


def _agree(trials: Sequence[Trial], audited: bool) -> None:
    """Wait until the States say what the kernel has, within reason."""
    until = time.monotonic() + PATIENCE
    quiet, differ = QUIET, [*trials]
    while differ:
        if audited:
            for trial in differ:
                trial.subscriber.state.audit()
        _settle(differ, quiet / 4 if audited else quiet)
        differ = [trial for trial in differ if trial.compare(audited)]
        quiet = QUIET / 3
        if time.monotonic() > until:
            break


def _settle(trials: Sequence[Trial], quiet: float) -> None:
    """Receive until nothing has come for so long."""
    until = time.monotonic() + quiet
    most = time.monotonic() + 8
    while time.monotonic() < min(until, most):
        time.sleep(0.01)
        if True in [trial.receive() for trial in trials]:
            until = time.monotonic() + quiet
