"""Programs as handlers: the event in the environment, no shell, a time limit."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nlbus.errors import NlbusError, SchemaError
from nlbus.kernel.arguments import seconds
from nlbus.listener.environment import variables
from nlbus.listener.rule import HandlerError

if TYPE_CHECKING:
    from nlbus.listener.events import Event
    from nlbus.listener.rule import Rule

QUOTED = re.compile(r"""\\.|'[^']*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
# Variables and commands, expanded in double quotes, too; and what stands outside of quotes.
EXPANDED = re.compile(r"\$(?:\w+|\{[^}]*\}?|\([^)]*\)?|[?#@*!$-])|`[^`]*`?")
OPERATOR = re.compile(
    r"(?:^|(?<=\s))(?:[|&]{1,2}|\d*(?:>>?|<<?<?)(?:&?\d|\s|(?=\S))|~(?=/|\s|$)\S*|\S*\*\S*)|;(?=\s|$)"
)
TIMEOUT = 60.0  # seconds
MAX_TIMEOUT = 1e6  # seconds: as milliseconds it fits poll()
GRACE = 2.0  # seconds from SIGTERM to SIGKILL


class Command:
    """A program that is run for each event, with the event in its environment.

    words: the program and its arguments; a text is split as a shell would, but nothing in it is expanded;
    with `shell` it is a script for /bin/sh. folder: its working directory, and the base of a relative path.
    It gets /dev/null as stdin, our stdout and stderr, and its own session. After `timeout` seconds its whole
    process group gets SIGTERM, and GRACE seconds later SIGKILL. SchemaError.
    """

    def __init__(
        self,
        words: str | Sequence[str],
        *,
        shell: bool = False,
        timeout: float = TIMEOUT,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        timeout = seconds(timeout, "timeout", MAX_TIMEOUT, above_zero=True)
        if shell and not isinstance(words, str):
            raise SchemaError(f"shell needs one text, not the words {list(words)!r}")
        try:
            plain = shlex.split(words) if isinstance(words, str) else list(words)
        except ValueError as error:
            raise SchemaError(f"{words!r}: {error}") from None
        if not plain or not all(isinstance(word, str) and "\0" not in word for word in plain):
            raise SchemaError(f"{words!r}: not a program and its arguments")
        self.words = ["/bin/sh", "-c", str(words)] if shell else plain
        # What the program gets as it is, although it looks like a task for a shell; "" for nothing.
        self.unexpanded = "" if shell or not isinstance(words, str) else _shell_syntax(words)
        self._name = str(words) if shell else shlex.join(plain)
        self._timeout = timeout
        self._folder = folder

    def check(self) -> None:
        """NlbusError if the program does not exist or may not be executed."""
        program = self.words[0]
        path = os.path.join(self._folder or "", program) if "/" in program else program  # noqa: PTH118
        if shutil.which(path) is None:
            raise NlbusError(f"{program}: {_why_not(path)}")

    def handle(self, rule: Rule, event: Event, ending: int) -> None:
        """Run the program to its end. HandlerError unless its exit code is 0."""
        environment = variables(rule, event, os.environ)
        try:
            # Without preexec_fn this is vfork and exec, which other threads cannot disturb.
            process = subprocess.Popen(
                self.words,
                env=environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise HandlerError(f"cannot be run: {error.strerror}") from error
        code, why = self._wait(process, ending)
        if why:
            raise HandlerError(f"{why}: {_ended(code)}", timeout="longer" in why)
        if code:
            raise HandlerError(_ended(code))

    def _wait(self, process: subprocess.Popen[bytes], ending: int) -> tuple[int | None, str]:
        """Its exit code, and why we ended it, if we did."""
        try:
            end = os.pidfd_open(process.pid)
        except OSError as error:  # out of descriptors: we could not wait for it with a timeout
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait(), f"could not be watched, {error.strerror}"
        try:
            ready, why = _readable([end, ending], self._timeout), ""
            if end not in ready:
                why = "ended with us" if ending in ready else f"took longer than {self._timeout:g} s"
                ready = _end_group(process.pid, end)
            # Reaped last: until then no other process can get its pid.
            return (process.wait() if end in ready else None), why
        finally:
            os.close(end)

    def __str__(self) -> str:
        return self._name


def _shell_syntax(text: str) -> str:
    """The first thing in this text that a shell would interpret and shlex does not; "" for none."""
    plain = QUOTED.sub(lambda quoted: _hidden(quoted[0], expanded='"'), text)
    bare = QUOTED.sub(lambda quoted: _hidden(quoted[0]), text)
    found = [match for match in (EXPANDED.search(plain), OPERATOR.search(bare)) if match]
    first = min(found, key=lambda match: match.start(), default=None)
    return "" if first is None else first[0].strip()


def _hidden(quoted: str, expanded: str = "") -> str:
    """Quoted text as "_", but what double quotes leave to the shell as it is, if they are `expanded`."""
    if quoted[0] == expanded:
        return re.sub(r"\\.", "__", quoted, flags=re.DOTALL)
    return "_" * len(quoted)


def _why_not(program: str) -> str:
    if "/" not in program:
        return "no such program in PATH"
    if not os.path.exists(program):  # noqa: PTH110 - the name may be anything
        return "no such program"
    return "a folder" if os.path.isdir(program) else "not executable: chmod +x"  # noqa: PTH112


def _readable(fds: list[int], limit: float) -> list[int]:
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(limit * 1000)]


def _end_group(group: int, end: int) -> list[int]:
    """SIGTERM, then SIGKILL for what is left of the group. Return [end] once the program has ended."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(PermissionError):  # it has changed its uid
            os.killpg(group, number)
        ready = _readable([end], GRACE)
    return ready


def _ended(code: int | None) -> str:
    if code is None:
        return "it does not end"
    return f"exit code {code}" if code >= 0 else f"ended by {signal.Signals(-code).name}"
