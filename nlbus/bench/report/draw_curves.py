"""Curves: how times grow, and how latencies are distributed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nlbus.bench.report.drawing import (
    COLOURS,
    FAINT,
    INK,
    MARKERS,
    Drawer,
    Picture,
    colours,
    figure,
    logarithmic,
)
from nlbus.bench.report.tables import number
from nlbus.bench.results import Measurement

COLUMNS = 2
PANEL = 2.3  # inches


def growth(here: list[Measurement]) -> Iterator[Picture]:
    """A panel an axis: points, quartiles and the fitted line."""
    curves = [one for one in here if "fit" in one.details]
    if curves:
        yield Picture(
            "growth", "growth",
            "How times grow (both axes logarithmic). Points: medians, with quartiles; line: base + "
            "slope times x, fitted; dotted: where it bends.",
            lambda: _growth(curves),
        )  # fmt: skip


def _growth(here: list[Measurement]) -> Any:
    rows = -(-len(here) // COLUMNS)
    fig = figure(0.3 + PANEL * rows)
    grid = list(fig.subplots(rows, COLUMNS, squeeze=False).flat)
    for ax, one in zip(grid, here, strict=False):
        points = [point for point in one.details["points"] if point[0] > 0]  # a logarithm has no zero
        fit = one.details["fit"]
        xs = [point[0] for point in points]
        ys = [point[1] for point in points]
        off = [[y - low for _, y, low, _ in points], [high - y for _, y, _, high in points]]
        ax.errorbar(xs, ys, yerr=off, fmt="o", ms=4, color=COLOURS[0], ecolor=COLOURS[0], elinewidth=1)
        line = fit["line"]
        fine = np.geomspace(xs[0], xs[-1], 60)
        ax.plot(fine, line["base"] + line["slope"] * fine, color=COLOURS[3], lw=1.2)
        if fit.get("bend") is not None:
            ax.axvline(fit["bend"]["x"], color=INK, ls=":", lw=1)
        axis = str(one.parameters.get("axis", one.work))
        ax.set(xscale="log", yscale="log", xlabel=axis, ylabel=one.details.get("unit", ""))
        ax.set_title(axis)
        words = f"{number(line['base'])} + {number(line['slope'])} x, exponent {fit['exponent']:.2f}"
        ax.text(0.03, 0.95, words, transform=ax.transAxes, va="top", fontsize=7.5, color=INK)
        ax.margins(y=0.3)
        logarithmic(ax.xaxis)
        logarithmic(ax.yaxis)
        ax.grid(which="major")
    for ax in grid[len(here) :]:
        ax.set_visible(False)
    return fig


def latency(here: list[Measurement]) -> Iterator[Picture]:
    """A panel a load: histograms; and what linger trades."""
    timed = [one for one in here if "histogram" in one.details and "linger" not in one.parameters]
    if timed:
        yield Picture(
            "latency", "latency",
            "One way, from one process to another: the share of events by time (logarithmic). Vertical "
            "lines: median, and dashed 99 %.",
            lambda: _latency(timed),
        )  # fmt: skip
    lingering = [one for one in here if "linger" in one.parameters]
    if lingering:
        yield Picture(
            "latency-linger", "latency",
            "What linger trades: median and 99 % of latency, and events a datagram, at each offered rate.",
            lambda: _linger(lingering),
        )  # fmt: skip


def _latency(here: list[Measurement]) -> Any:
    works = list(dict.fromkeys(one.work for one in here))
    fig = figure(0.4 + PANEL * len(works))
    axes = fig.subplots(len(works), 1, sharex=True, squeeze=False)[:, 0]
    paint = colours([one.subject for one in here])
    for ax, work in zip(axes, works, strict=True):
        for one in (each for each in here if each.work == work):
            histogram = one.details["histogram"]
            total = sum(histogram["counts"]) or 1
            colour = paint[one.subject]
            shares = [100 * count / total for count in histogram["counts"]]
            label = f"{one.subject}: {number(one.details['p50'])} / {number(one.details['p99'])} us"
            ax.stairs(shares, histogram["edges"], color=colour, lw=1.4, label=label)
            ax.axvline(one.details["p50"], ymax=0.76, color=colour, lw=0.9)
            ax.axvline(one.details["p99"], ymax=0.76, color=colour, lw=0.9, ls="--")
        ax.set(xscale="log", ylabel="% of events", title=f"{work}: median / 99 %")
        ax.set_ylim(0, 1.3 * ax.get_ylim()[1])
        ax.legend(loc="upper center", fontsize=7.5, ncols=3)
        ax.grid(axis="x")
    ends = [edge for one in here for edge in _reach(one)]
    axes[-1].set_xlim(min(ends), max(ends))
    axes[-1].set_xlabel("one way, us")
    logarithmic(axes[-1].xaxis)
    return fig


def _reach(one: Measurement) -> tuple[float, float]:
    """The edges between which there are events."""
    histogram = one.details["histogram"]
    filled = [i for i, count in enumerate(histogram["counts"]) if count] or [0]
    return max(histogram["edges"][filled[0]], 1e-3), histogram["edges"][filled[-1] + 1]


def _linger(here: list[Measurement]) -> Any:
    rates = list(dict.fromkeys(one.parameters["offered"] for one in here))
    fig = figure(3.2)
    left, right = fig.subplots(1, 2)
    for number_, rate in enumerate(rates):
        each = sorted(
            (one for one in here if one.parameters["offered"] == rate),
            key=lambda one: float(one.parameters["linger"]),
        )
        xs = [1e3 * float(one.parameters["linger"]) for one in each]
        label = f"{number(float(rate))}/s offered" if rate else "flat out"
        style = {"color": COLOURS[number_ % len(COLOURS)], "marker": MARKERS[number_ % len(MARKERS)], "ms": 4}
        left.plot(xs, [one.details["p50"] for one in each], label=label, **style)
        left.plot(xs, [one.details["p99"] for one in each], ls="--", lw=0.9, **style)
        right.plot(xs, [one.details["events_per_datagram"] for one in each], label=label, **style)
    left.set(yscale="log", xlabel="linger, ms", ylabel="us, median and (dashed) 99 %", title="latency")
    right.set(yscale="log", xlabel="linger, ms", ylabel="events a datagram", title="coalescing")
    for ax in (left, right):
        ax.set_xscale("symlog", linthresh=0.1)
        ax.set_xlim(0, 1.3 * max(1e3 * float(one.parameters["linger"]) for one in here) or 1)
        ax.xaxis.set_major_formatter(lambda value, _: number(value))
        logarithmic(ax.yaxis)
        ax.grid(color=FAINT)
    left.legend(fontsize=7)
    return fig


DRAWERS: dict[str, tuple[Drawer, ...]] = {"growth": (growth,), "latency": (latency,)}
