"""The pytest plugin as users have it: found by pytest, and inactive until its fixture is used."""

import subprocess
import sys
from pathlib import Path

import pytest

from nlbus import record
from tests.support.feeds import Given
from tests.unit.capture.test_faulty import links

USERS = """
import pytest
from nlbus import Listener, LossError

def flaps(feed):
    return [row["ifindex"] for batch in feed for row in batch.table("link").iter_rows()]

def test_all(nlbus_replay):
    assert flaps(nlbus_replay("x.pcapng")) == list(range(1, 101))

def test_with_faults(nlbus_replay):
    feed = nlbus_replay("x.pcapng", drop=0.2, seed=7)
    found = flaps(feed)
    assert 60 < len(found) < 95
    assert len(found) + feed.stats()["dropped"] == 100
    assert found == flaps(nlbus_replay("x.pcapng", drop=0.2, seed=7))

def test_that_raises(nlbus_replay):
    with pytest.raises(LossError):
        flaps(nlbus_replay("x.pcapng", drop=0.2, on_loss="raise"))

def test_a_listener(nlbus_replay):
    app, seen = Listener(), []

    @app.on("route", table="link", match={"ifname": "v*"})
    def link(event):
        seen.append(event["ifindex"])

    assert app.replay(nlbus_replay("x.pcapng", duplicate=0.3, seed=1)) == len(seen) > 110

def test_it_is_closed(nlbus_replay):
    global feed
    feed = nlbus_replay("x.pcapng")

def test_it_was_closed():
    with pytest.raises(ValueError):
        feed.recv()
"""


def test_a_users_test_replays_captures(pytester: pytest.Pytester) -> None:
    record(pytester.path / "x.pcapng", Given("route", links(*[10] * 10)))
    pytester.makepyfile(USERS)
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=6)


def test_an_unused_plugin_loads_nothing() -> None:
    code = "import pytest_nlbus, sys; sys.exit(any(name in sys.modules for name in ('nlbus', 'numpy')))"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0
