"""Endings of file names that stand for another format than the one a command writes."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nlbus import SchemaError, open_capture, record
from nlbus.capture.suffixes import FOREIGN, NAMED, SUFFIXES
from nlbus.cli.main import commands
from nlbus.cli.shared.output import recording_format, snapshot_format

DATA = Path(__file__).parents[2] / "data"
ENDINGS = sorted({*NAMED, *FOREIGN})
REFUSED = [ending for ending in ENDINGS if ending not in SUFFIXES and NAMED.get(ending) != "pcapng"]


def invoke(*args: str) -> Result:
    return CliRunner().invoke(commands, args, prog_name="nlbus")


@pytest.mark.parametrize("ending", REFUSED)
@pytest.mark.parametrize("name", ["y{}", "a.b/y.pcapng{}", "Y{}"])
def test_record_refuses_another_format_and_names_the_command(
    ending: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = name.format(ending.upper() if name[0] == "Y" else ending)
    done = invoke("record", "route", file, "--seconds", "0")
    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []
    (command,) = re.findall(r"`(nlbus (?!record`).*?)`", " ".join(done.stderr.split()))
    words = shlex.split(command)[1:]
    if words[0] == "record":  # the suggested name is not refused
        assert recording_format(words[-1], "route", []) in ("pcapng", "arrow")
    else:
        assert words[:2] == ["listen", "route"]
        assert words[-2:] == [">", file]
        assert words[words.index("-o") + 1] == NAMED[ending]


@pytest.mark.parametrize("ending", REFUSED)
def test_recording_in_python_refuses_another_format(ending: str, tmp_path: Path) -> None:
    with (
        open_capture(str(DATA / "route-nlmon-6.1.pcap"), on_loss="ignore") as feed,
        pytest.raises(SchemaError, match="names a format that record"),
    ):
        record(tmp_path / f"y{ending}", feed)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", sorted(FOREIGN | {".pcapng"}))
def test_a_snapshot_refuses_a_format_that_it_does_not_write(ending: str, tmp_path: Path) -> None:
    done = invoke("snapshot", "route", "link", str(tmp_path / f"y{ending}"))
    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []
    assert re.search(r"`nlbus (snapshot route link|record route)", " ".join(done.stderr.split()))


@pytest.mark.parametrize("file", ["y", "y.pcapng", "flap.2026-12-01", "y.PCAPNG", "-", ".hidden"])
def test_other_names_are_captures(file: str) -> None:
    assert recording_format(file, "route", []) == "pcapng"


def test_the_formats_of_snapshots() -> None:
    written = {
        ending: snapshot_format(f"y{ending}", "route", "link") for ending in NAMED if ending != ".pcapng"
    }
    assert written == {ending: format for ending, format in NAMED.items() if ending != ".pcapng"}
    assert snapshot_format("y", "route", "link") == "text"


def test_an_explicit_format_overrides_the_ending(tmp_path: Path) -> None:
    done = invoke("record", "route", str(tmp_path / "y.csv"), "-o", "pcapng", "--seconds", "0")
    assert done.exit_code == 0
    assert (tmp_path / "y.csv").read_bytes()[:4] == b"\n\r\r\n"
