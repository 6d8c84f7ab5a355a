"""Joining and leaving where the kernel must be asked, on the very socket that listens."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

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
    _send(receiver, source.handshake.join(group, options, seq), action, source.needs)
    batches: list[Batch] = []
    give_up = time.monotonic() + PATIENCE
    while True:
        news, answers = _drain(receiver, source, seq)
        batches += news
        if answers:
            if answers[0]:
                raise kernel_error(answers[0], action, source.needs)
            return batches, len(answers)
        if time.monotonic() > give_up:
            raise KernelError(0, f"{action}: the kernel does not answer; {source.handshake.silence}")
        time.sleep(NAP)


def leave(receiver: Receiver, source: Source, group: int) -> tuple[list[Batch], int]:
    """Ask for no more events of a group; what was received until then, and how many answers were in it."""
    assert source.handshake is not None
    seq = next(_numbers)
    action = f"leaving {source.name} ({', '.join(group_names(source, [group]))})"
    _send(receiver, source.handshake.leave(group, seq), action, source.needs)
    batches, answers = _drain(receiver, source, seq)
    return batches, len(answers)


def _send(receiver: Receiver, message: bytes, action: str, help: str) -> None:
    try:
        receiver.send(message)
    except OSError as error:
        raise kernel_error(error.errno or 0, action, help) from error


def _drain(receiver: Receiver, source: Source, seq: int) -> tuple[list[Batch], list[int]]:
    """All that is queued, without the answers to request `seq`, and those."""
    assert source.handshake is not None
    batches = []
    answers = []
    for block in receiver.drain():
        batch = Batch(block, Loss(block.losses, block.open, block.grew))
        rows = batch.messages
        mine = rows["seq"] == seq
        for i in mine.nonzero()[0].tolist():
            row = rows[i]
            reply = Reply(int(row["type"]), int(row["flags"]), batch.payload(i))
            answer = source.handshake.answer(reply, seq)
            if answer is None:
                mine[i] = False
            else:
                answers.append(answer)
        if mine.any():
            batch = batch.select(~mine)
        if batch or batch.loss:
            batches.append(batch)
    return batches, answers
