"""Joining and leaving where the kernel must be asked, on the very socket that listens."""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import numpy as np

from nlbus.bus.batch import Batch
from nlbus.errors import KernelError, NlbusError, kernel_error
from nlbus.kernel.requests import Reply
from nlbus.sources import Source, group_names, help_with
from nlbus.table.loss import Loss
from nlbus.table.query import Reading

if TYPE_CHECKING:
    from nlbus._core.receive.receiver import Receiver

PATIENCE = 1.0  # seconds; the kernel answers at once, or never
NAP = 0.001

_numbers = itertools.count(int.from_bytes(os.urandom(3), "little") + 1)


class News(Protocol):
    """Who takes what is received while the kernel is asked."""

    def __call__(self, batches: list[Batch], answers: int) -> None:
        """`answers` messages were taken out of these batches, which are to be delivered."""


def join(receiver: Receiver, reading: Reading, group: int, options: Mapping[str, float], keep: News) -> None:
    """Ask for the events of a group. What is received meanwhile goes to `keep`, whatever comes of it.

    PermissionDenied or KernelError, as the kernel answers, or if it does not. Without an answer, be it for
    Ctrl-C, it is told to forget about us.
    """
    source = reading.source
    assert source.handshake is not None
    seq = next(_numbers)
    action = f"joining {source.name} ({', '.join(group_names(source, [group]))})"
    _send(receiver, source, source.handshake.join(group, options, seq), action)
    answer = None
    try:
        answer = _await(receiver, reading, seq, keep)
    finally:
        if answer is None:
            with suppress(OSError, NlbusError):
                receiver.send(source.handshake.leave(group, seq))
    if answer is None:
        raise KernelError(0, f"{action}: the kernel does not answer; {source.handshake.silence}")
    if answer:
        raise kernel_error(answer, action, help_with(source, answer))


def leave(receiver: Receiver, reading: Reading, group: int, keep: News) -> None:
    """Ask for no more events of a group; what was received until then goes to `keep`."""
    source = reading.source
    assert source.handshake is not None
    seq = next(_numbers)
    action = f"leaving {source.name} ({', '.join(group_names(source, [group]))})"
    _send(receiver, source, source.handshake.leave(group, seq), action)
    _drain(receiver, reading, seq, keep)


def _await(receiver: Receiver, reading: Reading, seq: int, keep: News) -> int | None:
    """The answer to request `seq`; None if there is none."""
    give_up = time.monotonic() + PATIENCE
    while (answer := _drain(receiver, reading, seq, keep)) is None and time.monotonic() <= give_up:
        time.sleep(NAP)
    return answer


def _send(receiver: Receiver, source: Source, message: bytes, action: str) -> None:
    assert source.handshake is not None
    try:
        receiver.send(message)
    except OSError as error:
        number = error.errno or 0
        nobody_there = number == errno.ECONNREFUSED
        help = source.handshake.silence if nobody_there else help_with(source, number)
        raise kernel_error(number, action, help) from error


def _drain(receiver: Receiver, reading: Reading, seq: int, keep: News) -> int | None:
    """All that is queued goes to `keep`, but for the answer to request `seq`, which is returned."""
    batches = []
    answer = None
    for block in receiver.drain():
        batch = Batch(block, Loss(block.losses, block.open, block.grew), reading)
        if answer is None:
            at, answer = _find(reading.source, batch, seq)
            if answer is not None:
                batch = batch.select(np.arange(len(batch)) != at)
        if batch or batch.loss:
            batches.append(batch)
    keep(batches, int(answer is not None))
    return answer


def _find(source: Source, batch: Batch, seq: int) -> tuple[int, int | None]:
    """Which message is the answer, and what it says."""
    assert source.handshake is not None
    for i, (kind, flags) in enumerate(batch.messages[["type", "flags"]].tolist()):
        answer = source.handshake.answer(Reply(kind, flags, batch.payload(i)), seq)
        if answer is not None:
            return i, answer
    return -1, None
