"""Routes that come and go: they make the kernel send many events, all known beforehand."""

from __future__ import annotations

import socket
import struct

import numpy as np

from nlbus.kernel.requests import attribute, message

RTM_NEWROUTE, RTM_DELROUTE = 24, 25
REQUEST, EXCL, CREATE = 0x1, 0x200, 0x400
PER_SEND = 100  # requests
NETWORK = 0x0A00_0000  # 10.0.0.0
SEQ, DST = 8, 32  # where they are in a request


class Routes:
    """Makes and removes IPv4 routes by lo, from 10.0.0.0 + `first` on, many a system call, in one table.

    It does so in the network namespace of the thread that made it.
    """

    def __init__(self, count: int, first: int = 0, table: int = 254) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, 0))
        self._new = self._requests(RTM_NEWROUTE, REQUEST | CREATE | EXCL, first, count, table)
        self._del = self._requests(RTM_DELROUTE, REQUEST, first, count, table)
        self.events = 2 * count

    @staticmethod
    def _requests(kind: int, flags: int, first: int, count: int, table: int) -> list[bytes]:
        # struct rtmsg: AF_INET, /32, table, protocol static, scope link, unicast
        header = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, table, 4, 253, 1, 0)
        one = message(kind, header + attribute(1, bytes(4)) + attribute(4, struct.pack("=I", 1)), flags, 0)
        each = np.tile(np.frombuffer(one, np.uint8), (count, 1))
        numbers = np.arange(first, first + count, dtype=np.uint32)
        each[:, DST : DST + 4] = (NETWORK + numbers).astype(">u4").view(np.uint8).reshape(-1, 4)
        each[:, SEQ : SEQ + 4] = numbers.view(np.uint8).reshape(-1, 4)
        return [each[i : i + PER_SEND].tobytes() for i in range(0, count, PER_SEND)]

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
