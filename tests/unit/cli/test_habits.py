"""Options of udevadm, ip and conntrack are answered with the words of nlbus, which work."""

import re
import shlex

import click
import pytest
from click.testing import CliRunner

from nlbus.cli.commands.habits import HABITS
from nlbus.cli.commands.listen import listen
from nlbus.cli.main import commands


def answer(*args: str) -> str:
    done = CliRunner().invoke(commands, args, prog_name="nlbus")
    assert done.exit_code == 2
    return " ".join(done.stderr.split()).partition("Error: ")[2]


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("uevent -k", "-g kernel"),
        ("uevent -u -p", "-g udev"),
        ("uevent -p", "-v"),
        ("uevent -s net", "-m SUBSYSTEM=net"),
        ("uevent --subsystem-match=block", "-m SUBSYSTEM=block"),
        ("route -ts", "nothing: each line begins with its time"),
        ("route -d", "-v"),
        ("conntrack -E", "nothing: listen waits for events"),
        ("conntrack -p tcp --dport 80", "-w 'proto == tcp'"),
        ("conntrack --dport 80", "-w 'dport == 80'"),
    ],
)
def test_the_answer_has_the_words(line: str, instead: str) -> None:
    assert answer("listen", *line.split()).endswith(f"is an option of another tool: write {instead}")


@pytest.mark.parametrize("name", HABITS)
def test_each_answer_is_one_that_listen_takes(name: str) -> None:
    own = {option for parameter in listen.params for option in parameter.opts}
    assert name not in own
    instead = HABITS[name]("")
    if not instead.startswith("nothing"):
        assert listen.make_context("listen", ["route", *shlex.split(instead)])


def test_values_of_options_are_no_habits() -> None:
    context = listen.make_context(
        "listen",
        [
            "uevent",
            "-x",
            "-k",
            "-s",
            "5",
            "--",
        ],
    )
    assert (context.params["program"], context.params["seconds"]) == ("-k", 5.0)
    assert re.search("No such option", answer("listen", "route", "--bogus"))
    assert isinstance(listen, click.Command)
