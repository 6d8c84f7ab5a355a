"""The publishing end of the section `transports`, without a receiver. Speed is not judged."""

import itertools
import time
from collections.abc import Sequence

import numpy as np
import pytest

from nlbus.bench.plans import Scale
from nlbus.bench.transports.jobs import RATES, SOME, event, jobs
from nlbus.bench.transports.transport import Events, Publisher
from nlbus.bench.transports.worker import TICK, Speaker


class Noted(Publisher):
    """Records its events, and takes some time for each call."""

    def __init__(self, nap: float = 0.0) -> None:
        self.nap = nap
        self.calls: list[Events] = []

    def publish_one(self, data: bytes) -> None:
        raise AssertionError("one by one")

    def publish_each(self, events: Sequence[bytes]) -> None:
        assert all(type(data) is bytes for data in events)
        self.publish_batch(np.frombuffer(b"".join(events), event(len(events[0]))))

    def publish_batch(self, events: Events) -> None:
        self.calls.append(events)
        time.sleep(self.nap)


each_kind = pytest.mark.parametrize(("size", "batch"), [(64, 1), (1024, 1), (64, 100)])


@each_kind
def test_at_full_speed_events_are_numbered_until_the_time_is_up(size: int, batch: int) -> None:
    end = Noted(0.0005)
    result = Speaker(end).publish(7, size, batch, 0, 0.02)
    events = np.concatenate(end.calls)
    assert result["sent"] == len(events)
    assert result["end"] - result["start"] >= 0.02 * 1e9
    assert (events["seq"] == np.arange(7, 7 + len(events))).all()
    assert (events["value"] == 0.5).all()
    assert not events["time"].any()


@each_kind
def test_at_a_fixed_rate_bursts_are_due_each_millisecond(size: int, batch: int) -> None:
    end = Noted()
    result = Speaker(end).publish(1, size, batch, 100_000, 0.02)
    assert {len(events) for events in end.calls} == {100}
    due = [int(events["time"][0]) - result["start"] for events in end.calls]
    assert due == [round(i * TICK * 1e9) for i in range(len(due))]
    assert all((events["time"] == events["time"][0]).all() for events in end.calls)
    assert result["sent"] <= 2000


def test_a_late_event_has_its_due_time() -> None:
    end = Noted(0.005)
    result = Speaker(end).publish(1, 64, 1, 10_000, 0.02)
    due = [int(events["time"][0]) - result["start"] for events in end.calls]
    assert due == [1_000_000 * i for i in range(len(due))]
    assert result["sent"] < 100


def test_a_batch_may_exceed_a_burst() -> None:
    end = Noted()
    result = Speaker(end).publish(1, 64, 1024, 500_000, 0.01)
    assert np.diff([int(events["time"][0]) for events in end.calls]).tolist() == [2_048_000] * (
        result["sent"] // 1024 - 1
    )


def test_every_kind_of_event_is_offered_at_all_rates_and_subscriber_counts() -> None:
    found = jobs(Scale("full", 1, 1))
    for count, (size, single) in itertools.product((1, 2, 4, 8), RATES):
        rates = {
            job.offered
            for job in found
            if (job.subscribers, job.size, job.batch == 1) == (count, size, single)
        }
        assert {0, SOME[size, single]} <= rates
        if count in (1, 4):
            assert rates == {0, *RATES[size, single]}
