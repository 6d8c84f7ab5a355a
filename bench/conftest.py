"""`python -m pytest bench`: in a network namespace of its own, with a table of all bars at the end."""

from __future__ import annotations

import bars
import pytest

from nlbus.bench import namespace as place
from nlbus.bench import pairing

WHY_NOT = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("python_files", "bench_*.py")
    config.addinivalue_line("python_functions", "bench_*")
    config.stash[WHY_NOT] = place.enter()


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> None:
    """Skip where there is none."""
    if why := request.config.stash[WHY_NOT]:
        pytest.skip(why)


@pytest.fixture
def one_core(namespace: None):
    """Lock-step work of one process stays on one core."""
    with pairing.one_core():
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if bars.RESULTS:
        terminalreporter.section("nlbus beside C, on the same datagrams")
        for line in bars.table():
            terminalreporter.write_line(line)
    for line in bars.REMARKS:
        terminalreporter.write_line(line)
