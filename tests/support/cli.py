"""Commands of nlbus as processes, as users start them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Listen:
    """`nlbus listen`, which has joined its groups when this returns."""

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
        """The next line, while it runs."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def record(self) -> dict[str, Any]:
        return dict(json.loads(self.line()))

    def end(self, number: int | None = None) -> tuple[int, list[str], str]:
        """Exit code, the other lines of stdout, stderr; after this signal, or by itself."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out.splitlines(), err

    def stop(self) -> None:
        """Let it sleep, so that its buffer overflows."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)
