"""Unix datagram sockets: send to each subscriber in turn, waiting for full ones."""

from __future__ import annotations

import socket
from pathlib import Path

from nlbus.bench.native.floor import enlarge
from nlbus.bench.transports.slots import Slots
from nlbus.bench.transports.transport import Events, Publisher, Subscriber, Transport, buffer

SO_SNDBUFFORCE = 32
BUFFER = 8 << 20  # of the sender: what is in flight is charged to it


class UnixPublisher(Publisher):
    """sendto for each subscriber: there is no multicast."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._sockets: list[socket.socket] = []

    def audience(self, count: int) -> None:
        """Connect to new subscribers."""
        for number in range(len(self._sockets), count):
            made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            enlarge(made, SO_SNDBUFFORCE, socket.SO_SNDBUF, BUFFER)
            made.connect(str(Path(self._where, str(number))))
            self._sockets.append(made)

    def publish_one(self, data: bytes) -> None:
        """A datagram for each."""
        for made in self._sockets:
            made.send(data)

    def publish_batch(self, events: Events) -> None:
        """A datagram for each."""
        for made in self._sockets:
            made.send(buffer(events))

    def close(self) -> None:
        """Close this end."""
        for made in self._sockets:
            made.close()


class Unix(Transport):
    """SOCK_DGRAM by the standard library."""

    name = "unix datagram"
    note = "one send a subscriber; a full one makes the publisher wait"

    def publisher(self, where: str) -> Publisher:
        """To nobody yet."""
        return UnixPublisher(where)

    def subscriber(self, where: str, number: int) -> Subscriber:
        """Under a path of its own."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        made.bind(str(Path(where, str(number))))
        return Slots(made)
