"""`nlbus publish`: publish each line of stdin as an event."""

from typing import Any

import click

from nlbus.cli.shared.action import act
from nlbus.cli.shared.options import (
    Seconds,
    event_type,
    group_list,
    transport_option,
)

MAX_LINGER = 1.0  # of nlbus.bus.publisher


@click.command()
@click.option(
    "-g", "--group", "--groups", "groups", type=group_list, multiple=True, required=True, metavar="G,...",
    help="Publish to these groups of the bus, 1 to 32; repeatable.",
)  # fmt: skip
@click.option(
    "--type", "event_type", type=event_type, default="0", metavar="N", help="Event type, such as 7 or 0x100."
)
@click.option(
    "--linger", type=Seconds(MAX_LINGER), default=0.0, metavar="SECONDS",
    help="Let an event wait this long for others to share its datagram; 0 sends each at once.",
)  # fmt: skip
@transport_option
@click.option(
    "--reliable", is_flag=True,
    help="Wait up to 5 seconds for full reliable subscribers; requires nlbus.ko.",
)  # fmt: skip
def publish(**options: Any) -> None:
    """Publish each line of stdin, without its newline, as an event on the bus.

    Every subscriber of one of the groups in this network namespace receives each event once. Publishing waits
    for no subscriber: one that is full loses events, and counts them. Subscribers accept events of their own
    user and of root; `nlbus listen --trust` changes that. Publishing through nlbus.ko needs CAP_NET_ADMIN,
    without it no privilege. Totals are reported on stderr at the end; Ctrl-C ends it quietly.

    \b
    echo hello | nlbus publish --groups 1
    tail -F app.log | nlbus publish -g 1,7 --type 0x100 --linger 0.01
    """
    act("publish", options)
