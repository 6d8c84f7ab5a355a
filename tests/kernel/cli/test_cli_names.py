"""`nlbus listen` and `nlbus snapshot` name interfaces as the kernel does now."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.cli import Listen
from tests.support.sockets import ip

Start = Callable[..., Listen]


def test_a_rename_and_a_reused_index_are_followed(listen: Start) -> None:
    ip("link add va index 77 type bridge", "link set va up")
    here = listen("route", "-t", "route", "--where", "dst in 10.0.0.0/8 and dev ~ 'v*'")
    ip("route add 10.1.0.0/24 dev va")
    assert " dev va " in here.line()
    ip("link set va down", "link set va name vb", "link set vb up", "route add 10.2.0.0/24 dev vb")
    while "10.2.0.0/24" not in (line := here.line()):
        pass
    assert " dev vb " in line
    ip("link del vb", "link add vc index 77 type bridge", "link set vc up", "route add 10.3.0.0/24 dev vc")
    while "10.3.0.0/24" not in (line := here.line()):
        pass
    assert " dev vc " in line


def test_json_has_names_beside_indices(listen: Start) -> None:
    ip("link add va index 77 type bridge", "link set va up")
    here = listen("route", "-t", "route,addr", "-o", "json", "--where", "dev == va and family == inet")
    ip("addr add 10.1.0.1/24 dev va")
    found = [here.record() for _ in range(3)]
    address = next(row for row in found if row["nl_table"] == "addr")
    assert (address["ifindex"], address["ifname"]) == (77, "va")
    for row in found:
        assert row["nl_table"] == "addr" or (row["oif"], row["oifname"]) == (77, "va")


def test_a_snapshot_takes_and_shows_names() -> None:
    ip("link add va index 77 type bridge", "link set va up", "addr add 10.1.0.1/24 dev va")
    command = [sys.executable, "-m", "nlbus", "snapshot", "route", "route", "-o", "json"]
    run = subprocess.run(
        [*command, "--where", "dev == va", "--columns", "dst,oif"], capture_output=True, check=True
    )
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert {"dst": "10.1.0.0", "oif": 77, "oifname": "va"} in rows
    assert all(row["oifname"] == "va" for row in rows)
    reference = json.loads(subprocess.run(["ip", "-j", "route"], capture_output=True, check=True).stdout)
    assert {row["dev"] for row in reference} == {"va"}


def test_a_replay_names_what_the_file_tells(listen: Start, tmp_path: Path) -> None:
    file = tmp_path / "x.pcapng"
    recorder = subprocess.Popen(
        [sys.executable, "-m", "nlbus", "record", "route", str(file)], stderr=subprocess.PIPE, text=True
    )
    assert recorder.stderr is not None
    assert "listening" in recorder.stderr.readline()
    ip("link add va index 77 type bridge", "link set va up", "route add 10.1.0.0/24 dev va", "link del va")
    while (
        b"10.1.0.0"
        not in subprocess.run(
            [sys.executable, "-m", "nlbus", "replay", str(file), "-t", "route"],
            capture_output=True,
            check=True,
        ).stdout
    ):
        pass
    recorder.terminate()
    recorder.communicate()
    command = [sys.executable, "-m", "nlbus", "replay", str(file)]
    run = subprocess.run(
        [*command, "-t", "route", "--where", "dev == va and dst in 10.0.0.0/8", "-o", "json"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert {json.loads(line)["oifname"] for line in run.stdout.splitlines()} == {"va"}
