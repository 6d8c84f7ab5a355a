"""A report as rows of text: what the page and the document show as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
    "delivered / sent",
    "times the reference",
    "A/A",
    "note",
)
WORDS = frozenset({0, 1, 4, 8})
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
    yield Grid(f"All figures of {name}", HEADS, list(map(row, here)), WORDS)
    timed = [one for one in here if set(PERCENTILES) <= one.details.keys()]
    if timed:
        rows = [(one.work, one.subject, *percentiles(one), one.unit) for one in timed]
        yield Grid("Percentiles", ("work", "who", *PERCENTILES, "unit"), rows, frozenset({0, 1, 5}))


def percentiles(one: Measurement) -> Iterable[str]:
    """As text."""
    return (number(float(one.details[name])) for name in PERCENTILES)


def row(one: Measurement) -> tuple[str, ...]:
    """One figure."""
    low, high = one.quartiles
    ratio = "-" if one.ratio is None else f"{number(one.ratio)} x {one.reference}"
    spread = "-" if one.spread is None else f"{100 * one.spread:.0f} %"
    quartiles = f"{number(low)} to {number(high)}"
    return (
        one.work, one.subject, number(one.median), quartiles, one.unit, share(one), ratio, spread, one.note,
    )  # fmt: skip


def share(one: Measurement) -> str:
    """Delivered / sent; never 100 % where one event was lost."""
    if not one.sent:
        return "-"
    text = f"{100 * one.delivered / one.sent:.2f} %"
    if one.lost and text == "100.00 %":
        text = "< 100 %"
    return f"{text}, {one.lost:,} lost" if one.lost else "100 %" if one.delivered == one.sent else text
