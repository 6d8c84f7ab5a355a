"""`nlbus record` on real sockets: a process as users start it."""

import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from nlbus import CaptureError, ClosedError, Publisher, open_capture
from tests.kernel.helpers import ROOT, Sender, ip, plain, wait_until

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """A command of nlbus; one that listens does so when this returns."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*args: str | Path, **kwargs: Any) -> "subprocess.Popen[bytes]":
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
        process = subprocess.Popen(
            [sys.executable, "-m", "nlbus", *map(str, args)],
            stderr=subprocess.PIPE,
            cwd=ROOT,
            bufsize=0,  # else readline takes what communicate then misses
            **pipes | kwargs,
        )
        started.append(process)
        if args[0] != "replay":
            assert process.stderr is not None
            assert b"listening to" in process.stderr.readline()
        return process

    yield run
    for one in started:
        one.kill()
        one.communicate()


def end(process: "subprocess.Popen[bytes]", number: int | None = None) -> tuple[int, bytes, str]:
    if number is not None:
        process.send_signal(number)
    out, said = process.communicate(timeout=30)
    return process.returncode, out, said.decode()


def heard(path: Path) -> list[bytes]:
    with open_capture(path) as capture:
        return [b.payload(i) for b in capture for i in range(len(b))]


def test_replay_prints_what_listen_did(start: Start, publisher: Publisher, tmp_path: Path) -> None:
    file = tmp_path / "bus.pcapng"
    listens = start("listen", "bus", "-g", "1,7", "-o", "json", "--count", "50")
    records = start("record", "bus", "-g", "1,7", file, "--count", "50")
    for i in range(60):
        publisher.publish(b"event %d" % i, groups=(1, 7), type=i)
    lines = end(listens)[1]
    code, out, said = end(records)
    assert (code, out) == (0, b"")
    assert said == f"nlbus: 50 events, {file.stat().st_size} bytes, 0 lost, 0 dropped, 0 open\n"
    assert end(start("replay", file, "-o", "json"))[1] == lines
    assert lines.count(b"\n") == 50


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quietly(start: Start, tmp_path: Path, number: int) -> None:
    file = tmp_path / "some.pcapng"
    records = start("record", "raw:usersock", "-g", "5", file, "--trust", "any")
    with Sender() as sender:
        sender.send(plain(b"one", b"two"), 5)
    # It is in the file at once.
    wait_until(lambda: file.exists() and file.stat().st_size > 0 and heard(file) == [b"one", b"two"])
    code, _, said = end(records, number)
    assert code == 0
    assert said.startswith("nlbus: 2 events, ")


def test_killed_while_it_writes_it_leaves_whole_blocks(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "killed.pcapng"
    records = start("record", "raw:usersock", "-g", "1", file)
    with Sender() as sender:
        while not file.exists() or file.stat().st_size < 3_000_000:
            for i in range(100):
                sender.send(plain(i.to_bytes(4, "little") * 200), 1)
    assert end(records, signal.SIGKILL)[0] == -signal.SIGKILL
    got = []
    with open_capture(file, on_loss="ignore") as capture:
        try:
            while True:
                batch = capture.recv()
                got += [batch.payload(i) for i in range(len(batch))]
        except ClosedError:
            pass
        except CaptureError as error:
            assert "the file ends within a block" in str(error)  # noqa: PT017 - either may come
    assert len(got) > 2000
    assert all(len(p) == 800 and p == p[:4] * 200 for p in got)


def test_an_existing_file_is_kept_unless_forced(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "dear.pcapng"
    file.write_bytes(b"dear")
    code, _, said = end(start("record", "route", file))
    assert code == 1
    assert said == f"nlbus: recording to {file}: File exists; --force overwrites it\n"
    assert file.read_bytes() == b"dear"
    assert end(start("record", "route", file, "--force", "--seconds", "0"))[0] == 0
    assert heard(file) == []
    code, _, said = end(start("record", "route", tmp_path / "nowhere" / "x"))
    assert (code, said) == (1, f"nlbus: recording to {tmp_path}/nowhere/x: No such file or directory\n")


def test_what_cannot_be_joined_leaves_no_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nlbus", "record", "route", str(tmp_path / "x"), "-g", "100000"]
    done = subprocess.run(command, check=False, capture_output=True, cwd=ROOT)
    assert done.returncode == 1
    assert not (tmp_path / "x").exists()


def test_a_full_disk_is_an_error(start: Start) -> None:
    code, _, said = end(start("record", "route", "/dev/full", "--force"))
    assert (code, said) == (1, "nlbus: recording to /dev/full: No space left on device\n")


def test_stdout_into_replay_as_it_comes(start: Start, publisher: Publisher) -> None:
    records = start("record", "bus", "-g", "1", "-")
    replays = start("replay", "-", stdin=records.stdout)
    out: IO[bytes] | None = replays.stdout
    assert out is not None
    for i in range(5):
        publisher.publish(b"event %d" % i, groups=1)
        assert out.readline().endswith(b"event %d\n" % i)
    assert end_of(records, signal.SIGINT) == 0
    assert end(replays)[0] == 0


def end_of(process: "subprocess.Popen[bytes]", number: int) -> int:
    """Without reading a stdout that somebody else reads."""
    process.send_signal(number)
    assert process.stdout is not None
    process.stdout.close()
    return process.wait(30)


def test_stdout_into_tshark(start: Start) -> None:
    tool = shutil.which("tshark")
    if tool is None:
        pytest.skip("no `tshark` command: install tshark")
    records = start("record", "route", "-g", "link", "-", "--count", "2")
    with subprocess.Popen(
        [tool, "-V", "-r", "-"],
        stdin=records.stdout,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != "LD_PRELOAD"},
    ) as tshark:
        ip("link add va type veth peer name vb")
        out, _ = tshark.communicate(timeout=30)
    assert records.wait(10) == 0
    assert out.count(b"Message type: Create network interface (16)") == 2


def test_nobody_reads_stdout_any_more(start: Start, publisher: Publisher) -> None:
    records = start("record", "bus", "-g", "1", "-")
    assert records.stdout is not None
    assert records.stdout.read(4) == b"\n\r\r\n"
    records.stdout.close()
    assert records.wait(30) == 0
    assert records.stderr is not None
    assert b"Error" not in records.stderr.read()


def test_on_a_terminal_there_is_progress(tmp_path: Path) -> None:
    file = tmp_path / "x.pcapng"
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "nlbus", "record", "bus", "-g", "1", str(file), "--seconds", "1.3"]
    with (
        subprocess.Popen(command, stdout=theirs, stderr=theirs, cwd=ROOT) as process,
        Publisher() as publisher,
    ):
        os.close(theirs)
        wait_until(file.exists)
        publisher.publish(b"x", groups=1)
        said = b""
        try:
            while more := os.read(ours, 4096):
                said += more
        except OSError:  # a terminal's way to say that it is over
            pass
        os.close(ours)
    assert process.returncode == 0
    assert said.count(b"\r\x1b[Knlbus: ") >= 3
    assert b"nlbus: 1 events, " in said


def test_a_terminal_gets_no_bytes(start: Start) -> None:
    ours, theirs = pty.openpty()
    records = start("record", "route", "-", stdout=theirs)
    os.close(theirs)
    assert records.wait(30) == 2
    os.close(ours)
    assert records.stderr is not None
    assert b"a capture is no text" in records.stderr.read()
