"""`nlbus bench`: measure on this machine, compare and report the results."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

import nlbus
from nlbus.bench import Report, machine, namespace
from nlbus.bench.plans import SECTIONS, Size
from nlbus.bench.report import page
from nlbus.bench.report.comparing import compare
from nlbus.bench.results import ResultsError, in_place
from nlbus.bench.run import run
from nlbus.bench.transports.transport import load
from nlbus.cli.render.bench import show_comparison, show_report
from nlbus.cli.shared.status_line import StatusLine
from nlbus.errors import NlbusError

FAILED = 1
BECAME_WORSE = 4
BROKEN_OFF = 130
UNFINISHED = "Broken off: some of it was not measured."


def quick(**options: Any) -> None:
    """Measure in less than a minute."""
    _measure("quick", **options)


def full(**options: Any) -> None:
    """Measure more, in less than a quarter of an hour."""
    _measure("full", **options)


def _measure(
    size: Size, path: Path | None, names: tuple[str, ...], plugins: tuple[str, ...], rounds: int | None
) -> None:
    """Measure. After Ctrl-C, show and save the results so far, with exit code 130.

    From the start on, the file holds this run only, however it ends.
    """
    _check(plugins)
    chosen = [each for each in SECTIONS if each.name in names or not (names or each.named)]
    planned = [(section, section.plan(size, rounds, plugins)) for section in chosen]
    namespace.become_root()
    described = machine.describe()
    report = Report(
        command=f"nlbus bench {size}{''.join(f' --only {name}' for name in names)}",
        machine=described,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        nlbus=nlbus.__version__,
        caveats=machine.caveats(described),
    )
    if why := namespace.enter():
        report.caveats.append(f"Others may have been heard, or disturbed: {why}.")
    report.caveats.append(UNFINISHED)

    def keep() -> None:
        if path is not None and in_place(path):
            report.save(path)

    keep()  # fail now, not in a quarter of an hour, if it cannot be written
    broken: list[str] = []
    start = time.monotonic()
    try:
        with StatusLine() as progress, suppress(KeyboardInterrupt):
            for one in planned:
                broken += run(report, [one], progress.show)
                keep()
            report.caveats.remove(UNFINISHED)
    finally:
        report.seconds = round(time.monotonic() - start, 1)
        try:
            if path is not None:
                report.save(path)
        finally:
            show_report(report)
    if broken:
        click.secho(f"nlbus: failed: {', '.join(broken)}: see `not measured`", fg="red", err=True)
    if UNFINISHED in report.caveats:
        click.get_current_context().exit(BROKEN_OFF)
    if broken:
        click.get_current_context().exit(FAILED)


def _check(plugins: tuple[str, ...]) -> None:
    """Check that each plug-in can be loaded. BadParameter."""
    for spec in plugins:
        try:
            load(spec)
        except Exception as error:  # a plug-in may raise anything
            said = str(error) if isinstance(error, NlbusError) else f"{spec}: {type(error).__name__}: {error}"
            raise click.BadParameter(said, param_hint="--transport") from None


def compare_command(before: Path, after: Path, fail_above: float | None) -> None:
    """Compare two runs."""
    found = compare(Report.load(before), Report.load(after))
    show_comparison(found)
    if fail_above is not None and (worse := found.worse(fail_above)):
        click.secho(f"{len(worse)} became worse by more than {fail_above:.0%}", fg="red", err=True)
        click.get_current_context().exit(BECAME_WORSE)


def report_command(results: Path, folder: Path | None, document: Path | None) -> None:
    """Write a page with tables and pictures."""
    if folder is None and document is None:
        raise click.UsageError("no destination: pass -o DIR or --markdown FILE")
    found = Report.load(results)
    with _drawing(results):
        written = page.write(found, folder) if folder is not None else []
        written += page.fill(document, found) if document is not None else []
    for path in written:
        click.echo(path)


@contextmanager
def _drawing(results: Path) -> Iterator[None]:
    """Turn errors of writing and drawing into a ResultsError of one line."""
    try:
        yield
    except NlbusError:
        raise
    except OSError as error:
        raise ResultsError(f"{error.filename or 'the page'}: cannot be written: {error.strerror}") from error
    except (KeyError, IndexError, TypeError, ValueError, ArithmeticError) as error:
        why = f"{type(error).__name__}: {error}"
        raise ResultsError(f"{results}: no page can be made of these figures: {why}") from error
