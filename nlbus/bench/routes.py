"""Routes that come and go: what makes the kernel tell many events, all known beforehand."""

from __future__ import annotations

import socket
import struct

from nlbus.request import attribute, message

RTM_NEWROUTE, RTM_DELROUTE = 24, 25
REQUEST, EXCL, CREATE = 0x1, 0x200, 0x400
PER_SEND = 100  # requests


class Routes:
    """Makes and removes `count` IPv4 routes by lo, many a system call, where the thread that made it is."""

    def __init__(self, count: int) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, 0))
        self._new = self._requests(RTM_NEWROUTE, REQUEST | CREATE | EXCL, count)
        self._del = self._requests(RTM_DELROUTE, REQUEST, count)
        self.events = 2 * count

    @staticmethod
    def _requests(kind: int, flags: int, count: int) -> list[bytes]:
        # struct rtmsg: AF_INET, /32, table main, protocol static, scope link, unicast
        header = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 254, 4, 253, 1, 0)
        oif = attribute(4, struct.pack("=I", 1))
        each = [
            message(kind, header + attribute(1, struct.pack(">I", 0x0A00_0000 + i)) + oif, flags, i)
            for i in range(count)
        ]
        return [b"".join(each[i : i + PER_SEND]) for i in range(0, count, PER_SEND)]

    def storm(self) -> int:
        """Make and remove them all: the events that everybody who listens gets."""
        self.make()
        self.remove()
        return self.events

    def make(self) -> None:
        """An event each."""
        for requests in self._new:
            self._socket.send(requests)

    def remove(self) -> None:
        """An event each."""
        for requests in self._del:
            self._socket.send(requests)

    def close(self) -> None:
        """The socket; routes stay."""
        self._socket.close()
