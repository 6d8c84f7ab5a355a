"""Run sequences by hand: `python -m tests.support.operations.report FIRST COUNT [--shrink N]`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tests.support.operations.kinds import KINDS
from tests.support.operations.lacking import lacking
from tests.support.operations.sequences import Churn, sequence, shrunk
from tests.support.operations.trial import Trial, run


def counted(trials: Sequence[Trial]) -> Counter[str]:
    """Differences by table and what differs, each sequence once."""
    return Counter(
        each
        for trial in trials
        for each in {f"{found.table}: {found.what} ({found.state})" for found in trial.found}
    )


def succeeded(trials: Sequence[Trial]) -> Counter[str]:
    """How often each kind of operation succeeded."""
    return sum((trial.succeeded for trial in trials), Counter())


def in_stretches(first: int, count: int, stretch: int = 100) -> list[Trial]:
    """Run sequences, and say on standard error how far they are."""
    trials: list[Trial] = []
    for start in range(first, first + count, stretch):
        trials += run([sequence(seed) for seed in range(start, min(start + stretch, first + count))])
        bad = [trial.sequence.seed for trial in trials if trial.found]
        print(f"{len(trials)} of {count}, {len(bad)} differ: {bad}", file=sys.stderr, flush=True)
    return trials


def minimal(trial: Trial) -> tuple[Churn, Trial]:
    """The shortest sequence found that still has one of the trial's differences, and its trial."""
    wanted = {(found.table, found.what) for found in trial.found}

    def fails(tries: Sequence[Churn]) -> list[bool]:
        return [bool(wanted & {(f.table, f.what) for f in each.found}) for each in run(tries)]

    short = shrunk(trial.sequence, fails)
    return short, run([short])[0]


def main() -> None:
    """Print what differs, and for the first N failures a minimal script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("first", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--shrink", type=int, default=0)
    args = parser.parse_args()
    began = time.monotonic()
    trials = in_stretches(args.first, args.count)
    failed = [trial for trial in trials if trial.found]
    operations = sum(trial.succeeded.total() for trial in trials)
    losses = sum(trial.lost > 0 for trial in trials)
    print(f"{len(trials)} sequences, {len(failed)} differ, {losses} with losses, {operations} operations")
    print(f"{time.monotonic() - began:.1f} s")
    for what, count in counted(trials).most_common():
        print(f"{count:5} {what}")
    done = succeeded(trials)
    print(f"{len(done.keys() & KINDS.keys())} of {len(KINDS)} kinds succeeded")
    print(", ".join(f"{kind} {done[kind]}" for kind in sorted(KINDS, key=lambda kind: done[kind])))
    print(f"this kernel lacks: {', '.join(sorted(lacking())) or 'none'}")
    print(f"never: {', '.join(kind for kind in KINDS if kind not in done) or 'none'}")
    seen: set[tuple[str, str]] = set()
    for trial in failed:
        kinds = {(found.table, found.what) for found in trial.found}
        if args.shrink and not kinds <= seen:
            args.shrink -= 1
            seen |= kinds
            short, again = minimal(trial)
            print(f"\n{short.script()}")
            for found in (again.found or trial.found)[:6]:
                print(f"    {str(found)[:400]}")


if __name__ == "__main__":
    main()
