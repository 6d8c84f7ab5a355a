"""Ctrl-C ends a command quietly at any moment, also while it imports and while the interpreter ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# Interrupts itself at the given import, counted from the start of the command.
AT_IMPORT = """
import os, signal, sys
from nlbus.cli import run
left = {0}
def count(event, args):
    global left
    if event == "import" and left >= 0:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(count)
sys.argv[:] = ["nlbus", *{1!r}]
run()
"""
AT_END = """
import atexit, os, signal, sys
from nlbus.cli import run
atexit.register(os.kill, os.getpid(), signal.SIGINT)
sys.argv[:] = ["nlbus", *{0!r}]
run()
"""


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ | environment, timeout=30,
    )  # fmt: skip


@pytest.mark.parametrize("number", [0, 1, 2, 5, 10, 20, 40, 60, 80, 100, 120, 150, 180, 210, 240])
def test_an_interrupted_import_ends_with_130(number: int) -> None:
    done = python(AT_IMPORT.format(number, ["snapshot", "route", "link"]))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_interrupt_after_the_work_is_quiet() -> None:
    done = python(AT_END.format(["sources", "route"]))
    assert (done.returncode, done.stderr) == (130, "")
    assert done.stdout.startswith("TABLE")


@pytest.mark.parametrize("words", [["--help"], ["listen", "--help"], ["listen", "bogus"]])
def test_an_interrupt_of_help_and_errors_is_quiet(words: list[str]) -> None:
    done = python(AT_IMPORT.format(30, words))
    assert (done.returncode, done.stderr) == (130, "")


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    """As in a job of a shell that runs in the background."""
    code = (
        f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{AT_END.format(['sources', 'route'])}"
    )
    assert python(code).returncode == 0


def test_the_library_leaves_ctrl_c_alone() -> None:
    code = "import signal, nlbus, nlbus.cli.main; print(signal.getsignal(signal.SIGINT).__name__)"
    assert python(code).stdout == "default_int_handler\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# Interrupts itself when the first rows were written.
AT_ROWS = """
import os, signal, sys
from nlbus.cli import run
from nlbus.cli.actions import snapshot
of = snapshot._Lines.of
def interrupted(*args):
    for number, some in enumerate(of(*args)):
        yield some
        if number == {1}:
            os.kill(os.getpid(), {2})
snapshot._Lines.of = interrupted
sys.argv[:] = ["nlbus", *{0!r}]
run()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("ending", ["csv", "json", "txt"])
def test_an_interrupted_snapshot_leaves_no_file(number: int, ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"links.{ending}"
    done = python(AT_ROWS.format(["snapshot", "route", "link", str(file)], 0, int(number)))
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_snapshot_leaves_an_older_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "links.csv"
    file.write_text("older")
    file.chmod(0o600)
    words = ["snapshot", "route", "link", "--force", str(file)]
    assert python(AT_ROWS.format(words, 0, 2)).returncode == 130
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("links.csv", "older")]
    link = tmp_path / "link.csv"
    link.symlink_to(file)
    assert python(AT_ROWS.format([*words[:-1], str(link)], -1, 2)).returncode == 0
    assert "ifname" in file.read_text()
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_interrupted_snapshot_on_stdout_ends_with_130() -> None:
    done = python(AT_ROWS.format(["snapshot", "route", "link"], 0, 2))
    assert (done.returncode, done.stderr) == (130, "")
