"""Commands of nlbus, timed in a process that has run them before."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Self

from nlbus.bench.pairing import Side, Turn

# Runs a command per line of arguments, and says what processor time it took.
PROGRAM = """
import json, sys, time
from nlbus.cli.main import commands
for line in sys.stdin:
    start = time.process_time_ns()
    commands(json.loads(line), standalone_mode=False)
    sys.stdout.flush()
    print(time.process_time_ns() - start, file=sys.stderr, flush=True)
"""


class Commands:
    """A process that runs commands; their output is discarded."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate("")

    def side(self, events: int, arguments: Sequence[str]) -> Side:
        """A command that writes so many events. OSError if it fails."""

        def turn() -> Turn:
            return Turn(self._run(arguments), events)

        return turn

    def _run(self, arguments: Sequence[str]) -> int:
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        said = ""
        for line in self._process.stderr:
            if line.strip().isdigit():
                return int(line)
            said += line
        raise OSError(f"nlbus {' '.join(arguments)}: {said.strip() or 'it ended'}")
