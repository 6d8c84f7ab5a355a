"""`nlbus publish` on real sockets."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nlbus import Batch, Subscriber

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-m", "nlbus", "publish"]


def publish(data: bytes, *args: str) -> tuple[int, str]:
    done = subprocess.run([*COMMAND, *args], input=data, capture_output=True, check=False, cwd=ROOT)
    assert done.stdout == b""
    return done.returncode, done.stderr.decode()


def events(batch: Batch) -> list[bytes]:
    return [batch.payload(i) for i in range(len(batch))]


@pytest.fixture
def sub(subscribe: Callable[..., Subscriber]) -> Subscriber:
    return subscribe("bus", groups=(1, 7))


def received(sub: Subscriber) -> list[bytes]:
    return [event for batch in sub.batches(timeout=0.2) for event in events(batch)]


def test_each_line_is_an_event(sub: Subscriber) -> None:
    code, err = publish(b"one\n\ntwo \xff\x00\r\nend", "--groups", "1")
    assert (code, err) == (0, "nlbus: 4 events sent in 4 datagrams\n")
    assert received(sub) == [b"one", b"", b"two \xff\x00\r", b"end"]


def test_groups_and_type_are_options(sub: Subscriber) -> None:
    assert publish(b"x\n", "-g", "1,7", "--group", "9", "--type", "0x101")[0] == 0
    (event,) = sub.recv(timeout=1).events
    assert (event["groups"], event["type"]) == (0b1_0100_0001, 0x101)
    assert received(sub) == []


def test_linger_lets_events_share_a_datagram(sub: Subscriber) -> None:
    code, err = publish(b"x\n" * 100, "-g", "1", "--linger", "1")
    assert (code, err) == (0, "nlbus: 100 events sent in 1 datagrams\n")
    assert received(sub) == [b"x"] * 100


def test_empty_input_publishes_no_event(sub: Subscriber) -> None:
    assert publish(b"", "-g", "1") == (0, "nlbus: 0 events sent in 0 datagrams\n")
    assert received(sub) == []


def test_the_error_names_a_line_too_long_for_a_datagram(sub: Subscriber) -> None:
    code, err = publish(b"fine\n" + b"x" * 40_000 + b"\nmore\n", "-g", "1")
    assert code == 1
    assert err.startswith("nlbus: line 2: an event of 40000 bytes")
    assert err.count("\n") == 1
    assert received(sub) == [b"fine"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_after_sending_lingering_events(sub: Subscriber, number: int) -> None:
    command = [*COMMAND, "-g", "1", "--linger", "1"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"first\n")
        process.stdin.flush()
        assert events(sub.recv(timeout=20)) == [b"first"]  # it runs
        process.stdin.write(b"second\n")
        process.stdin.flush()
        process.send_signal(number)
        code = process.wait(timeout=20)
        assert process.stderr is not None
        err = process.stderr.read().decode()
    assert code == 0
    assert "Traceback" not in err
    assert err.startswith("nlbus: ")
    assert len(received(sub)) + 1 == int(err.split()[1])
