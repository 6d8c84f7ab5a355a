"""Plain Python netlink: socket.sendto and recv_into, one datagram per event or batch."""

from __future__ import annotations

import ctypes
import socket
import struct

from nlbus.bench.native.floor import (
    BUFFER,
    NETLINK_NO_ENOBUFS,
    SO_RCVBUFFORCE,
    SOL_NETLINK,
    USERSOCK,
    enlarge,
)
from nlbus.bench.transports.slots import Slots
from nlbus.bench.transports.transport import Events, Publisher, Subscriber, Transport, buffer
from nlbus.bus.publisher import DATAGRAM_BYTES

SO_ATTACH_FILTER = 26
GROUP = 3


def netlink(buffer: int = 0) -> socket.socket:
    """A socket of NETLINK_USERSOCK with this receive buffer."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, USERSOCK)
    made.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
    if buffer:
        enlarge(made, SO_RCVBUFFORCE, socket.SO_RCVBUF, buffer)
    return made


class PlainPublisher(Publisher):
    """sendto. The unicast that follows a multicast goes to ourselves, where a filter drops it: to portid 0 it
    would raise ConnectionRefusedError each time, though all was delivered."""

    def __init__(self) -> None:
        self._socket = netlink()
        self._socket.bind((0, 0))
        drop = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET, 0 bytes
        program = struct.pack("HP", 1, ctypes.addressof(drop))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
        self._to = (self._socket.getsockname()[0], 1 << (GROUP - 1))

    def publish_one(self, data: bytes) -> None:
        """Publish without a header: the size identifies the event."""
        self._socket.sendto(data, self._to)

    def publish_batch(self, events: Events) -> None:
        """As many events per datagram as are cheap."""
        per = DATAGRAM_BYTES // events.dtype.itemsize
        for i in range(0, len(events), per):
            self._socket.sendto(buffer(events[i : i + per]), self._to)

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


class Netlink(Transport):
    """NETLINK_USERSOCK by the standard library alone."""

    name = "plain netlink"
    note = "a full subscriber loses silently"

    def missing(self) -> str | None:
        """Joining needs CAP_NET_ADMIN."""
        try:
            self.subscriber("", 0).close()
        except OSError as error:
            return f"joining a group of NETLINK_USERSOCK: {error}"
        return None

    def publisher(self, where: str) -> Publisher:
        """To one group."""
        return PlainPublisher()

    def subscriber(self, where: str, number: int) -> Subscriber:
        """Of that group."""
        made = netlink(BUFFER)
        made.bind((0, 1 << (GROUP - 1)))
        return Slots(made)
