"""What starting imports: help and completion wait for neither numpy nor the compiled core."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import click
import pytest

from nlbus import packet
from nlbus.bus import publisher
from nlbus.bus.transport import Transport
from nlbus.cli.commands.packet import ACTIONS
from nlbus.cli.commands.publish import MAX_LINGER
from nlbus.cli.main import COMMANDS, commands
from nlbus.cli.shared import completion, options, program_options
from nlbus.listener import command, dispatch
from tests.support.completion_words import written

ROOT = Path(__file__).parents[3]
HEAVY = "sorted(n for n in sys.modules if n == 'numpy' or n.startswith(('nlbus._core', 'nlbus.sources')))"


def imported(code: str, heavy: str = HEAVY, **environment: str) -> str:
    """What is printed on stderr by this code, and then the heavy modules that were imported."""
    script = f"import sys\ntry:\n    {code}\nfinally:\n    print({heavy}, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ | environment,
    )  # fmt: skip
    return done.stderr


def all_commands(command: click.Command, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [words]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            found += all_commands(below, (*words, name))
    return found


def test_the_help_of_no_command_needs_numpy() -> None:
    every = all_commands(commands)
    assert len(every) > len(COMMANDS)
    code = f"""
    from nlbus.cli.main import commands
    for words in {every}:
        commands([*words, "-h"], "nlbus", standalone_mode=False)"""
    assert imported(code) == "[]\n"


@pytest.mark.parametrize(
    "words",
    ["", "lis", "listen ", "listen route -g li", "snapshot route link --columns ifn", "bench quick --only "],
)
def test_completion_needs_no_numpy(words: str) -> None:
    begun = ["nlbus", *words.split(" ")] if words else ["nlbus", ""]
    environment = {
        "_NLBUS_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(begun),
        "COMP_CWORD": str(len(begun) - 1),
    }
    assert imported("from nlbus.cli import run; run()", **environment) == "[]\n"


def test_wrong_usage_needs_no_numpy() -> None:
    assert imported("from nlbus.cli import run; sys.argv[1:] = ['listen']; run()").endswith("\n[]\n")


def test_completion_has_the_words_of_the_sources() -> None:
    assert written() == completion.WORDS.read_text(), "sources have changed: run `make words`"


def test_each_command_is_in_the_table_with_one_short_line() -> None:
    modules = {path.stem for path in (ROOT / "nlbus/cli/commands").glob("*.py")}
    assert modules == COMMANDS.keys() | {"__init__", "bench_kmod", "habits", "specs"}
    assert max(map(len, COMMANDS.values())) <= 64


def test_limits_in_help_are_those_of_the_library() -> None:
    assert get_args(Transport) == options.TRANSPORTS
    assert packet.ACTIONS == ACTIONS
    assert publisher.MAX_LINGER == MAX_LINGER
    assert program_options.TIMEOUT == command.TIMEOUT
    assert (program_options.MAX_WORKERS, program_options.MAX_QUEUE) == (
        dispatch.MAX_WORKERS,
        dispatch.MAX_QUEUE,
    )


def test_a_snapshot_imports_what_it_needs() -> None:
    """Its own source, but no other that is a package; neither listeners, captures, filters nor Arrow."""
    code = "from nlbus.cli import run; sys.argv[1:] = ['snapshot', 'route', 'link']; run()"
    needless = (
        "nlbus.listener.app",
        "nlbus.capture.reader",
        "nlbus.filters",
        "nlbus.aio",
        "nlbus.table.arrow",
        "hashlib",
        "nlbus.sources.sock_diag",
        "nlbus.sources.xfrm",
        "nlbus.bus.subscriber",
    )
    found = ast.literal_eval(imported(code, heavy="sorted(sys.modules)").splitlines()[-1])
    assert "nlbus.sources.route" in found
    assert [name for name in found if name.startswith(needless)] == []
