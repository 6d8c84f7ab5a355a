"""Commands on a terminal, and what they write to it."""

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def on_a_terminal(*args: str, stderr: bool = False, **environment: str) -> bytes:
    """What `nlbus ARGS` writes to a terminal as stdout, or as both stdout and stderr."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "nlbus", *args],
        stdout=theirs, stderr=theirs if stderr else subprocess.DEVNULL, cwd=ROOT,
        env=os.environ | {"TERM": "xterm"} | environment,
    ) as process:  # fmt: skip
        os.close(theirs)
        written = b""
        with contextlib.suppress(OSError):  # a terminal reports its end as EIO
            while more := os.read(ours, 4096):
                written += more
        process.wait(timeout=30)
    os.close(ours)
    return written
