"""Programs that print the kernel's events (`ip monitor`, `udevadm monitor`), and an isolated udevd."""

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.sockets import wait_until

WORDS = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
UDEVD = Path("/lib/systemd/systemd-udevd")
# Isolated from the machine: it has its own /run, rules and view of /sys; /dev is read-only, and no rule
# loads a module or runs a program. It receives the events of its network namespace.
ALONE = """
mount -t tmpfs none /run
for rules in /etc/udev/rules.d /usr/lib/udev/rules.d /usr/local/lib/udev/rules.d; do
    [ ! -d $rules ] || mount -t tmpfs none $rules
done
mount -t sysfs none /sys
mount --rbind /dev /dev
mount -o remount,bind,ro /dev
mkdir -p /run/udev/rules.d
printf '%s' "$1" > /run/udev/rules.d/1.rules
exec "$2"
"""


def tool(name: str, package: str) -> str:
    """The tool's path; skips the test if it is not installed."""
    found = shutil.which(name, path=WORDS)
    if found is None:
        pytest.skip(f"no `{name}` command: install {package}")
    return found


def unsanitized() -> dict[str, str]:
    """The environment without `make test-asan`'s sanitizers, which would report other programs' faults."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def joined(protocol: int, pid: int) -> int:
    """The group mask of the first netlink socket that this process opened; 0 before it has joined."""
    for line in Path("/proc/thread-self/net/netlink").read_text().splitlines()[1:]:
        _, number, portid, groups, *_ = line.split()
        if (int(number), int(portid)) == (protocol, pid):  # a process's first socket gets its pid as portid
            return int(groups, 16)
    return 0


class Monitor:
    """A program running in this network namespace; once constructed, it has joined the groups of `mask`."""

    def __init__(self, protocol: int, mask: int, *command: str) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=unsanitized())
        try:
            wait_until(lambda: joined(protocol, self.process.pid) & mask == mask)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def lines(self, last: str) -> Iterator[str]:
        """Its output up to the first line that contains `last`; fails if that line does not come."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield line.rstrip("\n")
            if last in line:
                return
        pytest.fail(f"{self.process.args!r} ended, and {last!r} had not come")

    def end(self, quiet: float = 0.3) -> str:
        """All its output, once it has been quiet for `quiet` seconds."""
        assert self.process.stdout is not None
        said = bytearray()
        while select.select([self.process.stdout], [], [], quiet)[0]:
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                break
            said += more
        return said.decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


class Udevd:
    """systemd-udevd with one rules file, in its own mount namespace; `with` ends it."""

    def __init__(self, rules: str) -> None:
        if not UDEVD.exists():
            pytest.skip(f"no {UDEVD}: install udev")
        command = [tool("unshare", "util-linux"), "--mount", "sh", "-ec", ALONE, "sh", rules, str(UDEVD)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=unsanitized())

    def __enter__(self) -> Self:
        # Its control socket, below its own /run, appears as soon as it listens.
        control = Path(f"/proc/{self.process.pid}/root/run/udev/control")
        give_up = time.monotonic() + 10
        while not (self.process.poll() is None and control.exists()):
            if self.process.poll() is not None:
                _, why = self.process.communicate()
                pytest.skip(
                    f"udevd needs a mount namespace with /sys, /run and rules of its own: {why.strip()}"
                )
            assert time.monotonic() < give_up, "udevd did not begin"
            time.sleep(0.01)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.process.send_signal(signal.SIGTERM)  # also ends its workers
        try:
            self.process.communicate(timeout=10)
        finally:
            self.process.kill()
