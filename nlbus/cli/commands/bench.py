"""`nlbus bench`: measure on this machine, compare and report the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import click

from nlbus.bench import Report, machine, namespace
from nlbus.bench.plans import SECTIONS, Size
from nlbus.bench.report import page
from nlbus.bench.report.comparing import compare
from nlbus.bench.results import ResultsError, in_place
from nlbus.bench.run import run
from nlbus.bench.transports.transport import load
from nlbus.cli.commands.bench_kmod import kmod
from nlbus.cli.render.bench import show_comparison, show_report
from nlbus.cli.shared.options import Count
from nlbus.cli.shared.status_line import StatusLine
from nlbus.errors import NlbusError

FAILED = 1
BECAME_WORSE = 4
MAX_ROUNDS = 100_000  # days, already
BROKEN_OFF = 130
UNFINISHED = "Broken off: some of it was not measured."

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group()
def bench() -> None:
    """Measure on this machine: nlbus beside others, and beside itself.

    \b
    nlbus bench quick --json now.json    under a minute
    nlbus bench full --json now.json     a quarter of an hour, narrower spreads
    nlbus bench compare old.json now.json
    nlbus bench report now.json -o DIR   a page with pictures
    nlbus bench kmod                     the kernel module, beside plain netlink

    Figures belong to this machine under this load: ratios compare, nanoseconds do not. Let nothing else run.

    Exit codes of quick and full: 0, even if something cannot be measured here, which is then named; 1 if the
    file cannot be written, or an unforeseen error ended a section; 130 after Ctrl-C. Completed measurements
    are saved and shown in any case.
    """


def measuring(command: Command) -> Command:
    """The options of `quick` and `full`."""
    for option in reversed(
        (
            click.option("--json", "path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                         help="Write the results to FILE, for compare and report."),
            click.option("--only", "names", multiple=True, metavar="SECTION",
                         type=click.Choice([section.name for section in SECTIONS]),
                         help=f"Measure only {', '.join(each.name for each in SECTIONS)}; repeatable."),
            click.option("--transport", "plugins", multiple=True, metavar="MODULE:CLASS",
                         help="Add a transport; see nlbus.bench.transports.transport. Repeatable."),
            click.option("--rounds", type=Count(most=MAX_ROUNDS), help="Measure N rounds of each pair."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


@bench.command()
@measuring
def quick(**options: Any) -> None:
    """Measure in less than a minute.

    \b
    nlbus bench quick
    nlbus bench quick --json quick.json
    """
    _measure("quick", **options)


@bench.command()
@measuring
def full(**options: Any) -> None:
    """Measure more, in less than a quarter of an hour.

    \b
    nlbus bench full --json full.json
    nlbus bench full --only transports
    """
    _measure("full", **options)


def _measure(
    size: Size, path: Path | None, names: tuple[str, ...], plugins: tuple[str, ...], rounds: int | None
) -> None:
    """Measure. After Ctrl-C, show and save the results so far, with exit code 130.

    From the start on, the file holds this run only, however it ends.
    """
    _check(plugins)
    chosen = [section for section in SECTIONS if not names or section.name in names]
    planned = [(section, section.plan(size, rounds, plugins)) for section in chosen]
    namespace.become_root()
    described = machine.describe()
    report = Report(
        command=f"nlbus bench {size}{''.join(f' --only {name}' for name in names)}",
        machine=described,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        nlbus=metadata.version("nlbus"),
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


class ResultsFile(click.Path):
    """An existing file or pipe: a device may have no end."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path. BadParameter."""
        path = Path(str(super().convert(value, param, ctx)))
        if not path.is_file() and not path.is_fifo():
            self.fail(f"{value!r} is not a file", param, ctx)
        return path


class Share(click.ParamType[float]):
    """A share in per cent: "10%" or "10"."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """As a fraction of 1."""
        try:
            share = float(str(value).removesuffix("%")) / 100
        except ValueError:
            share = -1.0
        if not 0 <= share < 10:
            self.fail(f"{value!r}: per cent, such as 10%", param, ctx)
        return share


@bench.command("compare")
@click.argument("before", type=ResultsFile())
@click.argument("after", type=ResultsFile())
@click.option("--fail-above", type=Share(), metavar="PERCENT",
              help="Exit with 4 if a figure became worse by more than PERCENT and the spread, or if that "
              "much less was delivered.")  # fmt: skip
def compare_command(before: Path, after: Path, fail_above: float | None) -> None:
    """Compare two runs.

    \b
    nlbus bench compare old.json new.json
    nlbus bench compare old.json new.json --fail-above 10%

    A change counts if it exceeds the spread of both runs: the larger of A/A (the same thing beside itself)
    and half the distance between the quartiles. A figure without A/A, such as a slope, is not judged. A
    transport that delivers less of what was sent, by a hundredth or more, is worse at any rate.

    The spread is measured within a run. Two runs of the same code differ by more, above all if other programs
    were running: of many rows, some are "better" or "WORSE" for that reason alone. Repeat both runs before
    you believe a row.

    Exit codes: 0; 1 for a file that holds no results; 4 with --fail-above.
    """
    found = compare(Report.load(before), Report.load(after))
    show_comparison(found)
    if fail_above is not None and (worse := found.worse(fail_above)):
        click.secho(f"{len(worse)} became worse by more than {fail_above:.0%}", fg="red", err=True)
        click.get_current_context().exit(BECAME_WORSE)


@bench.command("report")
@click.argument("results", type=ResultsFile())
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write index.html and the pictures here.",
)
@click.option(
    "--markdown",
    "document",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Fill in the marks of this document, and draw its pictures beside it.",
)
def report_command(results: Path, folder: Path | None, document: Path | None) -> None:
    """Write a page with tables and pictures.

    \b
    nlbus bench report now.json -o report                 then open report/index.html
    nlbus bench report now.json --markdown benchmarks.md  fills in the text between its marks

    The page needs no other file and no network. A document has marks such as <!-- bench: table growth --> and
    <!-- end -->: caveats, machine, missing, table SECTION, pictures SECTION. Needs matplotlib: pip install
    'nlbus[bench]'.
    """
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


bench.add_command(kmod)
