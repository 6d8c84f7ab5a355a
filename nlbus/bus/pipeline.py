"""A pipeline of two threads: one receives, the other works on what was received."""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from queue import SimpleQueue
from threading import Semaphore
from typing import Generic, TypeVar

S = TypeVar("S")
T = TypeVar("T")

DISTANCE = 2  # pieces that may wait: they hold memory


def pipelined(work: Callable[[S], T], pieces: Iterable[S]) -> list[T]:
    """The results of `work` for each piece, in order.

    From the second piece on, and with more than one core, `work` runs in a thread while this one fetches the
    next pieces: this pays only if both release the GIL most of the time. The first error ends it.
    """
    done: list[T] = []
    with ExitStack() as stack:
        follower: _Follower[S, T] | None = None
        for number, piece in enumerate(pieces):
            if number == 1 and len(os.sched_getaffinity(0)) > 1:
                follower = stack.enter_context(_Follower(work, done))
            if follower is None:
                done.append(work(piece))
            else:
                follower.take(piece)
    return done


class _Follower(Generic[S, T]):
    """A thread that works on pieces, as long as the context lasts.

    It is a plain thread with a queue: an executor's futures cost as much as all other work between two
    receives, and threading.Thread waits until the thread runs: on an idle core a tenth of a millisecond.
    """

    def __init__(self, work: Callable[[S], T], done: list[T]) -> None:
        self._work = work
        self._done = done
        self._pieces: SimpleQueue[tuple[S] | None] = SimpleQueue()
        self._room = Semaphore(DISTANCE)
        self._error: BaseException | None = None
        self._alive = allocate_lock()

    def __enter__(self) -> _Follower[S, T]:
        self._alive.acquire()
        start_new_thread(self._follow, ())
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._pieces.put(None)
        self._alive.acquire()
        if error is None and self._error is not None:
            raise self._error

    def take(self, piece: S) -> None:
        """Queue a piece once there is room. Raises the error of an earlier one."""
        self._room.acquire()
        if self._error is not None:
            raise self._error
        self._pieces.put((piece,))

    def _follow(self) -> None:
        while (item := self._pieces.get()) is not None:
            if self._error is None:
                try:
                    self._done.append(self._work(*item))
                except BaseException as error:
                    self._error = error  # for the other thread to raise
            del item  # free its memory for the next piece
            self._room.release()
        self._alive.release()
