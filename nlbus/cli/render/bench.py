"""Reports and comparisons of `nlbus bench` as tables, caveats first."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby

import click

from nlbus._text import escape
from nlbus.bench import Measurement, Report
from nlbus.bench.report.comparing import Comparison
from nlbus.bench.report.tables import SIDES, number, quartiles, times

WIDTH = 100
# CPU: per event, of publisher, server and subscriber.
HEADS = ("work", "who", "median", "quartiles", "unit", "rounds", "delivered / sent", "ratio", "A/A", "CPU ns")
WORDS = (0, 1)  # columns aligned to the left
WITHIN = (
    "The spread is that within one run. Two runs of the same code differ by more, most of all on a busy "
    "machine: repeat both before you believe a change."
)


def show_report(report: Report) -> None:
    """Print the report on stdout."""
    machine = report.machine
    head = (
        f"nlbus {report.nlbus} on {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, "
        f"Python {machine['python']}; {report.seconds:.0f} s"
    )
    click.secho(escape(head), bold=True)
    bullets(report.caveats)
    for name, found in groupby(report.measurements, key=lambda one: one.section):
        click.echo()
        click.secho(escape(name), bold=True)
        _show_section(list(found))
    if report.missing:
        click.echo()
        click.secho("not measured", bold=True)
        bullets(f"{one.section}: {one.subject}: {one.why}" for one in report.missing)


def _show_section(found: list[Measurement]) -> None:
    """A table with one line per measurement, and below it each note once."""
    rows = []
    previous = ""
    for one in found:
        rows.append(("" if one.work == previous else one.work, *_row(one)))
        previous = one.work
    wanted = [i for i in range(len(HEADS)) if any(row[i] != "-" for row in rows)]
    lines([HEADS[i] for i in wanted], [[row[i] for i in wanted] for row in rows])
    notes: dict[str, list[str]] = {}
    for one in found:
        known = notes.setdefault(one.subject, [])
        if not any(one.note.startswith(before) for before in known):
            known.append(one.note)
    bullets(f"{subject}: {note}" for subject, known in notes.items() for note in known if note)


def _row(one: Measurement) -> tuple[str, ...]:
    cpu = [one.details.get(f"{side}_cpu_ns", 0) for side in SIDES]
    return (
        one.subject,
        number(one.median),
        quartiles(one),
        one.unit,
        str(len(one.samples)),
        _share(one),
        "-" if one.ratio is None else times(one),
        "-" if one.spread is None else f"{one.spread:.0%}",
        " + ".join(f"{ns:.0f}" for ns in cpu if ns) or "-",
    )


def _share(one: Measurement) -> str:
    return "-" if one.share is None else f"{one.share:.4f}"


def show_comparison(found: Comparison) -> None:
    """One line per change, and below what only one of the runs measured."""
    bullets(f"{name}: {run}" for name, run in zip(("before", "after"), found.runs, strict=True))
    click.echo()
    if found.warnings:
        click.secho("The runs differ in more than nlbus:", fg="yellow")
        bullets(found.warnings)
        click.echo()
    lines(
        ("work", "who", "before", "after", "unit", "change", "spread", "delivered / sent", "verdict"),
        [
            (
                each.after.work,
                each.after.subject,
                number(each.before.median),
                number(each.after.median),
                each.after.unit,
                f"{each.change:+.1%}",
                "-" if each.spread is None else f"{each.spread:.1%}",
                _share(each.after)
                if each.before.share == each.after.share
                else f"{_share(each.before)}, {_share(each.after)}",
                each.verdict,
            )
            for each in found.changes
        ],
    )
    click.echo()
    bullets((WITHIN,))
    for which, alone in (("first", found.only_before), ("second", found.only_after)):
        if alone:
            click.echo(f"\nOnly in the {which}: {len(alone)}")
            bullets(f"{one.section}: {one.subject}, {one.work}" for one in alone)


def bullets(texts: Iterable[str]) -> None:
    """One paragraph per text."""
    for text in texts:
        click.echo(textwrap.fill(escape(text), WIDTH, initial_indent="- ", subsequent_indent="  "))


def lines(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: words to the left, figures to the right."""
    table = [[escape(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for i, row in enumerate(table):
        cells = [
            cell.ljust(width) if column in WORDS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.secho("  ".join(cells).rstrip(), bold=not i)
