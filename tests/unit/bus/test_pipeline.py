"""The pipeline: all pieces in order, errors from either side, and bounded memory."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nlbus.bus.pipeline import DISTANCE, pipelined


@pytest.fixture(params=[1, 2], ids=["one core", "two cores"])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(request.param)))
    return request.param


def running() -> set[int]:
    """The threads of this process."""
    return {int(each.name) for each in Path("/proc/self/task").iterdir()}


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = running()
    yield
    give_up = time.monotonic() + 5
    while left := running() - before:
        assert time.monotonic() < give_up, left
        time.sleep(0.001)


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_all_pieces_are_worked_on_in_order(cores: int, count: int) -> None:
    threads = set()

    def work(number: int) -> int:
        threads.add(threading.get_native_id())
        return number * 10

    assert pipelined(work, range(count)) == [10 * i for i in range(count)]
    assert (threads <= {threading.get_native_id()}) == (cores == 1 or count < 2)


def test_an_error_in_the_work_ends_the_pipeline(cores: int) -> None:
    fetched = []

    def pieces() -> Iterator[int]:
        for i in range(1000):
            fetched.append(i)
            yield i

    def work(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        return number

    with pytest.raises(ValueError, match="five"):
        pipelined(work, pieces())
    assert len(fetched) <= 5 + DISTANCE + 1


def test_an_error_while_fetching_is_raised(cores: int) -> None:
    def pieces() -> Iterator[int]:
        yield from range(3)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        pipelined(str, pieces())


def test_the_number_of_waiting_pieces_is_bounded(cores: int) -> None:
    waiting = most = 0
    lock = threading.Lock()

    def pieces() -> Iterator[int]:
        nonlocal waiting, most
        for i in range(30):
            with lock:
                waiting += 1
                most = max(most, waiting)
            yield i

    def work(number: int) -> None:
        nonlocal waiting
        threading.Event().wait(0.001)
        with lock:
            waiting -= 1

    pipelined(work, pieces())
    # The waiting pieces, the one in work and the one just fetched.
    assert most <= DISTANCE + 1
