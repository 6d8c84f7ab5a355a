"""Text from events never controls a terminal, breaks a line, or changes on its way into CSV."""

import csv
import io
import json
import logging
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from nlbus import Batch
from nlbus.bench.report.comparing import Comparison
from nlbus.cli.main import commands
from nlbus.cli.render.bench import show_comparison
from nlbus.cli.render.csv_rows import csv_head, csv_rows
from nlbus.cli.render.view import View
from nlbus.cli.render.view_options import ViewOptions
from nlbus.cli.shared.logs import log_to_stderr
from nlbus.cli.shared.stderr import report
from nlbus.sources import find
from tests.support.captures import comment, cooked, interface, packet, section
from tests.support.reference import attribute, kernel_chain, message
from tests.support.terminals import on_a_terminal

ROOT = Path(__file__).resolve().parents[3]
ROUTE = comment("nlbus source=route protocol=0 group=1 portid=0 uid=0 nsid=-1")
# Three links whose names differ in an escape sequence only, and what breaks rows and lines.
NAMES = [
    "a\x1b[31mb", "a\x1b[32mb", "ab", "n\nl", "c\rr", "c\r\nl", "q\"'q", "x,y", "t\tb", "d\x7f", "c\x9b2J",
    "l\u2028s", "b\u202eidi\u2066", "=1+1", "\\x1b",
]  # fmt: skip
# What a terminal may get: printable ASCII, UTF-8 of printable characters, line ends and colours.
HARMLESS = re.compile(r"(?:\x1b\[[0-9;]*m|\r\n|[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069])*")
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.sampled_from(NAMES)
# Names of any bytes: those that are not UTF-8 are surrogates.
ANY = (
    TEXTS
    | st.sampled_from(["\udcff", "\\xff", "\\udcff"])
    | st.binary().map(lambda raw: raw.replace(b"\0", b"").decode(errors="surrogateescape"))
)


def link(name: str, index: int = 3) -> bytes:
    header = struct.pack("=BxHiII", 0, 1, index, 1, 0)
    return message(
        16, header + attribute(3, b"va\0") + attribute(20, name.encode(errors="surrogateescape") + b"\0")
    )


def uevent(value: str) -> bytes:
    return f"add@/x{value}\0ACTION=add\0DEVPATH=/x{value}\0NAME={value}\0".encode()


def view(source: str, output: str, **more: object) -> View:
    options = {"tables": [], "columns": [], "where": None, "everything": False, "raw": False} | more
    return View(find(source), ViewOptions(output=output, **options))  # type: ignore[arg-type]


def csv_of(names: list[str], *, terminal: bool = False) -> str:
    chosen = view("route", "csv", tables=["link"], columns=["ifalias"])
    batch = Batch.from_datagrams("route", [kernel_chain(*map(link, names))], group=1)
    table = chosen.table(batch)
    lines = b"".join(lines for lines, _ in csv_rows(find("route"), table, terminal=terminal))
    return csv_head(table) + "\n" + lines.decode(errors="surrogateescape")


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("safety") / "links.pcapng"
    chain = kernel_chain(*(link(name, i + 1) for i, name in enumerate(NAMES)))
    path.write_bytes(section() + interface((9, bytes([9])), ROUTE) + packet(cooked(chain), 10**9))
    return str(path)


# -- CSV --------------------------------------------------------------------------------------------


@given(st.lists(ANY, min_size=1))
def test_csv_is_read_back_as_the_same_values(names: list[str]) -> None:
    rows = list(csv.reader(io.StringIO(csv_of(names), newline="")))
    assert [row[-1] for row in rows[1:]] == names


def test_csv_in_a_pipe_and_in_a_file_has_the_values_unaltered(capture: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "nlbus",
        "replay",
        capture,
        "-t",
        "link",
        "-o",
        "csv",
        "--columns",
        "ifalias",
    ]
    piped = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    rows = list(csv.reader(io.StringIO(piped.stdout.decode(errors="surrogateescape"), newline="")))
    assert [row[-1] for row in rows[1:]] == NAMES
    assert f"nlbus: {len(NAMES)} events".encode() in piped.stderr
    with (tmp_path / "out.csv").open("wb") as file:
        subprocess.run(command, stdout=file, stderr=subprocess.DEVNULL, check=True, cwd=ROOT)
    assert (tmp_path / "out.csv").read_bytes() == piped.stdout


@given(st.lists(ANY, min_size=2, unique=True))
def test_csv_for_a_terminal_has_one_line_per_row_and_keeps_values_apart(names: list[str]) -> None:
    head, *lines, end = csv_of(names, terminal=True).split("\n")
    assert (head, end) == ("nl_time,nl_op,ifalias", "")
    assert len(set(lines)) == len(names)
    assert all(line.isprintable() for line in lines)


# -- text and JSON ----------------------------------------------------------------------------------


@given(st.lists(TEXTS, min_size=2, unique=True))
def test_an_event_is_one_line_of_text_and_keeps_values_apart(names: list[str]) -> None:
    chosen = view("route", "text")
    batch = Batch.from_datagrams("route", [kernel_chain(*map(link, names))], group=1)
    *lines, _ = chosen.lines(batch)[0].decode().split("\n")
    assert len(set(lines)) == len(names)
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("options", [{}, {"everything": True}, {"raw": True}, {"columns": ["env"]}], ids=str)
@given(value=TEXTS)
def test_a_uevent_is_one_line(options: dict[str, object], value: str) -> None:
    chosen = view("uevent", "text", **options)
    batch = Batch.from_datagrams("uevent", [uevent(value)], group=1)
    lines, count = chosen.lines(batch)
    assert count == 1
    shown = lines.decode().splitlines()
    assert all(line.isprintable() for line in shown)
    assert len(shown) == 1 or (options.get("everything") and all(line[:4] == "    " for line in shown[1:]))


@given(TEXTS)
def test_a_payload_of_the_bus_or_of_audit_is_one_line(value: str) -> None:
    chosen = view("audit", "text")
    batch = Batch.from_datagrams("audit", [kernel_chain(message(1300, value.encode()))], group=1)
    lines, count = chosen.lines(batch)
    assert count == 1
    assert lines.decode().removesuffix("\n").isprintable()


@pytest.mark.parametrize(
    "output", [("-o", "text"), ("-v",), ("-o", "json"), ("-o", "csv", "-t", "link"), ("--columns", "ifalias")]
)
def test_no_control_sequence_reaches_a_terminal(output: tuple[str, ...], capture: str) -> None:
    written = on_a_terminal("replay", capture, *output).decode()
    assert HARMLESS.fullmatch(written), written
    plain = on_a_terminal("replay", capture, *output, NO_COLOR="1").decode()
    assert "\x1b" not in plain
    lines = plain.splitlines()
    assert len(lines) == len(NAMES) + ("csv" in output)
    if "json" in output:
        assert [json.loads(line)["ifalias"] for line in lines] == NAMES


# -- messages ---------------------------------------------------------------------------------------

ATTACK = "\x1b[2J\n\u202e"


@pytest.mark.parametrize(
    "args",
    [
        ["listen", ATTACK],
        ["listen", "route", "-g", ATTACK],
        ["listen", "route", "-t", ATTACK],
        ["listen", "route", "-o", ATTACK],
        ["listen", "route", "--where", f"{ATTACK} == 1"],
        ["listen", "route", "--netns", f"{ATTACK}"],
        ["listen", "uevent", "--exec", f"/{ATTACK}"],
        ["replay", ATTACK],
        ["snapshot", "route", ATTACK],
        ["snapshot", "route", "link", f"/{ATTACK}/x"],
        ["record", "route", f"/{ATTACK}/x"],
        ["run", ATTACK],
        ["test", ATTACK, "x"],
        ["bench", "quick", "--transport", ATTACK],
        [ATTACK],
        [f"--{ATTACK}"],
        ["listen", f"--{ATTACK}"],
    ],
    ids=repr,
)
def test_an_error_quotes_its_argument_escaped(args: list[str]) -> None:
    result = CliRunner().invoke(commands, args, prog_name="nlbus")
    assert result.exit_code in (1, 2)
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output
    assert all(line.isprintable() for line in result.output.splitlines())


@given(st.text())
def test_a_report_is_one_line(text: str) -> None:
    with CliRunner().isolation() as (_, err, *_more):
        report(text)
    assert err.getvalue().decode().removesuffix("\n").isprintable()


def test_what_is_logged_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with log_to_stderr():
        logging.getLogger("nlbus").warning("rule 1: exit code 1 (add /devices/%s)", ATTACK)
        try:
            raise ValueError(ATTACK)
        except ValueError:
            logging.getLogger("nlbus").exception("rule 2: raised")
    first, second, *traceback = capsys.readouterr().err.splitlines()
    assert first == r"nlbus: rule 1: exit code 1 (add /devices/\x1b[2J\n\u202e)"
    assert second == "nlbus: rule 2: raised"
    assert "ValueError" in "".join(traceback)
    assert all(line.isprintable() for line in traceback)


def test_results_of_others_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    show_comparison(
        Comparison(runs=(ATTACK, ATTACK), warnings=[ATTACK], changes=[], only_before=[], only_after=[])
    )
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())


def test_bytes_that_are_not_utf8_reach_a_file_as_they_are(tmp_path: Path) -> None:
    names = [b"a\xffb", b"a\\xffb", b"a\xc3\xa4b"]
    chain = kernel_chain(*(link(name.decode(errors="surrogateescape")) for name in names))
    path = tmp_path / "links.pcapng"
    path.write_bytes(section() + interface((9, bytes([9])), ROUTE) + packet(cooked(chain), 10**9))
    command = [
        sys.executable,
        "-m",
        "nlbus",
        "replay",
        path,
        "-t",
        "link",
        "-o",
        "csv",
        "--columns",
        "ifalias",
    ]
    piped = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    assert [line.rpartition(b",")[2] for line in piped.stdout.splitlines()[1:]] == names
