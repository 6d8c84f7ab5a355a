"""The section of verdicts, with nlbus in the place of another library."""

import pytest

from nlbus.bench.plans import Scale
from nlbus.bench.results import Measurement, Missing
from nlbus.bench.sections import verdicts


def test_each_packet_of_the_flood_has_its_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "PACKETS", 800)
    monkeypatch.setattr(verdicts, "RIVALS", {"json": verdicts._nlbus, "no_such_library": verdicts._nlbus})
    found = list(verdicts.measure(Scale("quick", 2, 5.0), lambda words: None))
    if isinstance(found[0], Missing):
        pytest.skip(found[0].reason)
    measured, missing = found
    assert isinstance(measured, Measurement)
    assert (measured.reference, measured.sent, measured.delivered, measured.lost) == ("json", 4800, 4800, 0)
    assert isinstance(missing, Missing)
    assert "no_such_library" in str(missing)
