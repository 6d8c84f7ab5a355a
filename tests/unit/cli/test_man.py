"""Manual pages from the commands: complete, and without a warning of groff."""

import shutil
import subprocess

import click
import pytest

from nlbus.cli.main import COMMANDS
from nlbus.cli.man import pages

PAGES = dict(pages())


def shown(text: str) -> str:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-P-cbou", "-ww", "-rLL=500n"],
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_each_command_has_a_page() -> None:
    assert {f"nlbus-{name}.1" for name in COMMANDS} < PAGES.keys()
    assert {"nlbus.1", "nlbus-packet-rules-add.1", "nlbus-bench-kmod.1"} < PAGES.keys()


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
@pytest.mark.parametrize("name", PAGES)
def test_groff_shows_the_whole_page_without_a_warning(name: str) -> None:
    text = shown(PAGES[name])
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SEE ALSO"):
        assert f"\n{heading}\n" in text
    assert "--help" in text
    if name == "nlbus-listen.1":
        assert "'.ifname + \" \" + .operstate'" in text
        assert "--where compares columns with ==, !=, <, <=, >, >=, ~ (glob)" in text


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
@pytest.mark.parametrize("line", [".B x", "'br", "\\fBx\\n", "a\\", "-x ~ ^ `y`", "..."])
def test_no_text_is_a_request_of_roff(line: str) -> None:
    command = click.Command("x", help=f"First.\n\n\b\n{line}\n")
    assert line in shown(dict(pages(command, ("x",)))["x.1"])
