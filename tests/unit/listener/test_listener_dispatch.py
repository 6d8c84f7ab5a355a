"""Dispatching: threads, ordering, queue limits, debouncing."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nlbus import SchemaError
from nlbus.listener.debounce import LONGEST, Debounce
from nlbus.listener.dispatch import Dispatcher, Job, handle
from nlbus.listener.events import Event
from nlbus.listener.function import Function, Loop, entry_point
from nlbus.listener.rule import Rule


def rule(function: Callable[[Event], None], **more: object) -> Rule:
    return Rule(source="uevent", handler=Function(function, Loop()), **more)  # type: ignore[arg-type]


@pytest.fixture
def dispatchers() -> Iterator[Callable[..., Dispatcher]]:
    made: list[Dispatcher] = []

    def make(workers: int = 4, room: int = 100) -> Dispatcher:
        made.append(Dispatcher(workers, room, lambda: None))
        return made[-1]

    yield make
    for one in made:
        one.end(5)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("nlbus-worker")]


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def test_events_with_one_key_are_handled_in_order_and_others_in_parallel(
    dispatchers: Callable[..., Dispatcher],
) -> None:
    seen: list[tuple[int, int]] = []
    at_work: set[int] = set()
    most = 0

    def work(event: Event) -> None:
        nonlocal most
        assert event["key"] not in at_work
        at_work.add(event["key"])
        most = max(most, len(at_work))
        time.sleep(0.002)
        at_work.discard(event["key"])
        seen.append((event["key"], event["n"]))

    dispatcher, one = dispatchers(workers=4), rule(work)
    for n in range(80):
        assert dispatcher.submit(Job(one, {"key": n % 8, "n": n}, n % 8))
    until(lambda: dispatcher.idle)
    assert one.counts["handled"] == 80
    for key in range(8):
        assert [n for k, n in seen if k == key] == list(range(key, 80, 8))
    assert 1 < most <= 4


def test_the_queue_holds_exactly_its_limit(dispatchers: Callable[..., Dispatcher]) -> None:
    gate = threading.Event()
    dispatcher, one = dispatchers(workers=1, room=3), rule(lambda _: gate.wait(10) and None)
    assert dispatcher.submit(Job(one, {}, 0))
    until(lambda: dispatcher.room() == 3)
    assert [dispatcher.submit(Job(one, {}, n)) for n in range(5)] == [True] * 3 + [False] * 2
    gate.set()
    until(lambda: dispatcher.idle)
    assert one.counts["handled"] == 4


def test_a_function_that_raises_is_logged_and_counted(
    dispatchers: Callable[..., Dispatcher], caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher = dispatchers()
    failing = rule(lambda event: event["missing"], name="failing")
    with caplog.at_level(logging.WARNING, "nlbus"):
        for _ in range(3):
            dispatcher.submit(Job(failing, {"ACTION": "add", "DEVPATH": "/a"}, 0))
        until(lambda: dispatcher.idle)
    assert (failing.counts["failed"], failing.counts["handled"]) == (3, 0)
    assert caplog.messages == ["failing: raised, for add /a"] * 3
    assert caplog.records[0].exc_info is not None


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("coroutine", [False, True])
def test_a_function_that_exits_ends_neither_its_worker_nor_the_others(
    kind: type[BaseException], coroutine: bool, caplog: pytest.LogCaptureFixture
) -> None:
    loop = Loop()

    def work(event: Event) -> None:
        if event["n"] % 2:
            raise kind(3)

    async def awaited(event: Event) -> None:
        work(event)

    one = Rule(source="uevent", handler=Function(awaited if coroutine else work, loop), name="exits")
    loop.begin()
    dispatcher = Dispatcher(2, 10, lambda: None)
    for n in range(6):
        dispatcher.submit(Job(one, {"ACTION": "add", "DEVPATH": "/a", "n": n}, n))
    until(lambda: dispatcher.idle)
    loop.end(5)
    dispatcher.end(5)
    assert (one.counts["handled"], one.counts["failed"]) == (3, 3)
    assert caplog.messages == ["exits: raised, for add /a"] * 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("nlbus-")]


def test_ctrl_c_propagates_in_the_main_thread() -> None:
    def work(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        handle(Job(rule(work), {}, 0), -1)


def test_a_task_that_exits_when_cancelled_does_not_keep_the_loop() -> None:
    loop, began = Loop(), threading.Event()

    async def work(event: Event) -> None:
        import asyncio

        try:
            began.set()
            await asyncio.sleep(600)
        finally:
            sys.exit(3)

    one = Rule(source="uevent", handler=Function(work, loop))
    loop.begin()
    dispatcher = Dispatcher(1, 10, lambda: None)
    dispatcher.submit(Job(one, {}, 0))
    assert began.wait(10)
    loop.end(5)
    dispatcher.end(5)
    assert one.counts["failed"] == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("nlbus-")]


def test_the_end_drops_waiting_events_and_counts_them() -> None:
    gate = threading.Event()
    dispatcher, one = Dispatcher(1, 10, lambda: None), rule(lambda _: gate.wait(10) and None)
    for n in range(5):
        dispatcher.submit(Job(one, {}, n))
    until(lambda: dispatcher.room() == 6)
    threading.Timer(0.1, gate.set).start()
    assert dispatcher.end(10) == 4
    assert one.counts["handled"] == 1


def test_a_hanging_function_is_abandoned_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()
    dispatcher, one = Dispatcher(1, 10, lambda: None), rule(lambda _: gate.wait(10) and None)
    dispatcher.submit(Job(one, {}, 0))
    until(lambda: dispatcher.room() == 10)
    assert dispatcher.end(0.05) == 0
    assert caplog.messages == ["handlers do not end, in the threads nlbus-worker-0"]
    gate.set()
    until(lambda: "nlbus-worker-0" not in [thread.name for thread in threading.enumerate()])


# -- debouncing --------------------------------------------------------------------------------------------


def test_the_last_event_is_handled_after_the_quiet_time() -> None:
    debounce, one = Debounce(), rule(lambda _: None, debounce=1.0)
    for n, now in enumerate((0.0, 0.5, 1.2)):
        debounce.add(Job(one, {"n": n}, "a"), now)
    debounce.add(Job(one, {"n": 9, "nl_lost": 4}, "b"), 1.3)
    assert debounce.due() == 2.2
    assert list(debounce.take(2.1)) == []
    assert [job.event for job in debounce.take(2.25)] == [{"n": 2, "nl_count": 3}]
    assert [job.event for job in debounce.take()] == [{"n": 9, "nl_lost": 4, "nl_count": 1}]
    assert (len(debounce), one.counts["merged"]) == (0, 2)


def test_losses_of_the_events_it_replaces_are_kept() -> None:
    debounce, one = Debounce(), rule(lambda _: None, debounce=1.0)
    for lost in ({"nl_lost": 2}, {}, {"nl_lost": 3}):
        debounce.add(Job(one, dict(lost), "a"), 0)
    assert [job.event for job in debounce.take()] == [{"nl_lost": 5, "nl_count": 3}]


def test_a_source_that_is_never_quiet_is_handled_too() -> None:
    debounce, one, now = Debounce(), rule(lambda _: None, debounce=1.0), 0.0
    while not list(debounce.take(now)):
        debounce.add(Job(one, {}, "a"), now)
        now += 0.5
    assert now == LONGEST


# -- functions ----------------------------------------------------------------------------------------


def test_coroutines_run_in_one_thread_and_are_cancelled_at_the_end() -> None:
    loop, threads, cancelled = Loop(), set[str](), list[str]()

    async def work(event: Event) -> None:
        import asyncio

        threads.add(threading.current_thread().name)
        try:
            await asyncio.sleep(event["seconds"])
        except asyncio.CancelledError:
            cancelled.append("yes")
            raise

    one = Rule(source="uevent", handler=Function(work, loop))
    loop.begin()
    dispatcher = Dispatcher(4, 10, lambda: None)
    for n in range(4):
        dispatcher.submit(Job(one, {"seconds": 0.01}, n))
    until(lambda: dispatcher.idle)
    dispatcher.submit(Job(one, {"seconds": 600}, 0))
    until(lambda: dispatcher.room() == 10 and len(threads) == 1)
    time.sleep(0.05)
    loop.end(5)
    dispatcher.end(5)
    assert threads == {"nlbus-asyncio"}
    assert cancelled == ["yes"]
    assert (one.counts["handled"], one.counts["failed"]) == (4, 1)
    assert "nlbus-asyncio" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("os.path", "not module:function"),
        ("no_such_module_:f", "ModuleNotFoundError"),
        ("os:no_such", "AttributeError"),
        ("os:name", "not a function but str"),
    ],
)
def test_an_invalid_entry_point_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        entry_point(text)


def test_an_entry_point_whose_module_exits_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exits_on_import.py").write_text("raise SystemExit(5)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SchemaError, match=r"^exits_on_import:f: SystemExit: 5$"):
        entry_point("exits_on_import:f")


def test_an_entry_point_is_found() -> None:
    assert entry_point("os.path:join") is __import__("os").path.join
