"""`nlbus snapshot`: print or write all current rows of a table."""

from typing import Any

import click

from nlbus.cli.commands.specs import WithSpec
from nlbus.cli.shared.action import act
from nlbus.cli.shared.completion import source_names, table_words
from nlbus.cli.shared.options import (
    Count,
    namespace,
)
from nlbus.cli.shared.view_options import add_view_options


@click.command(cls=WithSpec)
@click.argument("source", shell_complete=source_names)
@click.argument("table", required=False, shell_complete=table_words)
@click.argument("file", default="-")
@add_view_options("auto", "text", "json", "csv", "arrow", "parquet", of_table=True)
@click.option("-c", "--count", type=Count(), metavar="N", help="Only the first N rows.")
@click.option("--netns", type=namespace, metavar="NAME|PATH|PID", help="Use this network namespace.")
@click.option("-f", "--force", is_flag=True, help="Overwrite FILE if it exists.")
def snapshot(**options: Any) -> None:
    """Print all current rows of TABLE of SOURCE, or write them to FILE.

    TABLE may be omitted if SOURCE has only one. A FILE that ends in .json, .csv, .arrows, .arrow or .parquet
    is written in that format; stdout and any other FILE are text. -o overrides the suffix.

    The rows are links, addresses, routes, connections, devices or processes as the kernel lists them, in the
    tables and columns of `nlbus listen`. Where the kernel can filter by --where, it does.

    Text is one line per row, as of `nlbus listen`; with --columns it is an aligned table. CSV and JSON show
    addresses as text and enums by name; they contain the columns nl_... only if --columns names them. Arrow
    (an IPC stream) and Parquet contain all columns unless --columns names some, and need pyarrow: pip install
    pyarrow. The number of rows is reported on stderr.

    \b
    nlbus snapshot route link
    nlbus snapshot route route --where 'table == main and dst in 10.0.0.0/8'
    nlbus snapshot route link --columns ifname,mtu,stats64_rx_bytes
    nlbus snapshot route neigh -o json | jq -r .lladdr
    nlbus snapshot uevent
    nlbus snapshot --spec netdev queue     any YNL spec, here by name
    nlbus snapshot conntrack conntrack connections.csv
    nlbus snapshot route route routes.parquet
    nlbus snapshot route route -o arrow | python3 -c 'import sys, polars
    print(polars.read_ipc_stream(sys.stdin.buffer))'
    """
    act("snapshot", options)
