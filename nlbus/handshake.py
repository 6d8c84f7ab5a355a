"""Joining and leaving where the kernel must be asked, on the very socket that listens."""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nlbus.batch import Batch
from nlbus.errors import KernelError, kernel_error
from nlbus.loss import Loss
from nlbus.request import Reply
from nlbus.sources import Source, group_names

if TYPE_CHECKING:
    from nlbus._core.receive import Receiver

PATIENCE = 1.0  # seconds; the kernel answers at once, or never
NAP = 0.001

_numbers = itertools.count(int.from_bytes(os.urandom(3), "little") + 1)


def join(
    receiver: Receiver, source: Source, group: int, options: Mapping[str, float]
) -> tuple[list[Batch], int]:
    """Ask for the events of a group; what was received meanwhile, and how many answers were taken out of it.

    PermissionDenied or KernelError, as the kernel answers, or if it does not.
    """
    assert source.handshake is not None
    seq = next(_numbers)
    action = f"joining {source.name} ({', '.join(group_names(source, [group]))})"
    _send(receiver, source, source.handshake.join(group, options, seq), action)
    batches: list[Batch] = []
    give_up = time.monotonic() + PATIENCE
    while True:
        news, answer = _drain(receiver, source, seq)
        batches += news
        if answer is not None:
            if answer:
                raise kernel_error(answer, action, source.needs)
            return batches, 1
        if time.monotonic() > give_up:
            raise KernelError(0, f"{action}: the kernel does not answer; {source.handshake.silence}")
        time.sleep(NAP)


def leave(receiver: Receiver, source: Source, group: int) -> tuple[list[Batch], int]:
    """Ask for no more events of a group; what was received until then, and how many answers were in it."""
    assert source.handshake is not None
    seq = next(_numbers)
    action = f"leaving {source.name} ({', '.join(group_names(source, [group]))})"
    _send(receiver, source, source.handshake.leave(group, seq), action)
    batches, answer = _drain(receiver, source, seq)
    return batches, int(answer is not None)


def _send(receiver: Receiver, source: Source, message: bytes, action: str) -> None:
    assert source.handshake is not None
    try:
        receiver.send(message)
    except OSError as error:
        nobody_there = error.errno == errno.ECONNREFUSED
        help = source.handshake.silence if nobody_there else source.needs
        raise kernel_error(error.errno or 0, action, help) from error


def _drain(receiver: Receiver, source: Source, seq: int) -> tuple[list[Batch], int | None]:
    """All that is queued, without the answer to request `seq`, and that."""
    batches = []
    answer = None
    for block in receiver.drain():
        batch = Batch(block, Loss(block.losses, block.open, block.grew))
        if answer is None:
            at, answer = _find(source, batch, seq)
            if answer is not None:
                batch = batch.select(np.arange(len(batch)) != at)
        if batch or batch.loss:
            batches.append(batch)
    return batches, answer


def _find(source: Source, batch: Batch, seq: int) -> tuple[int, int | None]:
    """Which message is the answer, and what it says."""
    assert source.handshake is not None
    for i, (kind, flags) in enumerate(batch.messages[["type", "flags"]].tolist()):
        answer = source.handshake.answer(Reply(kind, flags, batch.payload(i)), seq)
        if answer is not None:
            return i, answer
    return -1, None
