"""Programs run for events: their start and their end."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nlbus import NlbusError, SchemaError
from nlbus.listener import command as module
from nlbus.listener.command import Command
from nlbus.listener.events import Event
from nlbus.listener.rule import HandlerError, Rule


def rule_for(command: Command, source: str = "uevent") -> Rule:
    return Rule(source=source, handler=command, name="r")


@pytest.fixture
def ending() -> Iterator[tuple[int, int]]:
    """The pipe that ends a command: (reader, writer)."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def handle(command: Command, event: Event, ending: int) -> None:
    command.handle(rule_for(command), event, ending)


def test_a_program_finds_the_event_in_its_environment(tmp_path: Path, ending: tuple[int, int]) -> None:
    out = tmp_path / "out"
    event: Event = {
        "ACTION": "add", "DEVPATH": "/a b", "nl_table": "uevent", "nl_op": "new", "nl_origin": "live",
        "nl_group": "kernel", "nl_time": 5, "nl_lost": 3,
    }  # fmt: skip
    handle(Command(f'env > "{out}"; exit 0', shell=True), event, ending[0])
    found = dict(line.split("=", 1) for line in out.read_text().splitlines() if "=" in line)
    assert found["DEVPATH"] == "/a b"
    assert {key: value for key, value in found.items() if key.startswith("NLBUS_")} == {
        "NLBUS_RULE": "r", "NLBUS_SOURCE": "uevent", "NLBUS_TABLE": "uevent", "NLBUS_OP": "new",
        "NLBUS_ORIGIN": "live", "NLBUS_GROUP": "kernel", "NLBUS_TIME_NS": "5", "NLBUS_LOST": "3",
    }  # fmt: skip
    assert found["PATH"] == os.environ["PATH"]


# -- the end of a program --------------------------------------------------------------------------


def test_an_exit_code_is_reported(ending: tuple[int, int]) -> None:
    handle(Command("true"), {}, ending[0])
    with pytest.raises(HandlerError, match=r"^exit code 3$"):
        handle(Command("exit 3", shell=True), {}, ending[0])
    with pytest.raises(HandlerError, match=r"^ended by SIGKILL$"):
        handle(Command("kill -KILL $$", shell=True), {}, ending[0])
    with pytest.raises(HandlerError, match="cannot be run: No such file"):
        handle(Command("/no/such"), {}, ending[0])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_hanging_program_is_killed_with_its_children_after_its_timeout(
    tmp_path: Path, ending: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE", 0.3)
    out = tmp_path / "pid"
    script = f'trap "" TERM; sleep 600 & echo $! > "{out}"; wait; sleep 600'
    began = time.monotonic()
    with pytest.raises(HandlerError, match=r"took longer than 0.5 s: ended by SIGKILL") as failed:
        handle(Command(script, shell=True, timeout=0.5), {}, ending[0])
    assert failed.value.timeout
    assert 0.5 < time.monotonic() - began < 5
    # SIGKILL went to the whole group, and the shell was reaped; its child dies once it is scheduled.
    orphan = int(out.read_text())
    while alive(orphan) and time.monotonic() - began < 10:
        time.sleep(0.01)
    assert not alive(orphan)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # no zombie is left


def test_a_program_that_cannot_be_watched_is_killed(
    ending: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(pid: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", none_left)
    with pytest.raises(HandlerError, match=r"could not be watched, Too many open files: ended by SIGKILL"):
        handle(Command("sleep 600"), {}, ending[0])


def test_a_program_that_handles_sigterm_ends_at_once_with_us(ending: tuple[int, int]) -> None:
    os.write(ending[1], b"\0")
    began = time.monotonic()
    with pytest.raises(HandlerError, match=r"^ended with us: ended by SIGTERM$") as failed:
        handle(Command("sleep 600"), {}, ending[0])
    assert not failed.value.timeout
    assert time.monotonic() - began < 1.5


def test_a_program_gets_no_terminal_signals_and_an_empty_stdin(ending: tuple[int, int]) -> None:
    code = "import os, sys; sys.exit(os.getsid(0) != os.getpid() or sys.stdin.read() != '')"
    handle(Command([sys.executable, "-c", code]), {}, ending[0])


def test_a_program_inherits_no_descriptor_and_no_blocked_signal(ending: tuple[int, int]) -> None:
    code = (
        "import os, signal, sys\n"
        "fds = {int(fd) for fd in os.listdir('/proc/self/fd')}\n"
        "sys.exit(len(fds - {0, 1, 2}) > 1 or bool(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
    )
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        handle(Command([sys.executable, "-c", code]), {}, ending[0])
    finally:
        os.close(inherited)


def test_a_program_runs_in_its_folder(tmp_path: Path, ending: tuple[int, int]) -> None:
    script = tmp_path / "here.sh"
    script.write_text("#!/bin/sh\n[ $(pwd) = $(dirname $(readlink -f $0)) ]\n")
    script.chmod(0o755)
    command = Command("./here.sh", folder=tmp_path)
    command.check()
    handle(command, {}, ending[0])
    with pytest.raises(NlbusError, match="no such program"):
        Command("./here.sh").check()
    script.chmod(0o644)
    with pytest.raises(NlbusError, match=r"^\./here.sh: not executable: chmod \+x$"):
        command.check()
    with pytest.raises(NlbusError, match="a folder"):
        Command("/").check()
    with pytest.raises(NlbusError, match="no such program in PATH"):
        Command("no-such-program").check()


@pytest.mark.parametrize(
    ("words", "more"),
    [("", {}), ("'open", {}), ([], {}), ("true", {"timeout": 0}), (["true"], {"shell": True}), (["a\0"], {})],
)
def test_an_invalid_command_is_refused(words: object, more: dict[str, object]) -> None:
    with pytest.raises(SchemaError):
        Command(words, **more)  # type: ignore[arg-type]


def test_words_are_split_like_a_shell_without_expansion() -> None:
    assert Command("a 'b c' $HOME *").words == ["a", "b c", "$HOME", "*"]
    assert str(Command(["a", "b c"])) == "a 'b c'"
