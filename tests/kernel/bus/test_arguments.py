"""Invalid numbers: every function that takes one refuses it at once, with a SchemaError."""

import asyncio
import io
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlbus import (
    AsyncSubscriber,
    Listener,
    Publisher,
    SchemaError,
    Subscriber,
    open_capture,
    packet,
    record,
    set_module,
    wait,
)
from nlbus.bus.stream import Feed
from nlbus.faults import Faulty
from nlbus.listener.command import Command
from nlbus.listener.rule import Rule
from tests.support.captures import interface, section

FEEDS = ("Subscriber", "Capture", "Faulty")
NONSENSE = [math.nan, -math.inf, -1, -0.5, 1e12, -(10**5000), 10**5000, "5", b"5", [], object()]
BEYOND = st.one_of(
    st.floats(max_value=-1e-9),
    st.floats(min_value=1.1e9, allow_infinity=False),
    st.text(),
    st.integers(min_value=1 << 80),
)
# Functions that take infinity as no limit.
ENDLESS = {
    *(f"{feed}.{name}" for feed in FEEDS for name in ("recv", "batches", "collect")),
    *("wait", "AsyncSubscriber.recv", "AsyncSubscriber.batches", "record", "Listener.run"),
}
Call = Callable[[Any], object]


def feeds(stack: ExitStack) -> list[Feed]:
    live = stack.enter_context(Subscriber("route", "link"))
    data = section() + interface()
    capture = stack.enter_context(open_capture(io.BytesIO(data)))
    return [live, capture, Faulty(stack.enter_context(open_capture(io.BytesIO(data))))]


def every_call(stack: ExitStack, tmp_path: Path) -> dict[str, Call]:
    """Each public function with a number of seconds or a count, as a function of that number."""
    calls: dict[str, Call] = {}
    for feed in feeds(stack):
        name = type(feed).__name__
        calls |= {
            f"{name}.recv": feed.recv,
            f"{name}.batches": feed.batches,
            f"{name}.batches stop_after": lambda value, feed=feed: feed.batches(stop_after=value),
            f"{name}.collect": lambda value, feed=feed: feed.collect("link", seconds=value),
            f"{name}.collect rows": lambda value, feed=feed: feed.collect("link", rows=value),
            f"{name}.windows": lambda value, feed=feed: feed.windows("link", value),
        }
    live = feeds(stack)[0]
    assert isinstance(live, Subscriber)
    waiting = AsyncSubscriber("route", "link")
    stack.callback(waiting.close)
    app = Listener()
    app.on("route", table="link")(lambda event: None)
    file, rows = tmp_path / "file.pcapng", tmp_path / "rows.arrows"
    return calls | {
        "wait": lambda value: wait([live], value),
        "AsyncSubscriber.recv": lambda value: asyncio.run(waiting.recv(value)),
        "AsyncSubscriber.batches": waiting.batches,
        "AsyncSubscriber.batches stop_after": lambda value: waiting.batches(stop_after=value),
        "record": lambda value: record(file, live, seconds=value),
        "record count": lambda value: record(file, live, count=value),
        "record roll_bytes": lambda value: record(rows, live, table="link", roll_bytes=value),
        "record roll_seconds": lambda value: record(rows, live, table="link", roll_seconds=value),
        "Listener.run": lambda value: app.run(seconds=value),
        "Listener.run count": lambda value: app.run(count=value),
        "Listener.run workers": lambda value: app.run(workers=value, seconds=0),
        "Listener.run queue": lambda value: app.run(queue=value, seconds=0),
        "Listener.on debounce": lambda value: Listener().on("route", debounce=value)(print),
        "Listener.on buffer_events": lambda value: Listener().on("route", buffer_events=value)(print),
        "Command": lambda value: Command("true", timeout=value),
        "Rule": lambda value: Rule(source="route", handler=Command("true"), debounce=value),
        "Faulty": lambda value: Faulty(live, drop=value),
        "Subscriber buffer_events": lambda value: Subscriber("route", buffer_events=value),
        "Subscriber max_memory": lambda value: Subscriber("route", max_memory=value),
        "Publisher": lambda value: Publisher(linger=value),
        "Publisher datagram_bytes": lambda value: Publisher(datagram_bytes=value),
        "set_module": lambda value: set_module(linger_us=value),
        "packet.delete": packet.delete,
        "packet.Rule": lambda value: packet.Rule(action="sample", one_in=value),
    }


@pytest.fixture
def calls(tmp_path: Path) -> Iterator[dict[str, Call]]:
    with ExitStack() as stack:
        yield every_call(stack, tmp_path)


def test_invalid_numbers_are_refused_at_once(calls: dict[str, Call]) -> None:
    for name, call in calls.items():
        for value in NONSENSE if name in ENDLESS else [*NONSENSE, math.inf]:
            began = time.monotonic()
            with pytest.raises(SchemaError):
                call(value)
                pytest.fail(f"{name} accepts {value!r}")
            assert time.monotonic() - began < 5


def test_numbers_beyond_the_bounds_are_refused(calls: dict[str, Call]) -> None:
    @given(st.sampled_from(sorted(calls)), BEYOND)
    @settings(max_examples=400)
    def check(name: str, value: object) -> None:
        with pytest.raises(SchemaError):
            calls[name](value)

    check()
