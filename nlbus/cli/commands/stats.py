"""`nlbus stats`: show every netlink socket of the machine, and its drops."""

from typing import Any

import click

from nlbus.cli.shared.action import act
from nlbus.cli.shared.completion import source_names
from nlbus.cli.shared.options import (
    Count,
    namespace,
)


@click.command()
@click.argument("source", required=False, shell_complete=source_names)
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text",
    help="A table, or one JSON object per line.",
)  # fmt: skip
@click.option(
    "--netns", type=namespace, metavar="NAME|PATH|PID", help="Show only sockets of this network namespace."
)
@click.option("--here", is_flag=True, help="Show only sockets of your own network namespace.")
@click.option("--pid", type=Count(), metavar="PID", help="Show only sockets that this process holds.")
@click.option("--drops", is_flag=True, help="Show only sockets that have dropped datagrams.")
@click.option(
    "--module", is_flag=True, help="Show the counters of nlbus.ko here, or in --netns, instead of sockets."
)
@click.option(
    "--kernel/--no-kernel", default=True, help="Show the kernel's own sockets (portid 0), or hide them."
)
def stats(**options: Any) -> None:
    """Show the netlink sockets of the machine, or those of SOURCE's protocol.

    Each socket is one line: protocol, portid, the processes that hold it, the used part of its receive buffer
    (bytes of truesize), datagrams dropped since it was opened, options and groups. If there are several
    network namespaces, the column NETNS has the name that `ip netns` shows, or the inode.

    It looks into every network namespace, which requires root; what it could not see is reported on stderr.

    \b
    nlbus stats
    nlbus stats --drops                   sockets that have lost something
    nlbus stats route --no-kernel
    nlbus stats --pid 812 -o json | jq .drops
    nlbus stats --module                  counters of nlbus.ko, per group
    watch -n1 nlbus stats --netns blue
    """
    act("stats", options)
