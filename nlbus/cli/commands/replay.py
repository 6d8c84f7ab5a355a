"""`nlbus replay`: print a capture file as `nlbus listen` would have."""

from typing import Any

import click

from nlbus.cli.commands.specs import KnowsSpec
from nlbus.cli.shared.action import act
from nlbus.cli.shared.completion import source_names
from nlbus.cli.shared.options import (
    fail_on_loss_option,
)
from nlbus.cli.shared.options import speed as speed_factor
from nlbus.cli.shared.subscribe_options import count_option
from nlbus.cli.shared.view_options import add_view_options


@click.command(cls=KnowsSpec)
@click.argument("file", type=click.Path())
@add_view_options("text", "json", "csv", "arrow", "pcapng")
@click.option(
    "--source", shell_complete=source_names, metavar="SOURCE", help="Print only events of this source."
)
@click.option(
    "--speed", type=speed_factor, default="full", metavar="full|original|N",
    help="Replay as fast as possible, at the original speed, or N times as fast.",
)  # fmt: skip
@count_option
@fail_on_loss_option
def replay(**options: Any) -> None:
    """Print the events in FILE, which `nlbus record` or tcpdump on nlmon has written; - is stdin.

    Lines, formats, gaps and totals are those of `nlbus listen`. Interfaces have the names that FILE contains.
    If the file is damaged, everything before the damage is printed; then an error names the byte, and the
    exit code is 1.

    \b
    nlbus replay flap.pcapng
    nlbus replay flap.pcapng -o json | jq -r .nl_table
    nlbus replay flap.pcapng --table link --where 'operstate == down'
    nlbus replay flap.pcapng --table link -o arrow > links.arrows
    nlbus replay day.pcapng --source route -o pcapng > route.pcapng
    nlbus replay flap.pcapng --speed original
    tcpdump -i nlmon0 -U -w - | nlbus replay - --source route
    """
    act("replay", options)
