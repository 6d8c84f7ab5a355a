"""The benchmark's section about State, at minimum size."""

import pytest

from nlbus.bench import Measurement
from nlbus.bench.plans import Scale
from nlbus.bench.sections import state
from tests.support.sockets import ip


def test_a_state_is_measured_beside_the_snapshot_alone_and_ndb(monkeypatch: pytest.MonkeyPatch) -> None:
    ip("link set lo up")
    monkeypatch.setattr(state, "ROUTES", {"quick": 20_000})
    monkeypatch.setattr(state, "OTHERS", {"quick": 500})
    monkeypatch.setattr(state, "CHANGES", 300)
    found = [*state.measure(Scale("quick", 1, 0.1), lambda _: None)]
    ours = [one for one in found if isinstance(one, Measurement) and one.subject == "nlbus"]
    assert [bool(one.ratios) for one in ours] == [True, True, True, False, False]
    assert all(one.sent == one.delivered >= 300 for one in ours)
    one, two = (each.median for each in ours[3:])
    assert 0 < one < two < 500  # bytes per route
