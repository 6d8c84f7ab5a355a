"""`nlbus publish`: publish each line of stdin as an event."""

import signal
import sys
from types import FrameType

from nlbus import Publisher, SchemaError
from nlbus.bus.transport import Transport
from nlbus.cli.shared.options import flat
from nlbus.cli.shared.stderr import report
from nlbus.sources import find, resolve_groups


def publish(
    groups: tuple[list[str], ...], event_type: int, linger: float, transport: Transport, reliable: bool
) -> None:
    """Publish each line of stdin, without its newline, as an event on the bus."""
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
