"""`nlbus replay`: its output and its timing."""

import contextlib
import json
import os
import pty
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nlbus.cli.main import commands
from tests.support.captures import comment, cooked, halves, interface, packet, pcap, section, statistics
from tests.support.reference import bus_batch, message

ROOT = Path(__file__).resolve().parents[3]
NS = (9, bytes([9]))
SECOND = 10**9
BUS = comment("nlbus source=bus protocol=2 group=1 portid=5 uid=6 nsid=-1")


def event(text: bytes, seq: int, at: int) -> bytes:
    data = bus_batch(text, record_size=len(text), first_seq=seq, dgram_seq=seq, time_ns=at)
    return packet(cooked(data, 2), at)


def still_open(count: int, at: int) -> bytes:
    return statistics(comment(f"nlbus open={count} grew=1"), ticks=at)


def replay(path: Path, *args: str) -> Result:
    return CliRunner().invoke(commands, ["replay", str(path), *args])


@pytest.fixture
def lossy(tmp_path: Path) -> Path:
    lost = (2, halves(3 * SECOND)), (3, halves(5 * SECOND)), (7, struct.pack("<Q", 4))
    path = tmp_path / "lossy.pcapng"
    path.write_bytes(
        section()
        + interface(NS, BUS)
        + event(b"one", 0, 3 * SECOND)
        + statistics(comment("nlbus cause=gap stream=0x12 exact=1"), *lost, ticks=5 * SECOND)
        + event(b"two", 5, 5 * SECOND)
        + still_open(7, 6 * SECOND)
        + event(b"six", 6, 6 * SECOND)
        + still_open(7, 9 * SECOND)
        + event(b"ten", 7, 9 * SECOND)
        + still_open(8, 10 * SECOND)
    )
    return path


def test_lines_and_gaps_look_like_those_of_listen(lossy: Path) -> None:
    done = replay(lossy)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "1970-01-01T00:00:03.000000000Z bus 1 0x0 3 one",
        "--- gap: 4 events lost between 1970-01-01T00:00:03.000000000Z and 1970-01-01T00:00:05.000000000Z, "
        "stream 0x0000000000000012 ---",
        "1970-01-01T00:00:05.000000000Z bus 1 0x0 3 two",
        "1970-01-01T00:00:06.000000000Z bus 1 0x0 3 six",
        "--- gap: 7 datagrams dropped that no gap explains yet ---",
        "1970-01-01T00:00:09.000000000Z bus 1 0x0 3 ten",
        "--- gap: 8 datagrams dropped that no gap explains yet ---",
    ]
    assert done.stderr == "nlbus: 4 events, 4 lost, 0 dropped, 8 open\n"
    assert replay(lossy, "--fail-on-loss").exit_code == 3


def test_json_count_and_source_options_work(lossy: Path) -> None:
    rows = [json.loads(line) for line in replay(lossy, "-o", "json", "--count", "2").stdout.splitlines()]
    assert [row["type"] for row in rows] == [0, "gap", 0]
    assert (rows[2]["text"], rows[2]["portid"], rows[2]["uid"], rows[2]["seq"]) == ("two", 5, 6, 5)
    assert replay(lossy, "--source", "route").stdout == ""
    assert "raw:usersock - 0x10" in replay(lossy, "--source", "raw:usersock").stdout.replace(" 1 ", " - ")
    assert "did you mean 'route'" in replay(lossy, "--source", "rout").stderr


def test_everything_before_the_damage_in_a_file_is_printed(lossy: Path) -> None:
    data = lossy.read_bytes()
    lossy.write_bytes(data[:-1])
    done = replay(lossy)
    assert done.exit_code == 1
    assert done.stdout.count(" bus ") == 4
    totals, error = done.stderr.splitlines()
    assert totals.startswith("nlbus: 4 events")
    assert error.startswith(f"nlbus: {lossy}: the file ends within a block")
    lossy.write_bytes(b"hello, this is no capture at all")
    done = replay(lossy)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"nlbus: {lossy}: not a capture: neither pcapng nor pcap, at byte 0\n"
    assert replay(lossy.parent / "nowhere").exit_code == 1


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    times = (0, 200, 400, 100, 400)  # ms; the clock may be set back
    path = tmp_path / "slow.pcap"
    path.write_bytes(pcap(*((t * 10**6, cooked(message(16 + i, b""))) for i, t in enumerate(times))))
    return path


@pytest.mark.parametrize(("speed", "seconds"), [("original", 0.4), ("2", 0.2), ("full", 0), ("1000", 0)])
def test_speed_scales_the_time(slow: Path, speed: str, seconds: float) -> None:
    start = time.monotonic()
    done = replay(slow, "--speed", speed)
    took = time.monotonic() - start
    assert len(done.stdout.splitlines()) == 5
    assert took >= seconds
    assert took < seconds + 0.15 or seconds >= 0.2


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "inf", "nan", ""])
def test_an_invalid_speed_is_refused(slow: Path, speed: str) -> None:
    done = replay(slow, "--speed", speed)
    assert done.exit_code == 2
    assert "full, original, or how many times faster" in done.stderr


def running(*args: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "nlbus", "replay", *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        bufsize=0,  # a buffered readline would take data from communicate
    )


@pytest.mark.parametrize("number", [2, 15])
def test_a_signal_ends_replay_while_it_waits_for_stdin(number: int) -> None:
    with running("-") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(section() + interface(NS) + packet(cooked(message(16, b"")), 1))
        process.stdin.flush()
        assert b"RTM_NEWLINK" in process.stdout.readline()
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, b"nlbus: 1 events, 0 lost, 0 dropped, 0 open\n")


@pytest.mark.parametrize("sent", [b"", section() + interface(NS)])
def test_a_signal_ends_replay_before_any_input(sent: bytes) -> None:
    with running("-") as process:
        assert process.stdin is not None
        process.stdin.write(sent)
        process.stdin.flush()
        status = Path(f"/proc/{process.pid}/status")
        while not int(status.read_text().split("SigCgt:")[1].split()[0], 16) >> 14 & 1:  # SIGTERM is caught
            time.sleep(0.01)
        process.send_signal(2)
        out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, b"")


def test_a_signal_ends_replay_while_it_waits_for_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "year.pcap"
    path.write_bytes(pcap(*((t * SECOND, cooked(message(16, b""))) for t in (0, 4_000_000_000))))
    with running(str(path), "--speed", "original") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(2)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, b"nlbus: 1 events, 0 lost, 0 dropped, 0 open\n")


def test_a_closed_pipe_ends_replay_quietly(tmp_path: Path) -> None:
    path = tmp_path / "long.pcap"
    path.write_bytes(pcap(*((t * 1000, cooked(message(16, b""))) for t in range(20_000))))
    with running(str(path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 0
    assert said.startswith(b"nlbus: ")
    assert b"Error" not in said


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "plain"])
def test_a_terminal_shows_progress_while_output_goes_to_a_file(
    slow: Path, tmp_path: Path, rich: bool
) -> None:
    out = tmp_path / "out"
    ours, theirs = pty.openpty()
    hidden = "" if rich else "import sys; sys.modules['rich.console'] = None; "
    code = f"{hidden}import runpy; runpy.run_module('nlbus', run_name='__main__')"
    command = [sys.executable, "-c", code, "replay", str(slow), "--speed", "0.3"]
    terminal = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    with (
        out.open("wb") as file,
        subprocess.Popen(command, stdout=file, stderr=theirs, cwd=ROOT, env=terminal) as process,
    ):
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # a terminal's way to say that it is over
            while more := os.read(ours, 4096):
                said += more
    os.close(ours)
    assert process.returncode == 0
    assert re.search(rb"nlbus: \d events, 0 lost, 0 dropped, 0 open, \d+ events per second", said)
    assert said.endswith(b"nlbus: 5 events, 0 lost, 0 dropped, 0 open\r\n")
    assert (said.count(b"\r\x1b[Knlbus: ") >= 2) is not rich
    assert out.read_bytes().count(b"\n") == 5
    assert b"\x1b" not in out.read_bytes()
