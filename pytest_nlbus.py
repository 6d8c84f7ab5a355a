"""A pytest plugin: the fixture nlbus_replay, for tests of listeners. It imports nlbus only when used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import pytest

if TYPE_CHECKING:
    from nlbus.bus.stream import Feed, OnLoss


class Replay(Protocol):
    """Opens a capture as a feed, which reads like a Subscriber and is closed at the end of the test."""

    def __call__(
        self,
        file: str | os.PathLike[str] | BinaryIO,
        source: str | None = None,
        *,
        seed: int = 0,
        drop: float = 0.0,
        cut: float = 0.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        on_loss: OnLoss = "ignore",
    ) -> Feed:
        """`file` and `source` are those of nlbus.open_capture, the rest those of nlbus.faults.Faulty."""


@pytest.fixture
def nlbus_replay() -> Iterator[Replay]:
    """Opens a capture file, of `nlbus record` or of nlmon, to be read like a Subscriber, with faults.

    nlbus_replay("flap.pcapng") reads like a Subscriber. nlbus_replay("flap.pcapng", drop=0.1, seed=7) loses
    one message in ten, the same ones each time, and reports them in batch.loss. See nlbus.faults.Faulty.
    """
    from nlbus.capture import open_capture  # noqa: PLC0415 - see above
    from nlbus.faults import Faulty  # noqa: PLC0415

    opened: list[Feed] = []

    def replay(
        file: str | os.PathLike[str] | BinaryIO,
        source: str | None = None,
        on_loss: OnLoss = "ignore",
        **faults: Any,
    ) -> Feed:
        opened.append(open_capture(file, source, on_loss="ignore"))
        opened.append(Faulty(opened[-1], on_loss=on_loss, **faults))
        return opened[-1]

    yield replay
    for feed in reversed(opened):
        feed.close()
