"""`nlbus bench`: measure on this machine, compare and report the results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from nlbus.bench.plans import SECTIONS
from nlbus.cli.commands.bench_kmod import kmod
from nlbus.cli.shared.action import act
from nlbus.cli.shared.options import Count

MAX_ROUNDS = 100_000  # days, already

Command = TypeVar("Command", bound=Callable[..., Any])


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


@bench.command()
@measuring
def quick(**options: Any) -> None:
    """Measure in less than a minute.

    \b
    nlbus bench quick
    nlbus bench quick --json quick.json
    """
    act("bench", options, "quick")


@bench.command()
@measuring
def full(**options: Any) -> None:
    """Measure more, in less than a quarter of an hour.

    \b
    nlbus bench full --json full.json
    nlbus bench full --only transports
    """
    act("bench", options, "full")


@bench.command("compare")
@click.argument("before", type=ResultsFile())
@click.argument("after", type=ResultsFile())
@click.option("--fail-above", type=Share(), metavar="PERCENT",
              help="Exit with 4 if a figure became worse by more than PERCENT and the spread, or if that "
              "much less was delivered.")  # fmt: skip
def compare_command(**options: Any) -> None:
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
    act("bench", options, "compare_command")


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
def report_command(**options: Any) -> None:
    """Write a page with tables and pictures.

    \b
    nlbus bench report now.json -o report                 then open report/index.html
    nlbus bench report now.json --markdown benchmarks.md  fills in the text between its marks

    The page needs no other file and no network. A document has marks such as <!-- bench: table growth --> and
    <!-- end -->: caveats, machine, missing, table SECTION, pictures SECTION. Needs matplotlib: pip install
    matplotlib.
    """
    act("bench", options, "report_command")


bench.add_command(kmod)
