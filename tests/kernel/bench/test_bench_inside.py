"""The benchmark's sections about nlbus itself, at minimum size: everything is counted, nothing is judged."""

import gc
import os
import resource
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from nlbus import Publisher
from nlbus.bench import Measurement, Missing, pairing
from nlbus.bench.native import NoCompiler
from nlbus.bench.pairing import Uncounted
from nlbus.bench.plans import Scale
from nlbus.bench.sampling import sampled
from nlbus.bench.sections import axes, latency, latency_peer, profile
from nlbus.bench.sections.growth import AXES, Axis, curve
from tests.support.sockets import ip

TINY = Scale("quick", 1, 0.1)
ENDS = {"masks": (1, 40), "bystanders": (0, 3), "columns": (1, 5), "routes": (10, 30)}


def small(axis: Axis) -> Axis:
    fields = {name: getattr(axis, name) for name in axis.__dataclass_fields__}
    return Axis(**fields | {"quick": ENDS.get(axis.name, (axis.quick[0], axis.quick[1]))})


def silent(_: str) -> None:
    pass


@pytest.fixture(autouse=True)
def one_round(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One round per measurement; checks that no core, descriptor or process is left over."""
    ip("link set lo up")
    monkeypatch.setattr(pairing, "LEAST_ROUNDS", 1)
    gc.collect()  # leftovers of other tests
    before = os.sched_getaffinity(0), len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert (os.sched_getaffinity(0), len(list(Path("/proc/self/fd").iterdir()))) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.name)
def test_a_curve_has_points_that_lost_nothing_and_a_slope(axis: Axis) -> None:
    *points, whole = curve(small(axis), TINY, silent)
    assert len(points) == 2
    for one in (*points, whole):
        assert isinstance(one, Measurement), one
        assert (one.delivered, one.lost) == (one.sent, 0)
        assert one.sent > 0
        assert one.parameters["axis"] == axis.name
    assert "no point off by more than" in whole.note
    assert [point[0] for point in whole.details["points"]] == [one.parameters[axis.name] for one in points]


def test_a_point_that_cannot_be_measured_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(axes, "SPARE", hard)
    (axis,) = (small(axis) for axis in AXES if axis.name == "bystanders")
    few, none = curve(axis, TINY, silent)
    assert isinstance(none, Measurement)
    assert isinstance(few, Missing)
    assert "raise ulimit -n" in few.why
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


@pytest.mark.timeout(180)  # of processes to start
def test_latency_covers_all_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "TRIPS", {"loaded": 5})
    monkeypatch.setitem(latency.LINGER_SECONDS, "quick", 0.02)
    found = list(latency.measure(TINY, silent))
    assert all(isinstance(one, Measurement) for one in found)
    measured = [one for one in found if isinstance(one, Measurement)]
    assert [(one.subject, one.parameters["load"]) for one in measured if "load" in one.parameters] == [
        (subject, "loaded") for subject in ("C pair", "nlbus recv", "nlbus asyncio")
    ]
    for one in measured:
        assert one.details["p50"] <= one.details["p99"] <= one.details["p99.9"]
        assert sum(one.details["histogram"]["counts"]) == one.delivered > 0
        assert one.delivered + one.lost == one.sent
        assert "load" not in one.parameters or one.sent == 4 * 5  # one turn per side, without warm-up
    coalesced = {
        (one.parameters["offered"], one.parameters["linger"]): one.details["events_per_datagram"]
        for one in measured
        if "linger" in one.parameters
    }
    assert coalesced[0.0, 0.0] == 1
    assert coalesced[0.0, 0.001] > 10


def test_a_publisher_behind_schedule_makes_events_late(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[tuple[int, int]] = []  # time stamp and publishing time

    class Slow(Publisher):
        def publish(self, data, **_) -> None:  # type: ignore[no-untyped-def,override]
            published.append((int(data["ns"]), time.monotonic_ns()))
            time.sleep(0.001)

    monkeypatch.setattr(latency_peer, "Publisher", Slow)
    latency_peer.run(9, 0.0, 10_000.0, 20)
    assert {after[0] - before[0] for before, after in pairwise(published)} == {100_000}
    assert published[-1][1] - published[-1][0] > 15_000_000
    published.clear()
    latency_peer.run(9, 0.0, 0.0, 3)
    assert all(after[0] - before[0] > 1_000_000 for before, after in pairwise(published))


@pytest.mark.timeout(180)  # of processes to start
def test_without_a_compiler_latency_reports_c_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise NoCompiler("no C compiler (cc): install gcc")

    monkeypatch.setattr(latency, "compiled", none)
    monkeypatch.setattr(latency, "TRIPS", {"idle": 5})
    missing, recv, by_asyncio = latency.ping_pong(TINY, "idle")
    assert isinstance(missing, Missing)
    assert "install gcc" in missing.why
    for one in (recv, by_asyncio):
        assert isinstance(one, Measurement)
        assert (one.ratios, one.control, one.reference) == ((), (), "")


@pytest.mark.parametrize("make", [lambda: profile.raw(16), lambda: profile.bus(504), profile.route])
def test_stages_add_up_to_the_whole(make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "CHANGES", 50)
    with make() as work:
        *stages, whole = profile.staged(work, TINY, 0.1)
    assert [one.subject for one in stages][:2] == ["kernel", "copy"]
    assert sum(one.median for one in stages) == pytest.approx(whole.median)
    for one in (*stages, whole):
        assert (one.delivered, one.lost) == (one.sent, 0)
        assert one.sent > 0


def test_a_loop_that_misses_events_ends_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "batches", lambda sub: lambda: len(sub.recv(0)) - 1)
    with profile.raw(1) as work, pytest.raises(Uncounted, match="delivered of"):
        list(profile.staged(work, TINY, 0.1))


@pytest.mark.timeout(180)  # of processes to start
def test_perf_reports_shares_or_is_missing() -> None:
    found = sampled(16, 0.3)
    if isinstance(found, Missing):
        assert "perf" in found.why
    else:
        assert sum(found.details["shares"].values()) == pytest.approx(1)
        assert "kernel: all else" in found.details["shares"]


def test_a_point_whose_events_do_not_add_up_is_missing_and_the_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = axes.Reader.drain
    monkeypatch.setattr(axes.Reader, "drain", lambda self: honest(self) - (len(self.sub.groups) > 1))
    (axis,) = (small(axis) for axis in AXES if axis.name == "groups")
    two, one = curve(axis, TINY, silent)
    assert isinstance(one, Measurement)
    assert isinstance(two, Missing)
    assert "delivered" in two.why
