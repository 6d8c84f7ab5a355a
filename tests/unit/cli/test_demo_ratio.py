"""The ratio that the demo ends with."""

import pytest

from nlbus.bench.pairing import Pairs
from nlbus.cli.demo import ratio


@pytest.mark.parametrize(("other", "noisy"), [(1.01, False), (2.0, True)])
def test_a_noisy_machine_is_named(other: float, noisy: bool, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = Pairs()
    for turn in range(ratio.ROUNDS):
        pairs.floor_ns.append(10.0)
        pairs.ours_ns.append(12.0)
        pairs.ratios.append(10 / 12)
        pairs.controls.append(other if turn % 2 else 1 / other)
    ratio._report(pairs, 100)
    assert ("too noisy" in capsys.readouterr().out) is noisy
