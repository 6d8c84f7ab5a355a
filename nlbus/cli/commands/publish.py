"""`nlbus publish`: publish each line of stdin as an event."""

import signal
import sys
from types import FrameType

import click

from nlbus import Publisher, SchemaError
from nlbus.bus.publisher import MAX_LINGER
from nlbus.bus.transport import Transport
from nlbus.cli.shared.options import Seconds, event_type, flat, group_list, transport_option
from nlbus.cli.shared.stderr import report
from nlbus.sources import find, resolve_groups


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
def publish(
    groups: tuple[list[str], ...], event_type: int, linger: float, transport: Transport, reliable: bool
) -> None:
    """Publish each line of stdin, without its newline, as an event on the bus.

    Every subscriber of one of the groups in this network namespace receives each event once. Publishing waits
    for no subscriber: one that is full loses events, and counts them. Subscribers accept events of their own
    user and of root; `nlbus listen --trust` changes that. Publishing through nlbus.ko needs CAP_NET_ADMIN,
    without it no privilege. Totals are reported on stderr at the end; Ctrl-C ends it quietly.

    \b
    echo hello | nlbus publish --groups 1
    tail -F app.log | nlbus publish -g 1,7 --type 0x100 --linger 0.01
    """
    members = resolve_groups(find("bus"), flat(groups))
    lines = 0
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Publisher(linger, transport=transport, reliable=reliable) as publisher:
            try:
                for line in sys.stdin.buffer:
                    lines += 1
                    publisher.publish(line.removesuffix(b"\n"), members, event_type)
            except KeyboardInterrupt:
                pass
            except SchemaError as error:
                raise SchemaError(f"line {lines}: {error}") from error
            publisher.flush()
            # A count of our own could miss an event: a signal may come between publishing and counting.
            streams = publisher.stats()["streams"]
            sent = sum(stream["events"] for stream in streams)
            datagrams = sum(stream["datagrams"] for stream in streams)
    finally:
        signal.signal(signal.SIGTERM, previous)
    report(f"{sent} events sent in {datagrams} datagrams")


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
