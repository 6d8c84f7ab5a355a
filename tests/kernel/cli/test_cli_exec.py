"""`nlbus listen --exec`, `nlbus run` and `nlbus test` as child processes, on real events."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from nlbus import Publisher, Subscriber, record
from nlbus.cli.main import commands
from tests.support.cli import ROOT, Listen
from tests.support.sockets import ip
from tests.support.sockets import wait_until as until

Start = Callable[..., Listen]


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """A script with these lines; it writes to $OUT."""
    os.environ["OUT"] = str(tmp_path / "out")
    (tmp_path / "out").touch()

    def make(text: str, name: str = "script") -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return make


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait with a long deadline: programs are slow on a busy machine."""
    until(condition, 20)


def out() -> list[str]:
    return Path(os.environ["OUT"]).read_text().splitlines()


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


class Run:
    """A running `nlbus run`; it is listening when the constructor returns."""

    def __init__(self, *args: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nlbus", "run", *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        )  # fmt: skip
        self.said: list[str] = []

    def until(self, words: str) -> str:
        """The next line of stderr that contains these words."""
        assert self.process.stderr is not None
        while line := self.process.stderr.readline():
            self.said.append(line)
            if words in line:
                return line
        raise AssertionError(f"it ended: {self.said}")

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        rest = self.process.communicate(timeout=30)[1]
        return self.process.returncode, rest


@pytest.fixture
def run() -> Iterator[Callable[..., Run]]:
    started: list[Run] = []

    def start(*args: str, **environment: str) -> Run:
        started.append(Run(*args, **environment))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def test_a_program_runs_for_each_matching_device(listen: Start, script: Callable[[str], str]) -> None:
    here = listen(
        "uevent", "-m", "SUBSYSTEM=net", "-m", "ACTION=add|remove", "--exec",
        script('echo "$ACTION $INTERFACE $NLBUS_OP $NLBUS_GROUP $1" >> "$OUT"') + " 'a b'", "-c", "4",
    )  # fmt: skip
    assert here.greeting.endswith("groups kernel (before udev's rules; -g udev: after them)\n")
    ip("link add va type veth peer name vb", "link del va")
    code, lines, err = here.end()
    assert (code, lines, err) == (0, [], "nlbus: 4 events, 4 handled, 0 failed, 0 lost\n")
    assert sorted(out()) == [
        "add va new kernel a b", "add vb new kernel a b",
        "remove va del kernel a b", "remove vb del kernel a b",
    ]  # fmt: skip


def test_current_objects_come_first_and_columns_are_keys(listen: Start, script: Callable[[str], str]) -> None:
    ip("link add va type veth peer name vb")
    here = listen(
        "route", "--table", "link", "-m", "ifname=v?|lo", "--initial", "-c", "3",
        "-x", script('echo "$ifname $mtu $NLBUS_ORIGIN $NLBUS_TABLE" >> "$OUT"'),
    )  # fmt: skip
    code, _, _ = here.end()
    assert code == 0
    assert sorted(out()) == ["lo 65536 snapshot link", "va 1500 snapshot link", "vb 1500 snapshot link"]


def test_without_exec_current_objects_are_printed_first(listen: Start) -> None:
    ip("link add va type veth peer name vb")
    here = listen("route", "-t", "link", "-m", "ifname=v?", "--initial", "-o", "json")
    assert {here.record()["ifname"], here.record()["ifname"]} == {"va", "vb"}
    ip("link set lo up", "link set va up")
    assert here.record()["ifname"] == "va"


def test_exit_codes_are_reported_and_no_process_is_left(listen: Start, script: Callable[[str], str]) -> None:
    path = script("exit 3")
    here = listen("route", "-t", "link", "--where", "ifname == lo", "-x", path)
    assert here.process.stderr is not None
    ip("link set lo up")
    assert here.process.stderr.readline() == f"nlbus: {path}: exit code 3 (link change ifname lo)\n"
    code, _, err = here.end(signal.SIGTERM)
    assert code == 0
    assert "1 failed" in err


def test_a_hanging_script_is_killed_with_its_children_after_its_timeout(
    listen: Start, script: Callable[[str], str]
) -> None:
    here = listen(
        "route", "-t", "link", "--timeout", "0.5",
        "-x", script('sleep 600 & echo $! >> "$OUT"; wait'),
    )  # fmt: skip
    assert here.process.stderr is not None
    ip("link set lo up")
    assert "took longer than 0.5 s: ended by SIGTERM" in here.process.stderr.readline()
    [sleeper] = out()
    wait_until(lambda: not Path(f"/proc/{sleeper}").exists())
    assert children(here.process.pid) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_programs_politely_and_soon(
    number: int, listen: Start, script: Callable[[str], str]
) -> None:
    here = listen(
        "uevent", "-m", "ACTION=add", "-m", "SUBSYSTEM=net", "--workers", "2",
        "-x", script("trap 'echo polite >> \"$OUT\"; exit 0' TERM; echo up >> \"$OUT\"; sleep 600 & wait"),
    )  # fmt: skip
    ip(*(f"link add va{i} type veth peer name vb{i}" for i in range(4)))
    wait_until(lambda: out().count("up") == 2)
    assert len(children(here.process.pid)) == 2
    began = time.monotonic()
    code, _, err = here.end(number)
    assert time.monotonic() - began < 5
    assert code == 0
    assert out().count("polite") == 2
    assert "ended with us" in err
    summary = re.fullmatch(
        r"nlbus: (\d) events, 0 handled, 2 failed, 0 lost, (\d) not handled", err.splitlines()[-1]
    )
    assert summary is not None, err
    # How many of the eight had been received at the signal is unknown; those are all accounted for.
    assert int(summary[1]) == 2 + int(summary[2]) <= 8


def test_programs_that_ignore_sigterm_are_killed(listen: Start, script: Callable[[str], str]) -> None:
    path = script("trap '' TERM; echo $$ >> \"$OUT\"; sleep 600; sleep 600")
    here = listen("uevent", "-m", "ACTION=add", "-x", path)
    ip("link add va type veth peer name vb")
    wait_until(lambda: len(out()) >= 1)
    began = time.monotonic()
    code, _, err = here.end(signal.SIGTERM)
    assert time.monotonic() - began < 10
    assert code == 0
    assert "ended by SIGKILL" in err
    for pid in out():
        wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists())


def test_no_shell_runs_without_the_shell_option(listen: Start, script: Callable[[str], str]) -> None:
    path = script('echo "$1" >> "$OUT"')
    plain = listen("route", "-t", "link", "-c", "1", "-x", f"{path} $ifname;id")
    shell = listen("route", "-t", "link", "-c", "1", "--shell", "-x", f'{path} "$ifname"; {path} two')
    ip("link set lo up")
    plain.end()
    shell.end()
    assert sorted(out()) == ["$ifname;id", "lo", "two"]


def test_fail_on_loss_changes_the_exit_code(
    listen: Start, publisher: Publisher, script: Callable[[str], str]
) -> None:
    here = listen(
        "bus", "-g", "1", "--buffer-events", "10", "--fail-on-loss", "--queue", "1", "--workers", "1",
        "-x", script('echo "$NLBUS_LOST" >> "$OUT"'),
    )  # fmt: skip
    here.stop()
    for i in range(200):
        publisher.publish(b"%d" % i, groups=1)
    here.go_on()
    wait_until(lambda: len(out()) >= 5)
    publisher.publish(b"last", groups=1)
    wait_until(lambda: any(out()))
    code, _, err = here.end(signal.SIGTERM)
    assert code == 3
    lost = sum(int(line) for line in out() if line)
    assert lost > 100
    assert f", {lost} lost" in err


# -- rules --------------------------------------------------------------------------------------------

RULES = """
[[rule]]
name = "{name}"
source = "uevent"
match = {{ ACTION = "add", SUBSYSTEM = "net" }}
exec = "./script {name}"
"""


def test_rules_run_and_are_reloaded(
    run: Callable[..., Run], script: Callable[[str], str], tmp_path: Path
) -> None:
    script('echo "$1 $INTERFACE" >> "$OUT"')
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES.format(name="one"))
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        manager.settimeout(20)

        def notified(words: str) -> str:
            while True:
                state = manager.recv(4096).decode()
                if state.startswith(words):
                    return state
                assert state == "WATCHDOG=1"

        here = run(str(rules), NOTIFY_SOCKET=name, WATCHDOG_USEC="200000")
        assert notified("READY=1") == "READY=1\nSTATUS=1 rules"
        notified("WATCHDOG=1")
        ip("link add va type veth peer name vb")
        wait_until(lambda: sorted(out()) == ["one va", "one vb"])

        rules.write_text(RULES.format(name="two") + "tiemout = 5\n")
        here.process.send_signal(signal.SIGHUP)
        why = here.until("the old rules stay")
        assert f": {rules}:7: no key 'tiemout' (did you mean 'timeout'?)" in why
        notified("RELOADING=1")
        notified("READY=1")
        ip("link add vc type veth peer name vd")
        wait_until(lambda: {"one vc", "one vd"} <= set(out()))

        both = RULES.format(name="three") + 'groups = ["kernel", "udev"]\n'
        rules.write_text(RULES.format(name="two") + both)
        here.process.send_signal(signal.SIGHUP)
        here.until("reloaded: 2 rules")
        notified("RELOADING=1")
        notified("READY=1\nSTATUS=2 rules")
        ip("link add ve type veth peer name vf")
        wait_until(lambda: len(out()) == 8)
        assert set(out()[4:]) == {"two ve", "three ve", "two vf", "three vf"}
        wait_until(lambda: children(here.process.pid) == [])
        code, rest = here.end(signal.SIGTERM)
        notified("STOPPING=1")
    assert code == 0
    assert "0 failed, 0 lost" in rest


def test_functions_are_found_next_to_the_rules(run: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "alarms_of_test.py").write_text(
        "import pathlib\n"
        "async def link(event):\n"
        f"    pathlib.Path({str(tmp_path / 'seen')!r}).write_text(event['ifname'])\n"
    )
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[rule]]\nsource = "route"\ntable = "link"\npython = "alarms_of_test:link"\ninitial = true\n'
    )
    here = run(str(rules))
    here.until("listening to route, groups link")
    wait_until(lambda: (tmp_path / "seen").exists() and (tmp_path / "seen").read_text() == "lo")
    assert here.end(signal.SIGINT)[0] == 0


def test_a_sleeping_coroutine_delays_nothing(run: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "sleepers_of_test.py").write_text(
        "import asyncio, pathlib\n"
        "async def link(event):\n"
        f"    pathlib.Path({str(tmp_path / 'seen')!r}).touch()\n"
        "    await asyncio.sleep(600)\n"
    )
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[rule]]\nsource = "route"\ntable = "link"\npython = "sleepers_of_test:link"\ninitial = true\n'
    )
    here = run(str(rules))
    wait_until((tmp_path / "seen").exists)
    began = time.monotonic()
    code, said = here.end(signal.SIGTERM)
    assert time.monotonic() - began < 5
    assert (code, "do not end" in said, "ended with us" in said) == (0, False, True)


def test_invalid_rules_end_the_command_before_anything_runs(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES.format(name="one"))
    for args in (["run", str(rules)], ["run", "--check", str(rules)]):
        result = CliRunner().invoke(commands, args)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"nlbus: {rules}:6: ./script: no such program")
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "script").chmod(0o755)
    result = CliRunner().invoke(commands, ["run", "--check", str(rules)])
    assert (result.exit_code, result.stdout) == (0, f"{rules}: 1 rule: one\n")


def test_the_test_command_prints_what_rules_would_run_for_a_capture(
    tmp_path: Path, subscribe: Callable[..., Subscriber]
) -> None:
    sub = subscribe("uevent")
    ip("link add va type veth peer name vb", "link del va")
    record(tmp_path / "c.pcapng", sub, seconds=0.3)
    rules = tmp_path / "rules.toml"
    more = '[[rule]]\nname = "links"\nsource = "route"\npython = "none_:f"\n'
    rules.write_text(RULES.format(name="one") + "debounce = 60\n" + more)
    args = ["test", str(rules), str(tmp_path / "c.pcapng")]
    result = CliRunner().invoke(commands, args)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    assert all(" one: ./script one (" in line and " ACTION=add " in line for line in lines)
    assert result.stderr == "nlbus: one: 2 times\nnlbus: links: 0 times\n"
    result = CliRunner().invoke(commands, [*args, "-o", "json"])
    runs = [json.loads(line) for line in result.stdout.splitlines()]
    assert {each["environment"]["INTERFACE"] for each in runs} == {"va", "vb"}
    assert {(each["rule"], each["run"]) for each in runs} == {("one", "./script one")}
