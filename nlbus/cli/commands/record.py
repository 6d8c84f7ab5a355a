"""`nlbus record`: write events to a capture file, or rows of a table to files for other programs."""

from typing import Any

import click

from nlbus.cli.commands.specs import WithSpec
from nlbus.cli.shared.action import act
from nlbus.cli.shared.options import (
    Seconds,
    fail_on_loss_option,
    size,
)
from nlbus.cli.shared.subscribe_options import add_subscribe_options
from nlbus.cli.shared.view_options import add_view_options


@click.command(cls=WithSpec)
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
def record(**options: Any) -> None:
    """Record the events of SOURCE to FILE; - is stdout.

    A FILE that ends in .arrows or .parquet gets the rows of one --table, for polars, DuckDB, pandas and
    pyarrow (pip install pyarrow). Any other FILE is a pcapng capture of all messages, but
    an ending of another format, such as .csv, is refused. -o overrides the ending.

    Several sources go into one pcapng, where each has interfaces of its own.

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
    nlbus record route uevent proc machine.pcapng
    nlbus record bus -g 1,7 events.pcapng --count 100000
    nlbus record route - | tshark -r -
    nlbus record conntrack --table conntrack flows.parquet --roll-seconds 60
    nlbus record route -t link --columns ifname,operstate links.arrows
    python3 -c 'import polars; print(polars.read_ipc_stream("links.arrows"))'
    """
    act("record", options)
