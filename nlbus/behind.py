"""Work on what comes in a thread behind the one that receives it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

S = TypeVar("S")
T = TypeVar("T")

DISTANCE = 2  # pieces that wait at most: their memory is held


def behind(work: Callable[[S], T], pieces: Iterable[S]) -> list[T]:
    """What `work` makes of each piece, in their order.

    From the second piece on, and where there is more than one core, it goes on in a thread while the next
    pieces are fetched: both must spend their time without the GIL for that to be worth it. The first error of
    either ends it.
    """
    done: list[T] = []
    going: list[Future[T]] = []
    with ExitStack() as stack:
        pool: ThreadPoolExecutor | None = None
        for number, piece in enumerate(pieces):
            if number == 1 and len(os.sched_getaffinity(0)) > 1:
                pool = stack.enter_context(_pool())
            if pool is None:
                done.append(work(piece))
                continue
            going.append(pool.submit(work, piece))
            if len(going) > DISTANCE:
                going[-1 - DISTANCE].result()
        return done + [each.result() for each in going]


def _pool() -> ThreadPoolExecutor:
    # Who imports nlbus need not wait for what only large dumps use.
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    return ThreadPoolExecutor(1, "nlbus-behind")
