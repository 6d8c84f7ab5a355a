"""Every option of every command refuses at once what it cannot use: nan, negative, huge, not UTF-8."""

import math
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from nlbus.cli.main import commands
from nlbus.cli.shared.options import LARGEST, Count, Seconds

# Options with numbers in a notation of their own.
WRITTEN = {
    "--trust", "--option", "--type", "--speed", "--roll-size", "--fail-above", "--sport", "--dport",
}  # fmt: skip
BAD = ["nan", "inf", "-inf", "-1", "1" * 30, "9" * 5000, "1e400", "", "\udcff", "0x" + "f" * 40]


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))
        else:
            yield (*path, name)


def parameters() -> Iterator[tuple[tuple[str, ...], click.Parameter]]:
    for path in every_command(commands):
        command: click.Command = commands
        for name in path:
            assert isinstance(command, click.Group)
            found = command.get_command(click.Context(command), name)
            assert found is not None
            command = found
        for parameter in command.params:
            yield path, parameter


PARAMETERS = list(parameters())
NUMERIC = [
    (path, parameter)
    for path, parameter in PARAMETERS
    if isinstance(parameter.type, Count | Seconds) or WRITTEN.intersection(parameter.opts)
]


def invoke(*args: str) -> Result:
    return CliRunner().invoke(commands, args, prog_name="nlbus", input="")


def test_there_is_something_to_check() -> None:
    found = {(*path, parameter.opts[0]) for path, parameter in NUMERIC}
    assert {
        ("listen", "-c"), ("listen", "-s"), ("listen", "--buffer-events"), ("listen", "--workers"),
        ("publish", "--linger"), ("record", "--roll-seconds"), ("replay", "--speed"), ("stats", "--pid"),
        ("bench", "quick", "--rounds"), ("bench", "kmod", "--rounds"),
        ("packet", "rules", "delete", "handles"),
    } <= found  # fmt: skip
    assert {name for _, parameter in NUMERIC for name in parameter.opts} >= WRITTEN


def test_no_number_is_unbounded() -> None:
    """click's own types take nan, infinity and numbers of any size."""
    plain = (click.types.IntParamType, click.types.FloatParamType)
    for path, parameter in PARAMETERS:
        assert not isinstance(parameter.type, plain) or isinstance(parameter.type, Count | Seconds), (
            path,
            parameter.opts,
        )


@pytest.mark.parametrize(
    ("path", "parameter"), NUMERIC, ids=lambda each: "-".join(each) if isinstance(each, tuple) else each.name
)
def test_a_number_that_makes_no_sense_is_wrong_usage(
    path: tuple[str, ...], parameter: click.Parameter
) -> None:
    for value in BAD:
        wrong = f"copy_range={value}" if "--option" in parameter.opts else value
        if wrong == "copy_range=-1":
            continue  # finite: its source knows the range
        args = [*path, f"{parameter.opts[-1]}={wrong}"]
        if isinstance(parameter, click.Argument):
            args = [*path, "--", wrong]
        result = invoke(*args)
        assert result.exit_code == 2, (args, result.output)
        assert "Invalid value for" in result.stderr, (args, result.output)


@given(st.text() | st.floats().map(repr) | st.integers().map(str) | st.sampled_from(BAD))
def test_what_a_parameter_accepts_is_finite_and_bounded(text: str) -> None:
    for _, parameter in NUMERIC:
        try:
            value = parameter.type.convert(text, parameter, None)
        except click.BadParameter:
            continue
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float):
                assert math.isfinite(number)
                assert 0 <= number <= LARGEST


TEXTS: list[list[str]] = [
    ["listen", "{}"],
    ["listen", "route", "-g", "{}"],
    ["listen", "route", "-t", "{}"],
    ["listen", "route", "--columns", "{}"],
    ["snapshot", "route", "link", "--where", "ifname == {}"],
    ["listen", "route", "--where", "{}"],
    ["listen", "route", "--match", "{}"],
    ["listen", "route", "--netns", "{}"],
    ["listen", "route", "--netns", "/{}"],
    ["listen", "nflog", "--option", "{}=1"],
    ["snapshot", "route", "{}"],
    ["snapshot", "route", "link", "/{}/x"],
    ["snapshot", "route", "link", "--netns", "{}"],
    ["stats", "{}"],
    ["stats", "--netns", "{}"],
    ["sources", "{}"],
    ["sources", "route", "{}"],
    ["publish", "-g", "{}"],
    ["replay", "{}"],
    ["replay", "{}", "--source", "{}"],
    ["run", "{}"],
    ["test", "{}", "{}"],
    ["bench", "compare", "{}", "{}"],
    ["bench", "quick", "--transport", "{}"],
]


@pytest.mark.parametrize("args", TEXTS, ids=" ".join)
@pytest.mark.parametrize(
    "text", ["a\udcffb", "9" * 5000, "x" * 100_000, "raw:" + "9" * 5000, "genl:\udcff", "," * 5000],
    ids=["surrogate", "digits", "long", "raw", "genl", "commas"],
)  # fmt: skip
def test_text_that_no_name_can_be_is_an_error_in_a_line(args: list[str], text: str) -> None:
    result = invoke(*(word.replace("{}", text) for word in args))
    if "ifname == " in args[-1] and result.exit_code == 0:
        return  # a value, though no interface has it
    assert result.exit_code in (1, 2), (result.exit_code, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""


@pytest.mark.parametrize("word", ["or", "and"])
def test_a_condition_of_a_thousand_terms(word: str) -> None:
    many = f" {word} ".join(["mtu == 1"] * 1000)
    assert invoke("snapshot", "route", "link", "--where", many).exit_code == 0
    too_many = invoke("snapshot", "route", "link", "--where", f" {word} ".join(["mtu == 1"] * 20_000))
    assert (too_many.exit_code, "at most 10000" in too_many.stderr) == (2, True)


# -- files ------------------------------------------------------------------------------------------


@pytest.fixture
def unusual(tmp_path: Path) -> Iterator[dict[str, Any]]:
    fifo, listening = tmp_path / "fifo", tmp_path / "socket"
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(listening))
        yield {"fifo": str(fifo), "socket": str(listening), "directory": str(tmp_path)}


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["plain", "force"])
@pytest.mark.parametrize("kind", ["fifo", "socket", "directory"])
@pytest.mark.parametrize(
    "args",
    [["snapshot", "route", "link", "{}", "-o", "csv"], ["record", "route", "{}", "--seconds", "0.1"]],
    ids=["snapshot", "record"],
)
def test_an_output_that_is_no_file_is_an_error_at_once(
    args: list[str], kind: str, force: list[str], unusual: dict[str, str]
) -> None:
    result = invoke(*(word.replace("{}", unusual[kind]) for word in [*args, *force]))
    assert result.exit_code == 1
    assert unusual[kind] in result.stderr.splitlines()[-1]
    words = {"fifo": "no process reads", "socket": "it is a socket", "directory": "Is a directory"}
    assert ("--force overwrites it" if not force else words[kind]) in result.stderr


@pytest.mark.parametrize("kind", ["socket", "directory"])
@pytest.mark.parametrize(
    "args",
    [["replay", "{}"], ["test", "{}", "x"], ["run", "{}"], ["bench", "compare", "{}", "{}"]],
    ids=" ".join,
)
def test_an_input_that_is_no_file_is_an_error_at_once(
    args: list[str], kind: str, unusual: dict[str, str]
) -> None:
    result = invoke(*(word.replace("{}", unusual[kind]) for word in args))
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)


def test_results_are_not_read_from_a_device_without_end() -> None:
    result = invoke("bench", "compare", "/dev/zero", "/dev/zero")
    assert (result.exit_code, "is not a file" in result.stderr) == (2, True)
