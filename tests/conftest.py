"""A time limit for every test, even one that hangs without the GIL."""

import faulthandler
import os
import signal
from collections.abc import Iterator
from types import FrameType

import hypothesis
import pytest

TIMEOUT = 60.0
# The guests of tests/lab emulate their processors.
PATIENCE = {"": 1, "debug": 10}.get(os.environ.get("NLBUS_GUEST", ""), 4)
# A loop without the GIL never returns to the signal handler: end the whole run, with all stacks.
GRACE = 30.0

# A deadline per example measures the machine, not nlbus. CI tries the same examples each time: it judges a
# change, not its luck; new examples are tried everywhere else.
hypothesis.settings.register_profile("nlbus", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("nlbus")

stderr = pytest.StashKey[int]()  # the run's own, before anything is captured


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"timeout(seconds): end the test after so long (default {TIMEOUT:g})")
    config.stash[stderr] = os.dup(2)
    # A shell starts background jobs with SIGINT ignored; tests send Ctrl-C to their children.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _timeout(request: pytest.FixtureRequest) -> Iterator[None]:
    marker = request.node.get_closest_marker("timeout")
    seconds = (float(marker.args[0]) if marker else TIMEOUT) * PATIENCE

    def expire(_signum: int, _frame: FrameType | None) -> None:
        pytest.fail(f"still running after {seconds:g} seconds")

    previous = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=request.config.stash[stderr])
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
