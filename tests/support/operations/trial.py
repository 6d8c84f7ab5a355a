"""Trials: sequences of operations in namespaces of their own, and States that follow them."""

from __future__ import annotations

import errno
import time
from collections.abc import Sequence
from functools import cache

from nlbus import KernelError, State, Subscriber, snapshot
from nlbus.sources import find
from tests.support.operations.differences import Difference, differences
from tests.support.operations.player import Player
from tests.support.operations.sequences import Churn

QUIET = 0.6  # seconds: longer than a repair waits before it looks again
PATIENCE = 4.0  # until rows that differ are a difference: a namespace is taken apart after its link has gone


@cache
def keyed(source: str) -> tuple[str, ...]:
    """The tables of a source that have a key and that this kernel can dump."""
    found = []
    for schema in find(source).schemas:
        if schema.key and schema.dump:
            try:
                snapshot(source, schema.name)
            except KernelError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
            else:
                found.append(schema.name)
    return tuple(found)


class Trial(Player):
    """A sequence in namespaces of its own; the State of its subscriber and one fed by the same batches."""

    def __init__(self, sequence: Churn) -> None:
        super().__init__()
        self.sequence = sequence
        self.lost = 0
        self.found: list[Difference] = []
        self.tables = keyed(sequence.source)
        if sequence.late:
            self.all(sequence.prelude)
        self.subscriber = Subscriber(
            sequence.source,
            tables=self.tables,
            snapshot=True,
            netns=self.home.fd,
            on_loss="ignore",
            buffer_events=8 if sequence.small else None,
        )
        self.state = State(sequence.source, *self.tables)
        if not sequence.late:
            self.all(sequence.prelude)

    def play(self) -> None:
        """Do all operations, and receive now and then."""
        done = 0
        for tool, operations in self.sequence.bursts():
            self.burst(tool, operations)
            done += len(operations)
            if done - 1 in self.sequence.breaks:
                self.receive()

    def receive(self) -> bool:
        """Receive and apply all that is there; whether there was anything."""
        heard = False
        while True:
            batch = self.subscriber.recv(timeout=0)
            self.lost += bool(batch.loss)
            if not len(batch) and batch.origin == "live":
                return heard
            heard = heard or bool(len(batch))
            self.state.apply(batch)

    def compare(self, audited: bool = False) -> list[Difference]:
        """What the subscriber's State says otherwise than the kernel, and one fed by its batches."""
        states = {"fed": self.state, "own": self.subscriber.state}
        with self.home.inside():
            self.found = [
                found
                for table in self.tables
                for found in differences(self.sequence.source, table, states, audited)
            ]
        return self.found

    def close(self) -> None:
        """Leave everything to the kernel."""
        self.subscriber.close()
        self.leave()


def run(sequences: Sequence[Churn], at_once: int = 10) -> list[Trial]:
    """Play sequences, several at once, wait until it is quiet, and compare; the trials are closed."""
    done: list[Trial] = []
    for first in range(0, len(sequences), at_once):
        trials = []
        try:
            for sequence in sequences[first : first + at_once]:
                trials.append(Trial(sequence))
                trials[-1].play()
                for trial in trials:
                    if not trial.sequence.small:
                        trial.receive()
            _agree(trials, audited=False)
            sound = [trial for trial in trials if not trial.found]
            _agree(sound, audited=True)
        finally:
            for trial in trials:
                trial.close()
        done += trials
    return done


def _agree(trials: Sequence[Trial], audited: bool) -> None:
    """Wait until the States say what the kernel has, within reason."""
    until = time.monotonic() + PATIENCE
    quiet, differ = QUIET, [*trials]
    while differ:
        if audited:
            for trial in differ:
                trial.subscriber.state.audit()
        _settle(differ, quiet / 4 if audited else quiet)
        differ = [trial for trial in differ if trial.compare(audited)]
        quiet = QUIET / 3
        if time.monotonic() > until:
            break


def _settle(trials: Sequence[Trial], quiet: float) -> None:
    """Receive until nothing has come for so long."""
    until = time.monotonic() + quiet
    most = time.monotonic() + 8
    while time.monotonic() < min(until, most):
        time.sleep(0.01)
        if True in [trial.receive() for trial in trials]:
            until = time.monotonic() + quiet
