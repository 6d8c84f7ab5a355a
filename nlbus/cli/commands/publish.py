"""`nlbus publish`: a line of stdin, an event."""

import signal
import sys
from types import FrameType

import click

from nlbus import Publisher, SchemaError
from nlbus.bus.publisher import MAX_LINGER
from nlbus.bus.transport import Transport
from nlbus.cli.shared.options import flat, group_list, number, transport_option
from nlbus.sources import find, resolve_groups


@click.command()
@click.option(
    "-g", "--group", "--groups", "groups", type=group_list, multiple=True, required=True, metavar="G,...",
    help="To these groups of the bus, 1 to 32; may be given several times.",
)  # fmt: skip
@click.option("--type", "event_type", type=number, default="0", metavar="N", help="Their type: 7, or 0x100.")
@click.option(
    "--linger", type=click.FloatRange(0, MAX_LINGER), default=0.0, metavar="SECONDS",
    help="An event may wait so long for others, to share a datagram; 0 sends each at once.",
)  # fmt: skip
@transport_option
@click.option(
    "--reliable", is_flag=True,
    help="Wait for full subscribers that want it so, up to 5 seconds each time; through nlbus.ko only.",
)  # fmt: skip
def publish(
    groups: tuple[list[str], ...], event_type: int, linger: float, transport: Transport, reliable: bool
) -> None:
    """Publish each line of stdin, without its newline, as an event on the bus.

    Needs no privilege, but through nlbus.ko CAP_NET_ADMIN. Whoever listens to one of the groups in this
    network namespace gets each event once, and counts what it had to lose: publishing waits for nobody.
    Subscribers believe their own user and root unless told otherwise (--trust). How much was sent is told on
    stderr at the end; Ctrl-C ends quietly.

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
            # Not a count of our own: a signal may come between publishing and counting.
            streams = publisher.stats()["streams"]
            sent = sum(stream["events"] for stream in streams)
            datagrams = sum(stream["datagrams"] for stream in streams)
    finally:
        signal.signal(signal.SIGTERM, previous)
    click.echo(f"nlbus: {sent} events sent in {datagrams} datagrams", err=True)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
