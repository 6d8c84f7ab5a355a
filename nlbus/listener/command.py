"""Programs as handlers: an event in the environment, no shell, an end after its time."""

from __future__ import annotations

import contextlib
import os
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

TIMEOUT = 60.0  # seconds
MAX_TIMEOUT = 1e6  # seconds: as milliseconds it fits poll()
GRACE = 2.0  # seconds from SIGTERM to SIGKILL


class Command:
    """A program that is run for each event, with the event in its environment.

    words: the program and its arguments; a text is taken apart as a shell would, but nothing in it is
    expanded; with `shell` it is a script of /bin/sh. folder: where it runs, and what a relative path is of.
    It gets /dev/null as stdin, our stdout and stderr, and a session of its own. After `timeout` seconds the
    whole of its process group gets SIGTERM, and SIGKILL after GRACE. SchemaError.
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
            raise SchemaError(f"a shell takes one text, not the words {list(words)!r}")
        try:
            plain = shlex.split(words) if isinstance(words, str) else list(words)
        except ValueError as error:
            raise SchemaError(f"{words!r}: {error}") from None
        if not plain or not all(isinstance(word, str) and "\0" not in word for word in plain):
            raise SchemaError(f"{words!r}: a program and its arguments, as texts")
        self.words = ["/bin/sh", "-c", str(words)] if shell else plain
        self._name = str(words) if shell else shlex.join(plain)
        self._timeout = timeout
        self._folder = folder

    def check(self) -> None:
        """NlbusError if there is no such program, or none that may be run."""
        program = self.words[0]
        there = os.path.join(self._folder or "", program) if "/" in program else program  # noqa: PTH118
        if shutil.which(there) is None:
            raise NlbusError(f"{program}: {_why_not(there)}")

    def handle(self, rule: Rule, event: Event, ending: int) -> None:
        """Run it to its end. HandlerError says how it ended if not well."""
        environment = variables(rule, event, os.environ)
        try:
            # Without preexec_fn it is vfork and exec, which other threads cannot disturb.
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
        """Its exit code, and why it was ended if it was."""
        try:
            end = os.pidfd_open(process.pid)
        except OSError as error:  # no descriptors left: nobody could watch it
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait(), f"could not be watched, {error.strerror}"
        try:
            ready, why = _readable([end, ending], self._timeout), ""
            if end not in ready:
                why = "ended with us" if ending in ready else f"took longer than {self._timeout:g} s"
                ready = _end_group(process.pid, end)
            # Not before: as long as it is not waited for, its number is nobody else's.
            return (process.wait() if end in ready else None), why
        finally:
            os.close(end)

    def __str__(self) -> str:
        return self._name


def _why_not(program: str) -> str:
    if "/" not in program:
        return "no such program (it is looked for in PATH)"
    if not os.path.exists(program):  # noqa: PTH110 - whatever the name
        return "no such program"
    return "a folder" if os.path.isdir(program) else "it may not be executed; chmod +x"  # noqa: PTH112


def _readable(fds: list[int], limit: float) -> list[int]:
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(limit * 1000)]


def _end_group(group: int, end: int) -> list[int]:
    """Politely, then for sure, and those of its processes that did not listen. [end] when it has ended."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(PermissionError):  # it has become another user
            os.killpg(group, number)
        ready = _readable([end], GRACE)
    return ready


def _ended(code: int | None) -> str:
    if code is None:
        return "it does not end"
    return f"exit code {code}" if code >= 0 else f"ended by {signal.Signals(-code).name}"
