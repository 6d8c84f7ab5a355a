"""nlbus commands as child processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Listen:
    """A running `nlbus listen`; its groups are joined when the constructor returns."""

    def __init__(self, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nlbus", "listen", *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self.process.stderr is not None
        self.greeting = self.process.stderr.readline()
        while "listening to" not in self.greeting:
            more = self.process.stderr.readline()
            assert more, f"it ended: {self.greeting}"
            self.greeting += more

    def line(self) -> str:
        """The next line of output; fails if the command ends."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def record(self) -> dict[str, Any]:
        return dict(json.loads(self.line()))

    def end(self, number: int | None = None) -> tuple[int, list[str], str]:
        """Send the signal, if any, wait, and return (exit code, remaining lines of stdout, stderr)."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out.splitlines(), err

    def stop(self) -> None:
        """Suspend the process, so that its buffer overflows."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)
