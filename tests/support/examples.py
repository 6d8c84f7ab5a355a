"""Runs a program of examples/ until it prints a line, while events happen."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.cli import ROOT

SECONDS = 30


class Example:
    """A running example in this network namespace."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", *command],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._said = b""

    def says(self, words: str, happen: Callable[[], None]) -> str:
        """The line that contains these words; calls `happen` repeatedly until it comes."""
        assert self.process.stdout is not None
        give_up = time.monotonic() + SECONDS
        while time.monotonic() < give_up:
            happen()
            while select.select([self.process.stdout], [], [], 0.1)[0]:
                new = os.read(self.process.stdout.fileno(), 65536)
                self._said += new
                if not new:
                    assert self.process.stderr is not None
                    raise AssertionError(f"it ended: {self.process.stderr.read().decode()}")
            for line in self._said.decode().splitlines():
                if words in line:
                    return line
        raise AssertionError(f"it never said {words!r}, but {self._said.decode()!r}")

    def ends(self) -> None:
        """Ctrl-C ends the program with no further output."""
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=SECONDS)
        assert (self.process.returncode, err.decode()) == (0, "")


@contextmanager
def example(*command: str) -> Iterator[Example]:
    """An example that is killed when the test ends."""
    here = Example(*command)
    try:
        yield here
        here.ends()
    finally:
        here.process.kill()
        here.process.communicate()
