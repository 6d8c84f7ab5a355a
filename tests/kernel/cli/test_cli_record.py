"""`nlbus record` on real sockets, as a child process."""

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
from tests.support.sockets import ROOT, Sender, ip, plain, wait_until

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(autouse=True)
def _hangs_up() -> Iterator[None]:
    """Commands started here die of SIGHUP, even if the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts an nlbus command; one that listens is listening on return."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*args: str | Path, **kwargs: Any) -> "subprocess.Popen[bytes]":
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
        process = subprocess.Popen(
            [sys.executable, "-m", "nlbus", *map(str, args)],
            stderr=subprocess.PIPE,
            cwd=ROOT,
            bufsize=0,  # a buffered readline would take data from communicate
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


def test_replay_prints_the_same_as_listen(start: Start, publisher: Publisher, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_quietly(start: Start, tmp_path: Path, number: int) -> None:
    file = tmp_path / "some.pcapng"
    records = start("record", "raw:usersock", "-g", "5", file, "--trust", "any")
    with Sender() as sender:
        sender.send(plain(b"one", b"two"), 5)
    # Events are written to the file at once.
    wait_until(lambda: file.exists() and file.stat().st_size > 0 and heard(file) == [b"one", b"two"])
    code, _, said = end(records, number)
    assert code == 0
    assert said.startswith("nlbus: 2 events, ")


def test_under_nohup_a_closed_terminal_does_not_end_the_command(start: Start, tmp_path: Path) -> None:
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        records = start("record", "route", tmp_path / "some.pcapng")
    finally:
        signal.signal(signal.SIGHUP, ignored)
    records.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        records.wait(0.5)
    assert end(records, signal.SIGTERM)[0] == 0


def test_a_closed_terminal_keeps_what_was_recorded(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "links.parquet"
    terminal, its = pty.openpty()
    # A session leader that opens a terminal receives SIGHUP when it closes.
    command = [sys.executable, "-m", "nlbus", "record", "route", "-t", "link", str(file)]
    records = subprocess.Popen(
        ["sh", "-c", 'exec "$@" <"$0" >"$0" 2>"$0"', os.ttyname(its), *command],
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        shown = b""
        while b"0 events" not in shown:
            shown += os.read(terminal, 4096)
        ip("link add va type veth peer name vb")
        while b"2 events" not in shown and b"4 events" not in shown:
            shown += os.read(terminal, 4096)
    finally:
        os.close(its)
        os.close(terminal)
    records.wait(20)
    assert b"of them not yet written" in shown
    assert set(parquet.read_table(file)["ifname"].to_pylist()) == {"va", "vb"}


def test_a_kill_during_a_write_leaves_whole_blocks(start: Start, tmp_path: Path) -> None:
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


def test_a_failed_join_leaves_no_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nlbus", "record", "route", str(tmp_path / "x"), "-g", "100000"]
    done = subprocess.run(command, check=False, capture_output=True, cwd=ROOT)
    assert done.returncode == 1
    assert not (tmp_path / "x").exists()


def test_a_full_disk_is_an_error(start: Start) -> None:
    code, _, said = end(start("record", "route", "/dev/full", "--force"))
    assert (code, said) == (1, "nlbus: recording to /dev/full: No space left on device\n")


def test_replay_reads_a_growing_capture_from_stdin(start: Start, publisher: Publisher) -> None:
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
    """Send the signal and wait, without reading a stdout that another process reads."""
    process.send_signal(number)
    assert process.stdout is not None
    process.stdout.close()
    return process.wait(30)


def test_tshark_reads_a_capture_from_stdin(start: Start) -> None:
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


def test_a_closed_stdout_ends_the_command_quietly(start: Start, publisher: Publisher) -> None:
    records = start("record", "bus", "-g", "1", "-")
    assert records.stdout is not None
    assert records.stdout.read(4) == b"\n\r\r\n"
    records.stdout.close()
    assert records.wait(30) == 0
    assert records.stderr is not None
    assert b"Error" not in records.stderr.read()


def test_a_terminal_shows_progress(tmp_path: Path) -> None:
    file = tmp_path / "x.pcapng"
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "nlbus", "record", "bus", "-g", "1", str(file), "--seconds", "1.3"]
    with (
        subprocess.Popen(
            command, stdout=theirs, stderr=theirs, cwd=ROOT, env=os.environ | {"TERM": "xterm"}
        ) as process,
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
    assert said.count(b"nlbus: 1 events, ") >= 2
    assert b"events per second" in said


@pytest.mark.parametrize(
    "args",
    [
        ["record", "route", "-"],
        ["record", "route", "-", "-o", "arrow", "-t", "link"],
        ["listen", "route", "-o", "pcapng"],
        ["listen", "route", "-t", "link", "-o", "arrow"],
    ],
)
def test_no_binary_output_goes_to_a_terminal(args: list[str]) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "nlbus", *args]
    done = subprocess.run(command, check=False, stdout=theirs, stderr=subprocess.PIPE, cwd=ROOT, timeout=30)
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 2
    assert b" is not text: redirect it, or name a file" in done.stderr


# -- tables -------------------------------------------------------------------------------------------


def links(count: int) -> None:
    ip(*(f"link add d{i} type ifb" for i in range(count)))


@pytest.mark.parametrize("suffix", ["arrows", "parquet"])
def test_the_file_name_chooses_the_tables_format(suffix: str, start: Start, tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    file = tmp_path / f"links.{suffix}"
    chosen = ("--table", "link", "--columns", "ifname,mtu", "--where", 'nl_op == new and ifname ~ "d*"')
    records = start("record", "route", file, *chosen, "--count", "3")
    links(3)
    code, out, said = end(records)
    assert (code, out) == (0, b"")
    assert said == f"nlbus: 3 events, {file.stat().st_size} bytes, 0 lost, 0 dropped, 0 open\n"
    frame = polars.read_parquet(file) if suffix == "parquet" else polars.read_ipc_stream(file)
    assert frame.columns == ["nl_time", "nl_op", "ifname", "mtu"]
    assert frame.drop("nl_time").rows() == [("new", f"d{i}", 1500) for i in range(3)]
    code, _, said = end(start("record", "route", file, *chosen))
    assert (code, said) == (1, f"nlbus: recording to {file}: File exists; --force overwrites it\n")


def test_an_arrow_stream_is_readable_while_it_grows_and_after_a_kill(start: Start, tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    file = tmp_path / "links.arrows"
    records = start("record", "route", file, "-t", "link", "--where", "nl_op == new")

    def there() -> list[str]:
        return list(polars.read_ipc_stream(file)["ifname"]) if file.exists() else []

    links(2)
    wait_until(lambda: {"d0", "d1"} <= {*there()})
    assert end(records, signal.SIGKILL)[0] == -signal.SIGKILL
    assert {"d0", "d1"} <= {*there()}


def test_a_table_may_be_split_into_many_files(start: Start, tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    args = ("-t", "link", "--columns", "ifname", "--roll-seconds", "0.2", "--count", "2")
    records = start("record", "route", tmp_path / "x.parquet", *args, "-w", "nl_op == new")
    ip("link add d0 type ifb")
    wait_until((tmp_path / "x-000001.parquet").exists)
    ip("link add d1 type ifb")
    code, _, said = end(records)
    assert code == 0
    assert " bytes in 2 files, " in said
    files = sorted(tmp_path.iterdir())
    assert [polars.read_parquet(file)["ifname"].to_list() for file in files] == [["d0"], ["d1"]]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["x.parquet"], "parquet has the rows of one table: --table addr or "),
        (["x.parquet", "-t", "link,addr"], "--table addr or link"),
        (["x.pcapng", "--roll-size", "1M"], "--roll-size and --roll-seconds require a table"),
        (["x.pcapng", "--where", "mtu > 1"], "a capture has all messages"),
        (["x.arrows", "-t", "link", "--roll-size", "big"], "bytes, such as 1000000, 64M or 1G"),
        (["-", "-o", "arrow", "-t", "link", "--roll-size", "1M"], "combined with stdout, which is one file"),
    ],
)
def test_wrong_usage_joins_nothing(args: list[str], words: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nlbus", "record", "route", *args],
        check=False, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert words in " ".join(done.stderr.split())
    assert "listening" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_rows_are_recorded_in_every_format(start: Start, tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    pcapng, arrows = tmp_path / "x.pcapng", tmp_path / "x.arrows"
    chosen = ("-t", "link", "--columns", "ifname,mtu", "-w", 'nl_op == new and ifname ~ "d*"')
    listen = ("listen", "route", "-c", "3", "-o")
    every = {output: start(*listen, output, *chosen) for output in ("csv", "arrow")}
    every["pcapng"] = start(*listen, "pcapng", "-g", "link")
    links(3)
    done = {output: end(process) for output, process in every.items()}
    assert [code for code, _, _ in done.values()] == [0, 0, 0]
    lines = done["csv"][1].decode().splitlines()
    assert lines[0] == "nl_time,nl_op,ifname,mtu"
    assert [line.split(",")[1:] for line in lines[1:]] == [["new", f"d{i}", "1500"] for i in range(3)]
    frame = polars.read_csv(done["csv"][1], try_parse_dates=True)
    assert frame["nl_time"].dtype.is_temporal()
    arrows.write_bytes(done["arrow"][1])
    assert polars.read_ipc_stream(arrows)["ifname"].to_list() == ["d0", "d1", "d2"]
    pcapng.write_bytes(done["pcapng"][1])
    for output, was in (("csv", done["csv"][1]), ("pcapng", done["pcapng"][1])):
        more = chosen if output == "csv" else ()
        again = end(start("replay", pcapng, "-o", output, *more))
        assert again[0] == 0
        if output == "pcapng":
            assert again[1] == was
        else:
            assert [line.split(b",")[1:] for line in again[1].splitlines()] == [
                line.split(b",")[1:] for line in was.splitlines()
            ]
