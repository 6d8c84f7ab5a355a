"""Curves, their descriptions, and perf's reports, from made-up figures."""

from dataclasses import replace

import numpy as np
import pytest

from nlbus.bench.report.fitting import Bend, Line, fit, line
from nlbus.bench.sampling import NoPerf, classified
from nlbus.bench.sections import growth
from nlbus.bench.sections.growth import AXES, UNEXPLAINED, Axis, Found, summary, words
from nlbus.bench.sections.latency import EDGES_US, distribution

XS = [1, 2, 4, 8, 16, 32, 64, 128]
DOUBLING = [float(x) for x in XS]


def axis(cause: str = "") -> Axis:
    return Axis("messages", "receive", "ns/datagram", "a message", AXES[0].setup, (), (), cause)


def bent(x: float) -> float:
    return 100 + 3 * x if x <= 16 else 200 + 30 * (x - 16)


def test_a_line_is_found() -> None:
    found = fit(DOUBLING, [100 + 3 * x for x in DOUBLING])
    assert (found.line.base, found.line.slope) == (pytest.approx(100), pytest.approx(3))
    assert found.bend is None
    assert found.line.off < 1e-9


def test_the_fit_minimises_the_relative_error() -> None:
    """Otherwise the largest point, off by 10 %, would dominate the base."""
    found = line(DOUBLING, [100 + 3 * x * (1 + (x == 128) / 10) for x in DOUBLING])
    assert found.base == pytest.approx(100, rel=0.02)


def test_the_exponent_is_taken_at_the_far_end() -> None:
    assert fit(DOUBLING, [x**2 for x in DOUBLING]).exponent == pytest.approx(2)
    assert fit([1000.0, 10_000, 100_000], [5.0, 50, 500]).exponent == pytest.approx(1)


def test_a_bend_is_found_with_a_line_on_either_side() -> None:
    found = fit(DOUBLING, [bent(x) for x in DOUBLING])
    assert found.bend is not None
    assert (found.bend.x, found.bend.beyond) == (16, 32)
    assert (found.bend.before.slope, found.bend.after.slope) == (pytest.approx(3), pytest.approx(30))


def test_a_single_step_is_no_bend() -> None:
    straight = [100 + 3 * x for x in DOUBLING]
    curve = [bent(x) for x in DOUBLING]
    assert fit(DOUBLING, curve, [curve, curve]).bend is not None
    assert fit(DOUBLING, curve, [curve, straight]).bend is None
    earlier = [100 + 3 * x if x <= 2 else 200 + 30 * x for x in DOUBLING]
    assert fit(DOUBLING, earlier).bend is not None
    assert fit(DOUBLING, curve, [curve, earlier]).bend is None


def test_one_outlier_is_no_bend() -> None:
    assert fit(DOUBLING, [(100 + 3 * x) * (1 + (x == 16)) for x in DOUBLING]).bend is None


def test_an_axis_may_begin_at_zero() -> None:
    assert fit([0.0, 10, 100, 1000], [500.0, 590, 1400, 9500]).line.slope == pytest.approx(9)


def test_a_slope_has_the_known_cause_and_a_bend_has_none() -> None:
    found = fit(DOUBLING, [bent(x) for x in DOUBLING])
    text = words(axis(), XS, found)
    assert "behind 16: 100 and 3 up to there" in text
    assert text.endswith(f"; {UNEXPLAINED}")
    assert "(each is looked at)" in words(axis("each is looked at"), XS, found)


def test_a_bend_may_have_a_cause_too() -> None:
    found = fit(DOUBLING, [bent(x) for x in DOUBLING])
    text = words(replace(axis(), bend=lambda bend: f"beyond {bend.x:g} all is full"), XS, found)
    assert text.endswith("beyond; beyond 16 all is full")


def test_a_bend_that_c_shares_is_not_our_code() -> None:
    found = fit(DOUBLING, [bent(x) for x in DOUBLING])
    floor = fit(DOUBLING, [0.9 * bent(x) for x in DOUBLING])
    assert "so does the C loop beside it" in words(axis(), XS, found, floor)
    straight = fit(DOUBLING, [90 + 2 * x for x in DOUBLING])
    result = words(axis(), XS, found, straight)
    assert "in C 90 and 2" in result
    assert result.endswith(UNEXPLAINED)


def test_routes_get_dearer_beyond_the_caches_and_cheaper_without_explanation() -> None:
    few, many = Line(0, 100, 0), Line(0, 200, 0)
    assert "fetch each route from memory" in growth.uncached(Bend(30_000, 100_000, few, many))
    assert growth.uncached(Bend(30_000, 100_000, many, few)) == UNEXPLAINED


def test_steps_are_neither_a_line_nor_a_bend() -> None:
    text = words(axis(), XS, fit(DOUBLING, [100.0, 100, 200, 100, 200, 100, 200, 200]))
    assert text.endswith("No line, and no bend that comes each time")


def test_sockets_get_dearer_when_they_fill_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def at(x: float, beyond: float) -> str:
        return growth.crowded(Bend(x, beyond, Line(0, 1, 0), Line(0, 2, 0)))

    monkeypatch.setattr(growth, "room_apart", lambda distance: 2048 * 1024 // distance)
    assert "room for 1,024 lines" in at(500, 700)
    assert "room for 1,024 lines" in at(700, 800)
    assert at(100, 200) == at(2000, 3000) == UNEXPLAINED
    monkeypatch.setattr(growth, "room_apart", lambda distance: None)
    assert at(700, 800) == UNEXPLAINED


def test_the_summary_has_a_slope_per_visit_and_all_points() -> None:
    found = {
        x: Found([[100.0 + 3 * x] * 2, [100.0 + 5 * x], [100.0 + 5 * x]], delivered=6, lost=1)
        for x in (1, 10, 100)
    }
    result = summary(axis(), found)
    assert result.samples == (pytest.approx(3), pytest.approx(5), pytest.approx(5))
    assert result.unit == "ns/message"
    assert (result.sent, result.delivered, result.lost) == (21, 18, 3)
    assert [point[:2] for point in result.details["points"]] == [[1, 104], [10, 140], [100, 500]]


def test_every_axis_has_its_full_range() -> None:
    ends = {axis.name: (min(axis.full), max(axis.full)) for axis in AXES if axis.name != "columns"}
    assert ends == {
        "messages": (1, 500),
        "payload": (16, 16384),
        "groups": (1, 32),
        "masks": (1, 1000),
        "subscribers": (1, 32),
        "bystanders": (0, 1000),
        "routes": (1000, 1_000_000),
    }
    (columns,) = (axis for axis in AXES if axis.name == "columns")
    assert (columns.full[0], columns.full[-1]) == (1, 0)  # 0: all


def test_a_distribution_includes_values_beyond_its_bins() -> None:
    result = distribution(np.array([0.1, 5.0, 10.0, 1e9]))
    assert sum(result["histogram"]["counts"]) == 4
    assert len(result["histogram"]["edges"]) == len(EDGES_US) == len(result["histogram"]["counts"]) + 1
    assert result["p50"] == 7.5
    assert {"p50", "p99", "p99.9"} <= set(result)


REPORT = """# To display the perf.data header info, please use --header/--header-only options.
#
    30;[kernel.kallsyms];[k] _copy_to_iter
    40;[kernel.kallsyms];[k] netlink_recvmsg
    20;walk.cpython-311-x86_64-linux-gnu.so;[.] walk_nlmsg
     6;libpython3.11.so.1.0;[.] _PyEval_EvalFrameDefault
     3;_multiarray_umath.cpython-311-x86_64-linux-gnu.so;[.] array_dealloc
     1;libc.so.6;[.] malloc
"""


def test_perf_samples_are_grouped_by_code_owner() -> None:
    assert classified(REPORT) == {
        "kernel: all else": 0.40,
        "kernel: copy": 0.30,
        "nlbus": 0.20,
        "Python": 0.06,
        "numpy": 0.03,
        "libc and others": 0.01,
    }


def test_a_report_without_samples_says_so() -> None:
    with pytest.raises(NoPerf, match="no sample"):
        classified("# nothing\n")
