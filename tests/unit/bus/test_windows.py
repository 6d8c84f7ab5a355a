"""Windows of a feed: every row once, empty windows during silence, and the possible losses in each."""

import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlbus import Batch, ClosedError, Loss, SchemaError, Window
from tests.support.feeds import Given, Sent, batches
from tests.support.reference import kernel_chain
from tests.unit.capture.test_faulty import link

SECOND = 10**9


class Replayed(Given):
    live = False


def at(*seconds: float) -> list[Batch]:
    """A link at each of these times, numbered from 1."""
    return batches(
        "route", [Sent(round(s * SECOND), kernel_chain(link(i)), 1) for i, s in enumerate(seconds, 1)]
    )


def lost(batch: Batch, count: int, earliest: float, latest: float) -> Batch:
    batch.loss = Loss.of(
        [("overrun", 0, count, False, round(earliest * SECOND), round(latest * SECOND))], 0, False
    )
    return batch


def summary(windows: list[Window]) -> list[tuple[float, float, list[int]]]:
    return [(w.start / SECOND, w.end / SECOND, w["ifindex"].tolist()) for w in windows]


def cut(some: list[Batch], seconds: float = 1) -> list[Window]:
    return list(Replayed("route", some).windows("link", seconds))


def test_windows_end_at_whole_seconds_and_silence_gives_empty_windows() -> None:
    assert summary(cut(at(10.5, 10.9, 11.0, 11.2, 14.1))) == [
        (10.5, 11.0, [1, 2]),
        (11.0, 12.0, [3, 4]),
        (12.0, 13.0, []),
        (13.0, 14.0, []),
        (14.0, pytest.approx(14.1, abs=1e-6), [5]),
    ]


def test_a_window_is_a_table() -> None:
    (window,) = cut(at(1.0, 1.5))
    assert [column.name for column in window.columns][:2] == ["nl_row", "nl_time"]
    assert len(window.filter(window["ifindex"] == 2)) == 1
    assert window.lost == (0, 0)
    assert cut([]) == []


def test_a_loss_is_in_every_window_that_it_may_affect() -> None:
    one, two, three, four = at(10.5, 11.5, 14.5, 15.5)
    lost(two, 3, 11.1, 11.5)  # within one window
    lost(three, 5, 11.5, 14.5)  # since the batch before
    windows = cut([one, two, three, four])
    assert [(w.start / SECOND, w.lost) for w in windows] == [
        (10.5, (0, 0)),
        (11.0, (3, 8)),
        (12.0, (0, 5)),
        (13.0, (0, 5)),
        (14.0, (0, 5)),
        (15.0, (0, 0)),
    ]


def test_a_loss_detected_late_is_reported_in_the_open_window() -> None:
    one, two = at(10.5, 20.5)
    three = lost(at(20.9)[0], 7, 3.0, 4.0)
    windows = cut([one, two, three])
    assert [w.lost for w in windows[:-1]] == [(0, 0)] * 10
    assert windows[-1].lost == (0, 7)


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30)), max_size=30),
    st.sampled_from([0.5, 1, 3]),
)
@settings(max_examples=80, deadline=None)
def test_every_row_and_every_loss_is_in_a_window(
    times: list[int], losses: list[tuple[int, int]], seconds: float
) -> None:
    """Even if the clock was set back."""
    some = at(*(100 + t / 10 for t in times))
    for batch, (count, reach) in zip(some, losses, strict=False):
        now = batch.time_ns / SECOND
        if count:
            lost(batch, count, now - reach / 10, now)
    windows = cut(some, seconds)
    assert [i for w in windows for i in w["ifindex"].tolist()] == [*range(1, len(times) + 1)]
    assert all(a.end == b.start for a, b in pairwise(windows))
    rows = {row.tobytes() for batch in some for row in batch.loss.rows}
    assert rows == {row.tobytes() for w in windows for row in w.loss.rows}


class _Quiet(Given):
    def recv(self, timeout: float | None = None) -> Batch:
        assert timeout is not None
        time.sleep(timeout)
        if time.time_ns() > self.until:
            raise ClosedError("closed")
        return Batch.from_datagrams("route", [])

    until = 0


def test_a_live_feed_has_windows_without_events() -> None:
    feed = _Quiet("route", [])
    began = time.time_ns()
    feed.until = began + SECOND // 2
    windows = list(feed.windows("link", 0.1))
    assert 4 <= len(windows) <= 8
    assert began <= windows[0].start < windows[0].end
    assert all(a.end == b.start and a.end % (SECOND // 10) == 0 for a, b in pairwise(windows))
    assert all(len(w) == 0 and len(w.columns) > 10 for w in windows)


@pytest.mark.parametrize("seconds", [0, -1, 1e-12])
def test_an_invalid_window_length_is_refused(seconds: Any) -> None:
    with pytest.raises(SchemaError, match="above 0"):
        Given("route", []).windows("link", seconds)
