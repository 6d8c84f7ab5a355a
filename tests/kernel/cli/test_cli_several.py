"""`nlbus listen` and `nlbus record` of several sources."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from nlbus import open_capture
from nlbus.cli.main import commands
from nlbus.cli.render.records import as_text, open_gap
from tests.support.cli import Listen
from tests.support.sockets import ip

Start = Callable[..., Listen]


def test_events_of_several_sources_are_printed_in_order(listen: Start) -> None:
    here = listen("route", "uevent", "-o", "json")
    here.process.stderr.readline()  # type: ignore[union-attr]
    ip("link add va type bridge")
    seen = set()
    times = []
    while len(seen) < 2:
        record = here.record()
        seen.add(record["source"])
        times.append(record["time_ns"])
    assert seen == {"route", "uevent"}
    assert times == sorted(times)


def test_conditions_choose_among_the_sources(listen: Start) -> None:
    here = listen("route", "uevent", "--where", "SUBSYSTEM == net and ACTION == add", "-o", "json", "-c", "1")
    assert "not listening to route" in here.greeting
    assert "listening to uevent" in here.process.stderr.readline()  # type: ignore[union-attr]
    ip("link add va type bridge")
    assert here.record()["source"] == "uevent"


def test_a_gap_says_whose_it_is() -> None:
    assert "--- gap: bus: 3 datagrams dropped" in as_text(open_gap(3) | {"source": "bus"})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["listen", "route", "uevent", "-g", "link"], "of one source"),
        (["listen", "route", "route"], "each source once"),
        (["listen", "route", "uevent", "-o", "csv"], "name one source"),
        (["listen", "route", "uevent", "--exec", "true"], "one source"),
        (["listen", "route", "uevent", "--table", "conntrack"], "conntrack"),
        (["record", "route", "uevent", "x.parquet", "--table", "link"], "name one source"),
    ],
)
def test_what_is_of_one_source_is_refused(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(commands, arguments)
    assert result.exit_code != 0
    assert words in result.output + result.stderr + str(result.exception)


def test_one_file_records_several_sources(tmp_path: Path) -> None:
    file = tmp_path / "machine.pcapng"
    command = [sys.executable, "-m", "nlbus", "record", "route", "uevent", str(file), "--seconds", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as recorder:
        assert recorder.stderr is not None
        for source in ("route", "uevent"):
            assert f"listening to {source}" in recorder.stderr.readline()
        ip("link add va type bridge")
        assert "0 lost" in recorder.stderr.read()
    for source in ("route", "uevent"):
        with open_capture(file, source) as read:
            assert sum(map(len, read))
    replayed = subprocess.run(
        [sys.executable, "-m", "nlbus", "replay", str(file), "-o", "json"], capture_output=True, check=True
    )
    assert {json.loads(line)["source"] for line in replayed.stdout.splitlines()} == {"route", "uevent"}
