"""State after random sequences of everything that changes what the kernel has: what a fresh dump says."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from tests.support.operations.kinds import KINDS
from tests.support.operations.lacking import lacking
from tests.support.operations.report import in_stretches, minimal, succeeded
from tests.support.operations.sequences import sequence
from tests.support.operations.trial import Trial, run

FIRST = int(os.environ.get("NLBUS_SEED", "0"))


def explained(trial: Trial) -> str:
    """What differs, and the shortest script found after which it does."""
    found = "\n".join(f"  {each}"[:600] for each in trial.found[:8])
    short, again = minimal(trial)
    after = "\n".join(f"  {each}"[:600] for each in again.found[:4])
    return f"seed {trial.sequence.seed}:\n{found}\nthe shortest script found:\n{short.script()}\n{after}"


def judge(trials: Sequence[Trial]) -> None:
    """Fail with a script for each of the first sequences after which a State is not what the kernel has."""
    failed = [trial for trial in trials if trial.found]
    assert not failed, f"{len(failed)} of {len(trials)} differ\n" + "\n\n".join(map(explained, failed[:3]))


@pytest.mark.timeout(240)
def test_state_is_what_the_kernel_has_after_random_sequences() -> None:
    trials = run([sequence(seed) for seed in range(FIRST, FIRST + 50)])
    done = succeeded(trials)
    possible = len(KINDS) - len(lacking())
    assert len(done) > 0.8 * possible, f"the tools did next to nothing here: {done}"
    assert any(trial.lost for trial in trials), "no overrun: small buffers were not small"
    judge(trials)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_state_is_what_the_kernel_has_after_two_thousand_sequences() -> None:
    trials = in_stretches(1000, 2000)
    assert not KINDS.keys() - lacking() - succeeded(trials).keys()
    judge(trials)
