"""Memory that the module does not get: by failslab, for its own allocations only, in a debug kernel."""

import errno
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nlbus import packet
from tests.guest.control import ACK, REQUEST, STATS, Asker, get, stats
from tests.guest.helpers import Ledger, Tap, generate, order, payloads
from tests.support import reference

FAILSLAB = Path("/sys/kernel/debug/failslab")

if not FAILSLAB.exists():
    pytest.skip("needs failslab: make test-kmod-debug", allow_module_level=True)

Open = Callable[..., Tap]


def text_of(module: str) -> tuple[int, int]:
    """Where its code lies."""
    found = re.search(rf"^{module} (\d+) .* (0x[0-9a-f]+)", Path("/proc/modules").read_text(), re.MULTILINE)
    assert found is not None
    start = int(found[2], 16)
    return start, start + int(found[1])


@pytest.fixture
def failing(netns: int) -> Iterator[Callable[..., None]]:
    """failing(every, times): from now on each so many-th allocation from a module fails, so many times."""

    def begin(every: int = 1, times: int = -1, module: str = "nlbus") -> None:
        start, end = text_of(module)
        settings = {
            "task-filter": "N", "ignore-gfp-wait": "N", "verbose": 0, "stacktrace-depth": 32, "space": 0,
            "require-start": hex(start), "require-end": hex(end), "interval": every, "times": times,
            "probability": 100,
        }  # fmt: skip
        for name, value in settings.items():
            (FAILSLAB / name).write_text(str(value))

    yield begin
    (FAILSLAB / "probability").write_text("0")


def stop() -> None:
    (FAILSLAB / "probability").write_text("0")


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_events_lost_for_lack_of_memory_are_gaps(tap: Open, failing: Callable[..., None], every: int) -> None:
    one = tap(1, 2)
    order("publish", 1, 2)
    one.drain()
    failing(every)
    accepted = full = 0
    for size in (0, 8, 100, 3000):
        for groups in (0b1, 0b11):
            outcome = generate(count=50, size=size, groups=groups, rate=5000)
            accepted, full = accepted + outcome.accepted, full + outcome.full
    stop()
    order("publish", 1), order("publish", 1, 2)
    ledger = Ledger()
    for datagram in one.drain():
        ledger.take(datagram)
    lost = stats(0)["nomem"]
    assert lost > 0
    # The stream {1} began under failure: what it lost before its first datagram nobody can know.
    assert ledger.events + ledger.lost <= accepted + full + 2
    assert ledger.events >= accepted - lost


def test_subscribing_fails_with_an_error_or_works(failing: Callable[..., None]) -> None:
    outcomes = set()
    for every in (1, 2, 3, 4, 5, 6):
        failing(every, 1)
        try:
            one = Tap(1)
        except OSError as error:
            outcomes.add(error.errno)
            continue
        finally:
            stop()
        outcomes.add(0)
        order("publish", 1)
        assert len(payloads(one.drain())) == 1
        one.close()
    assert outcomes == {0, errno.ENOMEM}


def test_requests_and_publishing_fail_with_an_error_or_work(tap: Open, failing: Callable[..., None]) -> None:
    one = tap(1)
    data = reference.bus_batch(b"12345678", record_size=8, nlmsg_flags=ACK)
    seen = set()
    for every in (1, 2, 3, 4):
        with Asker() as asker:
            failing(every, 1)
            asker.send(data)
            answer = asker.answer(0.5)
            stop()
            seen.add(answer.errno if answer else None)
            failing(every, 1)
            asker.send(reference.message(STATS, flags=REQUEST | 0x300))
            asker.send(reference.message(0x11, flags=REQUEST))
            stop()
    assert 0 in seen
    assert seen - {0} <= {None, errno.ENOMEM, errno.ENOBUFS}
    assert seen != {0}
    one.drain()
    assert get()["buffer_bytes"] == 262144


def test_a_namespace_without_memory_is_not_made(
    failing: Callable[..., None], child: Callable[..., object]
) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    outcomes = set()
    for every in range(1, 8):
        failing(every, 1)
        outcomes.add(0 if libc.unshare(0x40000000) == 0 else ctypes.get_errno())
        stop()
    assert 0 in outcomes
    assert outcomes - {0} <= {errno.ENOMEM, errno.EADDRINUSE}


def test_a_rule_is_there_and_answered_or_not_there(packets: None, failing: Callable[..., None]) -> None:
    outcomes = []
    for every in range(1, 8):
        failing(every, 1, "nlbus_packet")
        try:
            packet.add(packet.Rule(action="drop", protocol="tcp", dport=(every, every)))
            outcomes.append(0)
        except OSError as error:
            outcomes.append(error.errno)
        finally:
            stop()
    assert set(outcomes) == {0, errno.ENOMEM}
    assert len(packet.rules()) == outcomes.count(0)
