"""The targets of `make fuzz` accept their seeds, whole and cut."""

import pytest

from nlbus import NlbusError
from tests.fuzz.targets import TARGETS, run


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_runs_its_seeds(name: str) -> None:
    target, seeds = TARGETS[name]
    sound = 0
    for seed in seeds():
        for end in range(0, len(seed), max(1, len(seed) // 4)):
            run(name, seed[:end])
        try:
            target(seed)
            sound += 1
        except NlbusError:
            assert name == "capture"  # some are cut short
    assert sound >= 2
