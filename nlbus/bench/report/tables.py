"""A report as rows of text: what the page and the document show as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import NamedTuple

from nlbus.bench.results import Measurement, Report


class Grid(NamedTuple):
    """A table: its caption, heads, rows; `words` are the columns that are not numbers."""

    caption: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: frozenset[int]


HEADS = (
    "work",
    "who",
    "median",
    "quartiles",
    "unit",
    "rounds",
    "delivered / sent",
    "times the reference",
    "A/A",
    "note",
)
WORDS = frozenset({0, 1, 4, 9})
# Of transports, before the note. CPU: of publisher, server (if there is one) and subscriber, an event.
SIDES = ("publisher", "server", "subscriber")
TURN_HEADS = ("a turn", "published/s", f"CPU ns: {' + '.join(SIDES)}", "delay us: p50, p99")
FEW = 3  # rounds: of fewer there are no quartiles
UNSURE = 0.25  # where A/A is above it, a ratio has one digit
PERCENTILES = ("p50", "p99", "p99.9")


def number(value: float) -> str:
    """Three digits: 12.3 M, 456 k, 7.89, 0.0012."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * size:  # else it would be 1e+03 of the next smaller one
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def machine(report: Report) -> Grid:
    """What it was measured on."""
    rows = []
    for name, value in report.machine.items():
        listed = value.items() if isinstance(value, dict) else ()
        text = ", ".join(f"{key} {one}" for key, one in listed if one) or ("" if listed else str(value))
        if text:
            rows.append((str(name), text))
    rows += [("nlbus", report.nlbus), ("when", report.when), ("command", report.command)]
    rows.append(("took", f"{report.seconds:,.0f} s"))
    return Grid("The machine", ("what", "is"), rows, frozenset({0, 1}))


def missing(report: Report) -> Grid:
    """Whom it could not measure."""
    rows = [(one.section, one.subject, one.why) for one in report.missing]
    return Grid("Not measured", ("section", "who", "why"), rows, frozenset({0, 1, 2}))


def sections(report: Report) -> list[str]:
    """In the order in which they were measured."""
    return list(dict.fromkeys(one.section for one in report.measurements))


def section(report: Report, name: str) -> Iterator[Grid]:
    """All figures of a section; of latency, percentiles, too."""
    here = [one for one in report.measurements if one.section == name]
    yield _figures(name, here)
    timed = [one for one in here if set(PERCENTILES) <= one.details.keys()]
    if timed:
        rows = [(one.work, one.subject, *percentiles(one), one.unit) for one in timed]
        yield Grid("Percentiles", ("work", "who", *PERCENTILES, "unit"), rows, frozenset({0, 1, 5}))


def _figures(name: str, here: list[Measurement]) -> Grid:
    caption = f"All figures of {name}"
    if not any("turn_seconds" in one.details for one in here):
        return Grid(caption, HEADS, list(map(row, here)), WORDS)
    *heads, note = HEADS
    rows = [(*cells[:-1], *turn(one), cells[-1]) for one, cells in zip(here, map(row, here), strict=True)]
    words = WORDS - {len(heads)} | {len(heads) + len(TURN_HEADS)}
    return Grid(caption, (*heads, *TURN_HEADS, note), rows, words)


def turn(one: Measurement) -> tuple[str, ...]:
    """What a turn of a transport was, and took."""
    if "turn_seconds" not in one.details:
        return ("-",) * len(TURN_HEADS)
    events, seconds = one.details["turn_events"], one.details["turn_seconds"]
    cpu = [one.details[f"{side}_cpu_ns"] for side in SIDES]
    delay = one.details.get("delay_us")
    return (
        f"{number(events)} in {1000 * seconds:.3g} ms",
        number(one.details["published_a_second"]),
        " + ".join(number(ns) for ns in cpu if ns) or "-",
        f"{number(delay['p50'])}, {number(delay['p99'])}" if delay else "-",
    )


def percentiles(one: Measurement) -> Iterable[str]:
    """As text."""
    return (number(float(one.details[name])) for name in PERCENTILES)


def row(one: Measurement) -> tuple[str, ...]:
    """One figure."""
    return (
        one.work, one.subject, number(one.median), quartiles(one), one.unit, str(len(one.samples)),
        share(one), ratio(one), control(one), one.note,
    )  # fmt: skip


def quartiles(one: Measurement) -> str:
    """Of enough rounds."""
    low, high = one.quartiles
    return f"{number(low)} to {number(high)}" if len(one.samples) >= FEW else "-"


def ratio(one: Measurement) -> str:
    """How many times the reference."""
    return "-" if one.ratio is None else f"{times(one)} x {one.reference}"


def times(one: Measurement) -> str:
    """The paired ratio; with no more digits than A/A allows for."""
    value = one.ratio or 0.0
    return f"~ {number(float(f'{value:.1g}'))}" if (one.spread or 0.0) > UNSURE else number(value)


def control(one: Measurement) -> str:
    """A/A: how far apart, and whether always to the same side."""
    return "-" if one.spread is None else f"{100 * one.spread:.0f} %, median {median(one.control):.2f}"


def share(one: Measurement) -> str:
    """Delivered / sent; never 100 % where one event was lost."""
    if not one.sent:
        return "-"
    text = f"{100 * one.delivered / one.sent:.2f} %"
    if one.lost and text == "100.00 %":
        text = "< 100 %"
    return f"{text}, {one.lost:,} lost" if one.lost else "100 %" if one.delivered == one.sent else text
