"""`nlbus record`: write events to a capture file, or rows of a table to files for other programs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import click

from nlbus import Subscriber
from nlbus.capture import Recorder
from nlbus.capture.tablefiles import SUFFIXES
from nlbus.cli.render.view import View, ViewOptions
from nlbus.cli.shared.follow import LOSS_EXIT, fail_on_loss_option, follow, report_totals
from nlbus.cli.shared.options import Seconds, size
from nlbus.cli.shared.output import STDOUT, check_binary, new_file, refuse_existing
from nlbus.cli.shared.shutdown import Shutdown
from nlbus.cli.shared.sinks import RecordingSink, table_sink
from nlbus.cli.shared.stdout import discard_stdout
from nlbus.cli.shared.subscribe import SubscribeOptions, add_subscribe_options, subscribe
from nlbus.cli.shared.view_options import add_view_options
from nlbus.kernel.netns import inside
from nlbus.sources import find

ACTION = "recording to"


@click.command()
@add_subscribe_options
@click.argument("file", type=click.Path())
@add_view_options("auto", "pcapng", "arrow", "parquet")
@click.option(
    "--roll-size",
    type=size,
    metavar="SIZE",
    help="Begin a new file of a table when it has reached SIZE, such as 64M or 1G.",
)
@click.option(
    "--roll-seconds", type=Seconds(positive=True), metavar="S",
    help="Begin a new file of a table S seconds after its first row.",
)  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Overwrite FILE if it exists.")
@fail_on_loss_option
def record(
    *,
    file: str,
    view_options: ViewOptions,
    count: int | None,
    seconds: float | None,
    roll_size: int | None,
    roll_seconds: float | None,
    force: bool,
    fail_on_loss: bool,
    **subscription: Unpack[SubscribeOptions],
) -> None:
    """Record the events of SOURCE to FILE; - is stdout.

    A FILE that ends in .arrows or .parquet gets the rows of one --table, for polars, DuckDB, pandas and
    pyarrow (pip install 'nlbus[parquet]'). Any other FILE is a pcapng capture of all messages. -o overrides
    the suffix.

    pcapng: tshark and Wireshark decode it (link type NETLINK). `nlbus replay` and `nlbus.open_capture` read
    it back with the group, sender and time of each event, and with every loss. Each batch is written at once:
    whatever ends the recording, the file is readable up to its last whole block.

    .arrows is an Arrow IPC stream. Rows are written within a second. The file is readable at any time, while
    it grows and after a kill. A .parquet file is readable only when it is complete; until then it is called
    FILE.part. So let long recordings begin new files: with --roll-size or --roll-seconds, x.parquet becomes
    x-000001.parquet and so on, numbered after the existing files. The size is checked after each write: once
    per second or per 8192 rows of .arrows, per 32768 rows of .parquet. Losses are stored as metadata under
    the key nlbus.loss.

    Tables with hundreds of columns, such as link of route, are slow to write: at high rates select --columns.

    Ends after --count or --seconds. Ctrl-C, SIGTERM and a closed terminal (not under nohup) also end it; that
    is no error. Totals are reported on stderr, on a terminal also during the recording.

    \b
    nlbus record route flap.pcapng --seconds 60
    nlbus record bus -g 1,7 events.pcapng --count 100000
    nlbus record route - | tshark -r -
    nlbus record conntrack --table conntrack flows.parquet --roll-seconds 60
    nlbus record route -t link --columns ifname,operstate links.arrows
    python3 -c 'import polars; print(polars.read_ipc_stream("links.arrows"))'
    """
    format = view_options.output
    if format == "auto":
        format = SUFFIXES.get(Path(file).suffix, "pcapng")
    view_options = replace(view_options, output=format)  # checks the combination
    check_binary(format, file)
    if format == "pcapng" and (roll_size or roll_seconds):
        raise click.UsageError("--roll-size and --roll-seconds require a table: .arrows or .parquet")
    if file == STDOUT and (roll_size or roll_seconds):
        raise click.UsageError(
            "--roll-size and --roll-seconds cannot be combined with stdout, which is one file"
        )
    view = None
    if format != "pcapng":
        view = View(inside(subscription["netns"], lambda: find(subscription["source"])), view_options)
        view.only  # noqa: B018 - raises before joining
    sink = None
    with subscribe(
        **subscription, otherwise=view.groups if view else (), wanted=view.wanted if view else None
    ) as subscriber:
        try:
            with (
                _sink(subscriber, view, file, format, force, roll_size, roll_seconds) as sink,
                Shutdown(subscriber) as shutdown,
            ):
                follow(subscriber, sink, shutdown, count, seconds)
        except BrokenPipeError:
            discard_stdout()
            return
        lost = report_totals(subscriber.stats(), sink, subscriber.source)
    if lost and fail_on_loss:
        raise click.exceptions.Exit(LOSS_EXIT)


@contextmanager
def _sink(
    subscriber: Subscriber,
    view: View | None,
    file: str,
    format: str,
    force: bool,
    roll_size: int | None,
    roll_seconds: float | None,
) -> Iterator[RecordingSink]:
    if view is None:
        # Unbuffered: each batch is one write.
        with new_file(file, force, ACTION, buffering=0) as out:
            yield RecordingSink(Recorder(out, subscriber, "stdout" if file == STDOUT else file))
        return
    if not (roll_size or roll_seconds):
        refuse_existing(file, force, ACTION)
    yield table_sink(sys.stdout.buffer if file == STDOUT else file, format, view, roll_size, roll_seconds)
