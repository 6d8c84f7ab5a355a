"""Shell completion, through the shells' protocol."""

import shutil
import subprocess

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from nlbus.cli.commands.completion import SHELLS, VARIABLE
from nlbus.cli.main import commands


def offered(*args: str) -> list[str]:
    """The completions of the last word."""
    found = ShellComplete(commands, {}, "nlbus", VARIABLE).get_completions(list(args[:-1]), args[-1])
    return [item.value for item in found]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_a_shell_is_printed(shell: str) -> None:
    done = CliRunner().invoke(commands, ["completion", shell])
    assert done.exit_code == 0
    assert VARIABLE in done.stdout
    if shutil.which(shell):
        checked = subprocess.run(
            [shell, "-n"], input=done.stdout, text=True, check=False, capture_output=True
        )
        assert (checked.returncode, checked.stderr) == (0, "")


def test_an_unknown_shell_is_refused() -> None:
    done = CliRunner().invoke(commands, ["completion", "tcsh"])
    assert done.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr


def test_commands_and_sources_are_completed() -> None:
    assert offered("re") == ["record", "replay"]
    assert offered("listen", "ro") == ["route"]
    assert "conntrack" in offered("snapshot", "")
    assert offered("stats", "uev") == ["uevent"]


def test_groups_tables_and_columns_of_the_source_are_completed() -> None:
    assert offered("listen", "route", "-g", "lin") == ["link"]
    assert offered("listen", "route", "-g", "link,ipv4_rou") == ["link,ipv4_route"]
    assert offered("snapshot", "route", "net") == ["netconf"]
    assert offered("listen", "route", "-t", "link,add") == ["link,addr"]
    assert offered("listen", "route", "-t", "link", "--columns", "ifname,mt") == ["ifname,mtu"]
    assert offered("snapshot", "route", "addr", "--columns", "prefixl") == ["prefixlen"]
    assert "prefixlen" in offered("listen", "route", "--columns", "")
    assert offered("listen", "route", "-o", "c") == ["csv"]
    assert offered("listen", "bogus", "-g", "li") == offered("listen", "bus", "-t", "x") == []
