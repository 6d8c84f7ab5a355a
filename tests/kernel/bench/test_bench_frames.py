"""The benchmark's section about data frames, at minimum size."""

import pytest

from nlbus.bench import Measurement
from nlbus.bench.plans import Scale
from nlbus.bench.sections import frames
from tests.support.sockets import ip


def test_a_query_is_scanned_beside_all_rows_and_the_kernel_holds_only_what_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ip("link set lo up")
    monkeypatch.setattr(frames, "FOREIGN", 300)
    monkeypatch.setattr(frames, "STANDING", 300)
    found = [*frames.measure(Scale("quick", 1, 0.1), lambda _: None)]
    assert len(found) == 4
    for one in found:
        assert isinstance(one, Measurement), one
        assert one.sent == one.delivered > 300
        assert one.ratios
    storms = [one.note for one in found if isinstance(one, Measurement) and one.note]
    assert len(storms) == 2
    for note in storms:
        held, kept = (int(word.replace(",", "")) for word in note.split() if word[0].isdigit())
        assert kept < held / 2
