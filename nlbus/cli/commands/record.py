"""`nlbus record`: events into a capture file, or rows of a table into files for other programs."""

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
from nlbus.cli.shared.follow import LOSS_EXIT, fail_on_loss_option, follow, totals
from nlbus.cli.shared.options import size
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
    help="Begin a new file of a table once it has at least so much: 64M, 1G.",
)
@click.option(
    "--roll-seconds", type=click.FloatRange(0, min_open=True), metavar="S",
    help="Begin a new file of a table so long after its first row.",
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
    pyarrow (pip install 'nlbus[parquet]'); any other is a pcapng capture of all messages. -o says it where
    the name does not.

    pcapng: tshark and Wireshark decode what they know (link type NETLINK), `nlbus replay` and
    `nlbus.open_capture` read it back with each event's group and sender, its time, and every loss. Each batch
    is written at once: whatever ends the recording, the file can be read up to its last whole block.

    .arrows is a stream of Arrow's IPC. Rows are in it after a second at most, and it can be read at any time,
    also while it grows and after a kill. A .parquet file can be read when it is whole; until then it is
    called FILE.part. So let long recordings begin new files: with --roll-size or --roll-seconds x.parquet
    becomes x-000001.parquet, and so on, after those that are there. The size is looked at whenever rows were
    written: those of a second or 8192 of .arrows, 32768 of .parquet. Losses are noted by the name nlbus.loss.

    Tables of hundreds of columns, such as route's link, take their time: at high rates choose some --columns.

    Ends after --count or --seconds, or with Ctrl-C, SIGTERM or its terminal (not under nohup), which is no
    error. Totals come on stderr, on a terminal also while it goes on.

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
    view_options = replace(view_options, output=format)  # raises where the one does not go with the other
    check_binary(format, file)
    if format == "pcapng" and (roll_size or roll_seconds):
        raise click.UsageError("--roll-size and --roll-seconds are for tables: .arrows and .parquet")
    if file == STDOUT and (roll_size or roll_seconds):
        raise click.UsageError("stdout is one file: no --roll-size, --roll-seconds")
    view = None
    if format != "pcapng":
        view = View(inside(subscription["netns"], lambda: find(subscription["source"])), view_options)
        view.only  # noqa: B018 - raises before anything is joined
    sink = None
    with subscribe(**subscription, otherwise=view.groups if view else ()) as subscriber:
        try:
            with (
                _sink(subscriber, view, file, format, force, roll_size, roll_seconds) as sink,
                Shutdown(subscriber) as shutdown,
            ):
                follow(subscriber, sink, shutdown, count, seconds)
        except BrokenPipeError:
            discard_stdout()
            return
        lost = totals(subscriber.stats(), sink, subscriber.source)
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
        # Unbuffered, so that each batch is one write.
        with new_file(file, force, ACTION, buffering=0) as out:
            yield RecordingSink(Recorder(out, subscriber, "stdout" if file == STDOUT else file))
        return
    if not (roll_size or roll_seconds):
        refuse_existing(file, force, ACTION)
    yield table_sink(sys.stdout.buffer if file == STDOUT else file, format, view, roll_size, roll_seconds)
