"""Bars: transports, libraries, and the parts of a profile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import floor, log10
from typing import Any

from nlbus.bench.report.drawing import COLOURS, INK, Drawer, Picture, colours, figure, logarithmic
from nlbus.bench.report.tables import number
from nlbus.bench.results import Measurement

BAR = 0.24  # inches
LOST = {"facecolor": "none", "edgecolor": "#D55E00", "hatch": "////", "linewidth": 0.6}


def wanted(one: Measurement) -> float:
    """What the median would have been, had all arrived."""
    return one.median * one.sent / max(one.delivered, 1)


def arrived(one: Measurement) -> float:
    """In per cent of what was sent."""
    return 100 * one.delivered / max(one.sent, 1)


def achieved(one: Measurement) -> float:
    """What each got, in per cent of the fixed rate that was offered."""
    return 100 * one.median / int(one.parameters["offered"])


def names(here: Sequence[Measurement]) -> list[str]:
    """Subjects, as they come."""
    return list(dict.fromkeys(one.subject for one in here))


# -- transports -------------------------------------------------------------------------------------


def transports(here: list[Measurement]) -> Iterator[Picture]:
    """A picture for each size and way of sending: flat out, and beside it fixed rates."""
    kinds = dict.fromkeys((int(one.parameters["size"]), int(one.parameters["batch"]) > 1) for one in here)
    for size, batched in kinds:
        those = [
            one
            for one in here
            if (int(one.parameters["size"]), int(one.parameters["batch"]) > 1) == (size, batched)
        ]
        how = "batches" if batched else "single events"
        yield Picture(
            f"transports-{size}-{'batched' if batched else 'single'}",
            "transports",
            f"{how.capitalize()} of {size} bytes. Left: flat out, events a second that were delivered "
            "(logarithmic); hatched: lost. Right: of fixed offered rates, the per cent that each subscriber "
            "got in time; hatched: some were lost; empty: not measured.",
            lambda those=those, title=f"{size} B, {how}": _transports(those, title),  # type: ignore[misc]
        )


def _transports(here: list[Measurement], title: str) -> Any:
    flat = [one for one in here if not one.parameters["offered"]]
    fixed = [one for one in here if one.parameters["offered"]]
    who = names(here)
    counts = sorted({int(one.parameters["subscribers"]) for one in flat})
    fig = figure(1.3 + 0.62 * BAR * len(who) * (max(len(counts), 2) + 1))
    axes = fig.subplots(1, 2 if fixed else 1, sharey=True, squeeze=False)[0]
    fig.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)
    series = [
        (
            f"{count} subscriber{'s' * (count > 1)}",
            [one for one in flat if one.parameters["subscribers"] == count],
        )
        for count in counts
    ]
    _grouped(axes[0], who, series)
    axes[0].set(xlabel="events/s, delivered", title="flat out")
    _log_bars(axes[0], [one.median for one in flat])
    fig.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=len(series) or 1, fontsize=7
    )
    if fixed:
        _cells(axes[1], who, fixed)
        axes[1].set(xlabel="events/s, offered", title="at fixed rates: % of it that each got")
    return fig


def _cells(ax: Any, who: list[str], fixed: list[Measurement]) -> None:
    """A row a subject, a column a rate, by subscribers: the more was achieved, the fuller the colour."""
    columns = sorted({(int(one.parameters["subscribers"]), int(one.parameters["offered"])) for one in fixed})
    for one in fixed:
        column = columns.index((int(one.parameters["subscribers"]), int(one.parameters["offered"])))
        row, share = who.index(one.subject), achieved(one)
        cell = {"left": column - 0.47, "height": 0.8}
        ax.barh(row, 0.94, color=COLOURS[0], alpha=min(share / 200, 0.5), linewidth=0, **cell)
        if one.lost:
            ax.barh(row, 0.94, **cell, **LOST)
        # 100 is only for those that received everything.
        text = f"{min(share, 99):.0f}" if share < 99.5 or one.lost else "100"
        ax.text(column, row, text, ha="center", va="center", fontsize=7)
    labels = [f"{number(rate)}\n{count} sub." for count, rate in columns]
    ax.set_xticks(range(len(columns)), labels, fontsize=6)
    ax.set_xlim(-0.6, len(columns) - 0.4)
    ax.tick_params(left=False)
    ax.spines["left"].set_visible(False)


def _grouped(ax: Any, who: list[str], series: list[tuple[str, list[Measurement]]]) -> None:
    """A row a subject, in it a bar a series; what was lost is hatched behind the bar's end."""
    height = 0.82 / max(len(series), 1)
    for number_, (label, here) in enumerate(series):
        by_name = {one.subject: one for one in here}
        for row, name in enumerate(who):
            at = row + (number_ + 0.5) * height - 0.41
            one = by_name.get(name)
            if one is None:
                ax.text(0.01, at, "not measured", transform=ax.get_yaxis_transform(), va="center", fontsize=6)
                continue
            if one.lost:
                ax.barh(at, wanted(one) - one.median, left=one.median, height=height * 0.92, **LOST)
            ax.barh(at, one.median, height=height * 0.92, color=COLOURS[number_ % len(COLOURS)],
                    label=label if row == 0 or label not in _labels(ax) else None)  # fmt: skip
    ax.set_yticks(range(len(who)), who)
    ax.set_ylim(len(who) - 0.45, -0.55)
    ax.grid(axis="x")


def _log_bars(ax: Any, values: list[float], room: float = 1.5) -> None:
    """From the decade below the least; a bar's length says little, its end counts."""
    positive = [value for value in values if value > 0] or [1.0]
    ax.set_xscale("log")
    ax.set_xlim(10 ** floor(log10(min(positive) * 0.8)), max(positive) * room)
    logarithmic(ax.xaxis)


def _labels(ax: Any) -> list[str]:
    return list(ax.get_legend_handles_labels()[1])


# -- libraries --------------------------------------------------------------------------------------


def libraries(here: list[Measurement]) -> Iterator[Picture]:
    """Rates of reading; storms."""
    read = [one for one in here if one.unit.endswith("/s")]
    live = [one for one in here if not one.unit.endswith("/s")]
    paint = colours(names(here))
    if read:
        yield Picture(
            "libraries-reading", "libraries",
            "Messages a second that each library reads (logarithmic): the same bytes from memory, and a dump "
            "with the kernel's own work in it.",
            lambda: _bars(read, lambda one: one.median, "messages/s", paint),
        )  # fmt: skip
    if live:
        yield Picture(
            "libraries-storms", "libraries",
            "Live storms, one listener at a time. Left: the share of events that it decoded; hatched: lost. "
            "Right: processor time an event.",
            lambda: _storms(live, paint),
        )  # fmt: skip


def _bars(
    here: list[Measurement], value: Callable[[Measurement], float], unit: str, paint: dict[str, str]
) -> Any:
    works = list(dict.fromkeys(one.work for one in here))
    those = [[one for one in here if one.work == work] for work in works]
    fig = figure(sum(0.62 + BAR * len(each) for each in those) + 0.3)
    axes = fig.subplots(
        len(works), 1, sharex=True, squeeze=False, height_ratios=[len(each) + 1 for each in those]
    )[:, 0]
    for ax, work, each in zip(axes, works, those, strict=True):
        _plain_bars(ax, each, value, paint)
        ax.set_title(work)
    axes[-1].set_xlabel(unit)
    _log_bars(axes[-1], list(map(value, here)), room=4)
    return fig


def _plain_bars(
    ax: Any,
    here: list[Measurement],
    value: Callable[[Measurement], float],
    paint: dict[str, str],
    end: float = 0,
) -> None:
    """The value is written behind its bar, or behind `end` where that is farther."""
    values = [value(one) for one in here]
    beside = [max(each, end) for each in values]
    rows = range(len(here))
    ax.barh(rows, values, color=[paint[one.subject] for one in here], height=0.74)
    for row, each in zip(rows, values, strict=True):
        ax.annotate(f" {number(each)}", (beside[row], row), va="center", fontsize=8, color=INK)
    ax.set_yticks(rows, [one.subject for one in here])
    ax.set_ylim(len(here) - 0.4, -0.6)
    ax.margins(x=0.16)
    ax.grid(axis="x")


def _storms(here: list[Measurement], paint: dict[str, str]) -> Any:
    works = list(dict.fromkeys(one.work for one in here))
    those = [[one for one in here if one.work == work] for work in works]
    fig = figure(sum(0.62 + BAR * len(each) for each in those) + 0.4)
    grid = fig.subplots(
        len(works), 2, sharex="col", squeeze=False, height_ratios=[len(each) + 1 for each in those]
    )
    for (left, right), work, each in zip(grid, works, those, strict=True):
        _plain_bars(left, each, arrived, paint, 100)
        for row, one in enumerate(each):
            if one.lost:
                left.barh(row, 100 - arrived(one), left=arrived(one), height=0.74, **LOST)
        left.set_title(work)
        left.set_xlim(0, 122)
        left.set_xticks(range(0, 101, 20))
        _plain_bars(right, each, lambda one: one.median / 1000, paint)
        right.set_yticks(range(len(each)), [""] * len(each))
    grid[-1, 0].set_xlabel("% of sent, decoded")
    grid[-1, 1].set_xlabel("processor time, us an event")
    return fig


# -- profile ----------------------------------------------------------------------------------------


def profile(here: list[Measurement]) -> Iterator[Picture]:
    """The stages of receiving, stacked."""
    stages = [one for one in here if "order" in one.parameters]
    if stages:
        yield Picture(
            "profile", "profile",
            "What each stage of receiving adds, in nanoseconds: what a loop takes more that does it, too. "
            "One that came out below nothing, which is noise or a saving, is named and not drawn.",
            lambda: _profile(stages),
        )  # fmt: skip


def _profile(here: list[Measurement]) -> Any:
    works = list(dict.fromkeys(one.work for one in here))
    fig = figure(0.6 + 1.15 * len(works))
    axes = fig.subplots(len(works), 1, squeeze=False)[:, 0]
    for ax, work in zip(axes, works, strict=True):
        each = sorted((one for one in here if one.work == work), key=lambda one: int(one.parameters["order"]))
        left = 0.0
        for number_, one in enumerate(each):
            took = max(one.median, 0.0)
            label = f"{one.subject}: {number(one.median)}"
            ax.barh(0, took, left=left, color=COLOURS[number_ % len(COLOURS)], height=0.6, label=label,
                    edgecolor="white", linewidth=0.8)  # fmt: skip
            left += took
        ax.set_title(f"{work} ({each[0].unit})")
        ax.set_yticks([])
        ax.set_ylim(-0.4, 0.4)
        ax.spines["left"].set_visible(False)
        ax.legend(loc="upper left", bbox_to_anchor=(0, -0.28), ncols=3, fontsize=7)
    return fig


DRAWERS: dict[str, tuple[Drawer, ...]] = {
    "transports": (transports,),
    "libraries": (libraries,),
    "profile": (profile,),
}
