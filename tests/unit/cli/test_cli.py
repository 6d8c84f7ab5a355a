"""The command line without a kernel: help, errors, exit codes, and a missing click."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import nlbus.sources
from nlbus import MissingExtra
from nlbus.cli import load
from nlbus.cli.main import commands
from nlbus.sources import find
from tests.support.terminals import on_a_terminal

ROOT = Path(__file__).parents[3]


def invoke(*args: str) -> Result:
    return CliRunner().invoke(commands, args, prog_name="nlbus")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize(
    "command",
    [
        "sources",
        "listen",
        "snapshot",
        "publish",
        "record",
        "replay",
        "run",
        "test",
        "stats",
        "demo",
        "bench",
        "completion",
    ],
)
def test_help_has_examples(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"nlbus {command}" in result.stdout.partition("Options:")[0].partition("\n")[2]
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    "args",
    [
        "--help",
        "sources",
        "sources -o json",
        "stats",
        "stats -o json",
        "completion bash",
        "snapshot route link",
        "snapshot route link -o csv",
        "snapshot route link /dev/full --force",
    ],
)
def test_a_full_stdout_is_a_one_line_error(args: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "nlbus", *args.split()],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"^nlbus: writing.*: No space left on device\n\Z", done.stderr, re.M), done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_the_exit_codes() -> None:
    assert "Exit codes: 0" in invoke("--help").stdout


@pytest.mark.parametrize(
    "args",
    [
        ["listen"],
        ["listen", "bus"],
        ["listen", "bus", "--group", ""],
        ["listen", "bus", "--group", "1,,2"],
        ["listen", "route", "--count", "0"],
        ["listen", "route", "--seconds", "-1"],
        ["listen", "route", "--trust", "root"],
        ["listen", "route", "-o", "xml"],
        ["listen", "nflog", "--option", "copy_range"],
        ["listen", "nflog", "--option", "copy_range=all"],
        ["listen", "route", "--where", "mtu"],
        ["listen", "route", "--table", ""],
        ["listen", "route", "--raw", "--table", "link"],
        ["listen", "uevent", "--match", "SUBSYSTEM"],
        ["listen", "uevent", "--shell"],
        ["listen", "uevent", "--timeout", "5"],
        ["listen", "uevent", "--exec", "true", "-o", "json"],
        ["listen", "uevent", "--exec", "true", "--columns", "action"],
        ["listen", "uevent", "--exec", "true", "--timeout", "0"],
        ["listen", "route", "--exec", "true", "--all-nsid"],
        ["listen", "uevent", "--raw", "--match", "ACTION=add"],
        ["run"],
        ["test", "rules.toml"],
        ["snapshot"],
        ["snapshot", "route"],
        ["snapshot", "route", "link", "-o", "xml"],
        ["publish"],
        ["stats", "--netns", "blue", "--here"],
        ["stats", "--pid", "0"],
        ["publish", "--groups", "1", "--type", "x"],
        ["publish", "--groups", "1", "--type", "-1"],
        ["publish", "--groups", "1", "--linger", "2"],
        ["bogus"],
    ],
)
def test_wrong_usage_exits_with_2(args: list[str]) -> None:
    result = invoke(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: nlbus")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["listen", "bogus"], "no source 'bogus' (did you mean 'bus'?)"),
        (["listen", "route", "-g", "lnk"], "no group 'lnk' on route (did you mean 'link'?)"),
        (["listen", "bus", "-g", "33"], "no group 33 on bus"),
        (["listen", "raw:77", "-g", "1"], "no netlink protocol 77"),
        (["listen", "genl:nlctl"], "(did you mean 'nlctrl'?)"),
        (["listen", "nflog", "-g", "65537"], "no group 65537"),
        (["listen", "nflog", "--option", "copyrange=1"], "(did you mean 'copy_range'?)"),
        (["listen", "nflog", "--option", "copy_range=65532"], "from 0 to 65531"),
        (["listen", "route", "--option", "x=1"], "no option 'x' of route"),
        (["listen", "route", "--table", "lnk"], "no table 'lnk' of route (did you mean 'link'?)"),
        (["listen", "route", "--columns", "mtuu"], "no column 'mtuu' in any table of route (did you mean"),
        (["listen", "bus", "-g", "1", "--table", "x"], "bus has no tables"),
        (["sources", "route", "lnk"], "no table 'lnk' of route (did you mean 'link'?)"),
        (["sources", "rout"], "no source 'rout' (did you mean 'route'?)"),
        (["sources", "bus", "x"], "bus has no tables"),
        (["snapshot", "route", "lnk"], "no table 'lnk' of route (did you mean 'link'?)"),
        (["snapshot", "route", "link", "--columns", "mtuu"], "no column 'mtuu'"),
        (["snapshot", "route", "prefix"], "route prefix is not dumpable"),
        (["publish", "-g", "0"], "no group 0"),
        (["stats", "uevnt"], "no source 'uevnt' (did you mean 'uevent'?)"),
    ],
)
def test_an_error_is_one_line_and_exits_with_1(args: list[str], words: str) -> None:
    result = CliRunner().invoke(commands, args, prog_name="nlbus", input="event\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("nlbus: ")
    assert words in result.stderr


@pytest.fixture
def _three_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    found = [
        replace(find("bus"), available=False, reason="joining needs a privilege"),
        replace(find("route"), available=True),
        replace(find("nflog"), available=True),
    ]
    monkeypatch.setattr(nlbus, "sources", lambda: found)


@pytest.mark.usefixtures("_three_sources")
def test_sources_lists_availability_and_reasons() -> None:
    lines = invoke("sources").stdout.splitlines()
    assert lines[1].split() == ["bus", "NETLINK_USERSOCK", "(2)", "no", "joining", "needs", "a", "privilege"]
    assert lines[2].split() == ["groups", "1", "to", "32"]
    assert lines[3].split()[:5] == ["route", "NETLINK_ROUTE", "(0)", "yes", "*link=1"]


@pytest.mark.usefixtures("_three_sources")
def test_sources_as_json_prints_one_object_per_line() -> None:
    bus, route, nflog = map(json.loads, invoke("sources", "-o", "json").stdout.splitlines())
    assert (bus["name"], bus["available"], bus["reason"]) == ("bus", False, "joining needs a privilege")
    assert (route["protocol"], route["groups"]["link"], 1 in route["default"]) == (0, 1, True)
    assert nflog["options"]["threshold"]["default"] == 1
    assert nflog["example"].startswith("nlbus listen nflog")


@pytest.mark.usefixtures("_three_sources")
def test_sources_shows_options_and_details_of_a_source() -> None:
    text = invoke("sources").stdout
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "groups by number, *0" in text
    assert "--option threshold=1  packets to gather" in text
    assert "one listener each" in text


def test_sources_shows_the_tables_of_a_source() -> None:
    lines = invoke("sources", "route").stdout.splitlines()
    assert lines[0].split()[:2] == ["TABLE", "SNAPSHOT"]
    assert lines[1].split() == ["link", "yes", "network", "interfaces"]
    assert lines[2].split() == ["key", "ifindex"]
    assert max(map(len, lines)) <= 80
    assert "no key: each row is an event of its own" in invoke("sources", "proc").stdout
    records = [json.loads(line) for line in invoke("sources", "route", "-o", "json").stdout.splitlines()]
    assert [record["name"] for record in records] == list(find("route").tables)
    assert (records[0]["key"], records[0]["groups"], records[0]["snapshot"]) == (["ifindex"], ["link"], True)


def test_sources_shows_the_columns_of_a_table() -> None:
    lines = {
        line.split()[0]: line.split()[1:] for line in invoke("sources", "route", "link").stdout.splitlines()
    }
    assert lines["ifindex*"] == ["s32", "interface", "-", "ifindex"]
    assert lines["mtu"] == ["u32", "bytes", "null", "IFLA_MTU"]
    assert lines["operstate"][:7] == ["enum", "u8", "-", "null", "IFLA_OPERSTATE", "unknown", "notpresent"]
    assert lines["address"][:3] == ["lladdr", "-", "null"]
    records = [
        json.loads(line) for line in invoke("sources", "route", "link", "-o", "json").stdout.splitlines()
    ]
    assert [record["name"] for record in records] == [
        column.name for column in nlbus.schema("route", "link").columns
    ]
    (state,) = (record for record in records if record["name"] == "operstate")
    assert (state["enum"]["6"], state["flags"], state["nullable"], state["key"]) == ("up", None, True, False)


def test_without_click_it_is_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "click", None)
    with pytest.raises(MissingExtra, match="pip install click"):
        load()


def test_without_click_the_command_prints_a_one_line_error() -> None:
    done = python("import sys; sys.modules['click'] = None; from nlbus.cli import run; run()")
    assert done.returncode == 1
    assert done.stderr == "nlbus: the command line needs click: pip install click\n"


def test_the_library_works_without_click() -> None:
    assert python("import nlbus, sys; sys.exit('click' in sys.modules)").returncode == 0


def test_the_command_runs_by_python_dash_m() -> None:
    command = [sys.executable, "-m", "nlbus", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith("Usage: nlbus [OPTIONS]")


def test_only_terminals_get_colour_unless_disabled() -> None:
    assert b"\x1b[1mTABLE" in on_a_terminal("sources", "route")
    plain = on_a_terminal("sources", "route", NO_COLOR="1")
    assert plain.startswith(b"TABLE")
    assert b"\x1b" not in plain
    assert "\x1b" not in invoke("sources", "route").stdout


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt, 130), (BrokenPipeError, 0)])
def test_interrupts_and_closed_pipes_end_a_command_quietly(
    raised: type[BaseException], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise raised

    monkeypatch.setattr("nlbus.cli.actions.sources.write_all", interrupted)
    monkeypatch.setattr("nlbus.cli.main.discard_stdout", lambda: None)
    result = invoke("sources", "route")
    assert (result.exit_code, result.output) == (code, "")


@pytest.mark.parametrize(
    "args", [["listen", "route"], ["record", "route", "x.arrows"], ["snapshot", "route"]]
)
def test_shared_options_look_the_same_in_all_commands(args: list[str]) -> None:
    """Shared options have the same names in every command."""
    shown = invoke(args[0], "--help").stdout
    for option in ("-o, --output", "--columns", "-w, --where", "-c, --count", "--netns"):
        assert option in shown


def test_a_source_shows_its_groups_options_and_notes() -> None:
    shown = " ".join(invoke("sources", "sock_diag").stdout.split())
    assert "*inet_tcp_destroy=1" in shown
    assert "TCP sockets key cookie" in shown
    assert "--option copy_range=65531" in invoke("sources", "nflog").stdout
    assert "groups 1 to 32" in invoke("sources", "bus").stdout


@pytest.mark.parametrize("width", [30, 50, 79, 80, 100, 200])
def test_the_list_of_sources_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for words that are longer."""
    monkeypatch.setenv("COLUMNS", str(width))
    for line in invoke("sources").stdout.splitlines():
        assert len(line) <= width or len(line.split()) == 1 or line[0] != " ", line
