"""The listeners of examples/ on real events: devices, links, processes, connections."""

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from nlbus.cli.main import commands
from tests.support.cli import ROOT, Listen
from tests.support.examples import example
from tests.support.queues import queue_packets
from tests.support.sockets import ip, track_connections

UNIT = ROOT / "systemd/nlbus-run.service"


def test_hotplug_prints_devices_present_added_and_removed(listen: Callable[..., Listen]) -> None:
    # Present devices come from /sys, which shows the namespace it was mounted in; each has a lo.
    here = listen(
        "uevent", "-m", "SUBSYSTEM=net", "-m", "ACTION=add|remove", "-m", "INTERFACE=v[cd]|lo", "--initial",
        "-x", "examples/hotplug.sh",
    )  # fmt: skip
    assert here.line().split(" (")[0] == "lo is there already"
    ip("link add vc type veth peer name vd", "link del vc")
    said = [here.line().split(" (")[0] for _ in range(4)]
    assert sorted(said) == ["vc is gone", "vc is there", "vd is gone", "vd is there"]
    for name in ("vc", "vd"):
        assert said.index(f"{name} is there") < said.index(f"{name} is gone")


def test_a_flapping_link_is_reported() -> None:
    def flap() -> None:
        ip(*("link set lo up", "link set lo down") * 3)

    with example("examples/link_flap.py", "4", "60") as here:
        assert here.says("flaps", flap) == "lo flaps: 5 changes in 60 seconds"


def test_a_link_that_is_only_set_up_does_not_flap() -> None:
    ip("link add va type veth peer name vb")
    with example("examples/link_flap.py", "1", "60") as here:
        here.says("lo flaps", lambda: ip("link set va up", "link set lo up", "link set lo down"))
        assert b"va" not in here._said


def test_connections_beyond_the_limit_are_dropped() -> None:
    queue_packets(3, "-p", "tcp", "--syn")
    ip("link set lo up")

    def connect() -> None:
        for _ in range(30):
            with socket.socket() as one:
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", 9))

    with example("examples/packet_filter.py") as here:
        assert here.says("dropped", connect).split()[0] == "dropped"


def test_new_processes_are_printed_with_their_command_line(process_connector: None) -> None:
    def start() -> None:
        with subprocess.Popen(["sleep", "0.3123"]):
            pass

    with example("examples/new_processes.py", "sle*") as here:
        line = here.says("0.3123", start)
    assert line.endswith(": 'sleep' '0.3123'")
    assert ": parent " in line


def test_a_port_scan_is_reported() -> None:
    track_connections()
    ports = iter(range(2000, 60000))

    def scan() -> None:
        for _ in range(10):
            with contextlib.suppress(ConnectionRefusedError), socket.socket() as one:
                one.connect(("127.0.0.1", next(ports)))

    with example("examples/port_scan.py", "15", "60") as here:
        assert here.says("tried", scan) == "127.0.0.1 tried 16 ports in 60 seconds"


def test_many_connections_to_one_port_are_no_scan() -> None:
    track_connections()
    with socket.create_server(("127.0.0.1", 0)) as server:
        ports = iter(range(2000, 60000))

        def connect() -> None:
            for _ in range(10):
                with socket.create_connection(server.getsockname()):
                    server.accept()[0].close()
            with contextlib.suppress(ConnectionRefusedError), socket.socket() as one:
                one.bind(("127.0.0.2", 0))
                one.connect(("127.0.0.1", next(ports)))

        with example("examples/port_scan.py", "3", "60") as here:
            assert here.says("tried", connect).startswith("127.0.0.2 ")
            assert b"127.0.0.1 tried" not in here._said


def test_the_example_rules_are_valid() -> None:
    result = CliRunner().invoke(commands, ["run", "--check", str(ROOT / "examples/rules.toml")])
    assert (result.exit_code, result.stdout.partition(": ")[2]) == (0, "2 rules: hotplug, link\n")


# -- the service --------------------------------------------------------------------------------------


@pytest.fixture
def analyze() -> str:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze: install systemd")
    return tool


def test_systemd_finds_no_fault_in_the_service(analyze: str, tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/bin/nlbus", shutil.which("true") or "/bin/true"))
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, ours) == (0, [])


def test_the_service_has_few_privileges(analyze: str) -> None:
    args = [analyze, "security", "--offline=yes", "--threshold=20", str(UNIT)]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd-analyze security --offline: needs systemd 250")
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
