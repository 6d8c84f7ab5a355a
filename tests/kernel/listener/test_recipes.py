"""The recipes of examples/ on real events: polars and DuckDB give the same correct results."""

import socket
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nlbus import Batch, Subscriber, Table, record, snapshot
from tests.support.sockets import ROOT, ip, run, track_connections

EXAMPLES = ROOT / "examples"
Subscribe = Callable[..., Subscriber]

pytest.importorskip("duckdb")
pytest.importorskip("polars")


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a recipe."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return import_module


def script(name: str, *args: str | Path, code: int = 0) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == code, done.stderr
    return done


def both(name: str, file: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    """A script's output for a capture, after checking that both engines give the same."""
    first, second = (script(name, file, "--with", engine, *args) for engine in ("polars", "duckdb"))
    assert (first.stdout, first.stderr) == (second.stdout, second.stderr)
    return first


# -- top talkers ----------------------------------------------------------------------------------------


def talk(port: int, count: int, size: int) -> None:
    """UDP to ourselves, from a different address per connection, without replies."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((f"127.0.0.{port}", 0))
        for _ in range(count):
            sender.sendto(bytes(size), ("127.0.0.1", 5000 + port))


@pytest.mark.parametrize("accounting", ["1", "0"])
def test_top_talkers(accounting: str, subscribe: Subscribe, tmp_path: Path) -> None:
    track_connections()
    Path("/proc/sys/net/netfilter/nf_conntrack_acct").write_text(accounting)
    file = tmp_path / "flows.pcapng"
    sub = subscribe("conntrack", groups=["destroy"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hears:
        hears.bind(("127.0.0.1", 5002))  # prevents ICMP errors
        talk(2, 10, 1000)
        talk(2, 1, 100)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hears:
        hears.bind(("127.0.0.1", 5003))
        talk(3, 1, 10)
    run("conntrack", "-F")
    record(file, sub, count=3, seconds=10)
    done = both("top_talkers", file)
    lines = [line.split() for line in done.stdout.splitlines()]
    if accounting == "1":
        assert lines[1:] == [["127.0.0.2", "2", str(10 * 1028 + 128), "0"], ["127.0.0.3", "1", "38", "0"]]
        assert done.stderr == ""
    else:
        assert sorted(lines[1:]) == [["127.0.0.2", "2", "?", "?"], ["127.0.0.3", "1", "?", "?"]]
        assert done.stderr.startswith("WARNING: of 3 of 3 connections the bytes are not known")
        assert "nf_conntrack_acct=1" in done.stderr


def test_top_talkers_live() -> None:
    track_connections()
    Path("/proc/sys/net/netfilter/nf_conntrack_acct").write_text("1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hears:
        hears.bind(("127.0.0.1", 5004))
        talk(4, 2, 100)
        done = script("top_talkers", "--seconds", "0.2")
    assert done.stdout.splitlines()[1].split() == ["127.0.0.4", "1", "256", "0"]


# -- a tree of processes ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("process_connector")
def test_process_tree(tmp_path: Path) -> None:
    file = tmp_path / "tree.pcapng"
    with Subscriber("proc") as sub:
        command = ["sh", "-c", "echo $$; (sh -c 'echo $$; exit 3' ; exit 0); kill -9 $$"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as shell:
            assert shell.stdout is not None
            outer, inner = map(int, shell.stdout.read().split())
            shell.wait()
        record(file, sub, seconds=0.3)
    lines = both("process_tree", file).stdout.splitlines()
    by_pid = {line.split()[0]: line for line in lines}
    assert by_pid[str(outer)].endswith("(signal 9)")
    assert by_pid[str(inner)].endswith("(exit 3)")
    indent = {pid: len(line) - len(line.lstrip()) for pid, line in by_pid.items()}
    assert indent[str(outer)] < indent[str(inner)]
    assert lines.index(by_pid[str(outer)]) < lines.index(by_pid[str(inner)])


# -- links that flap --------------------------------------------------------------------------------------


def test_flaps_with_addresses(subscribe: Subscribe, tmp_path: Path) -> None:
    file = tmp_path / "flaps.pcapng"
    sub = subscribe("route", tables=["link", "addr"])
    ip("link add va type veth peer name vb", "link set va up", "link set vb up")
    ip("addr add 10.7.0.1/24 dev va", "addr add 10.7.0.2/24 dev va")
    for _ in range(3):
        ip("link set vb down", "link set vb up")
    ip("link add quiet type ifb")
    record(file, sub, seconds=0.3)
    lines = [line.split() for line in both("flaps_with_addresses", file).stdout.splitlines()]
    (va,) = [line for line in lines if line[0] == "va"]
    assert int(va[1]) >= 6  # down and up, three times
    assert va[2:5] == ["changes,", "now", "up"]
    assert {"10.7.0.1", "10.7.0.2"} <= {*va[5:]}
    assert all(line[0] != "quiet" for line in lines)


# -- rates ------------------------------------------------------------------------------------------------


def test_group_rates(subscribe: Subscribe, tmp_path: Path) -> None:
    file = tmp_path / "rates.pcapng"
    sub = subscribe("route")
    ip("link set lo up", *(f"route add 10.{i}.0.0/16 dev lo" for i in range(20)))
    record(file, sub, seconds=0.3)
    lines = [line.split() for line in both("group_rates", file).stdout.splitlines()]
    total = sum(int(line[2]) for line in lines if line[1] == "ipv4_route")
    assert total >= 20
    assert {line[1] for line in lines} >= {"link", "ipv4_route"}


def test_an_empty_capture_is_no_error(recipe: Callable[[str], ModuleType]) -> None:
    import polars as pl

    def none(source: str, table: str) -> Table:
        return Batch.from_datagrams(source, []).table(table)

    cases: dict[str, list[Any]] = {
        "top_talkers": [none("conntrack", "conntrack")],
        "process_tree": [none("proc", "fork"), none("proc", "exit")],
        "flaps_with_addresses": [none("route", "link"), snapshot("route", "addr")],
        "group_rates": [recipe("group_rates").counts_of([])],
    }
    for name, tables in cases.items():
        found = [engine(*tables) for engine in (recipe(name).by_polars, recipe(name).by_duckdb)]
        assert [len(frame) for frame in found] == [0, 0]
        assert found[0].columns == found[1].columns
    assert pl.DataFrame(cases["group_rates"][0]).is_empty()


# -- a picture --------------------------------------------------------------------------------------------


def test_a_recipe_draws_a_picture(subscribe: Subscribe, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file, png = tmp_path / "links.pcapng", tmp_path / "links.png"
    sub = subscribe("route", tables=["link"])
    ip(*(f"link add d{i} type ifb" for i in range(5)))
    recorded = record(file, sub, seconds=0.3)
    done = script("picture", png, "--file", file, "--window", "0.1")
    rows = int(done.stdout.split(": ")[1].split()[0])
    assert 5 <= rows <= recorded.messages
    assert png.read_bytes().startswith(b"\x89PNG")
    live = tmp_path / "live.png"
    assert " in " in script("picture", live, "--seconds", "0.5", "--window", "0.2").stdout
    assert live.read_bytes().startswith(b"\x89PNG")


# -- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("picture", ["x.png", "--file", "/nowhere.pcapng"], "/nowhere.pcapng: No such file or directory"),
        ("picture", ["x.png", "--table", "lnk"], "no table 'lnk'"),
        ("process_tree", ["--seconds", "0"], "joining proc"),  # refused in a network namespace
        ("new_processes", [], "joining proc"),
        ("top_talkers", ["/nowhere.pcapng"], "/nowhere.pcapng: No such file or directory"),
        ("group_rates", ["--source", "rout"], "did you mean 'route'?"),
    ],
)
def test_errors_are_one_line(name: str, args: list[str], words: str) -> None:
    said = script(name, *args, code=1).stderr
    assert words in said
    assert said.count("\n") == 1
