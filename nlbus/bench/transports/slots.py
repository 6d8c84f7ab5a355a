"""Receiving datagrams by the standard library, into one array."""

from __future__ import annotations

import select
import socket
from typing import Any

import numpy as np

from nlbus.bench.transports.transport import DRAIN, LARGE, Events, Subscriber

ROOM = 256 << 10  # bytes
LARGEST = 64 << 10  # of datagrams


class Slots(Subscriber):
    """recv_into, one datagram behind the other, until there is none, or one of them is a batch."""

    def __init__(self, source: socket.socket) -> None:
        source.setblocking(False)
        self._source = source
        self._recv_into = source.recv_into
        self._memory = bytearray(ROOM)
        self._view = memoryview(self._memory)
        self._poll = select.poll()
        self._poll.register(source, select.POLLIN)

    def receive(self, dtype: np.dtype[Any], timeout: float) -> Events:
        """Until there is nothing more."""
        recv_into, view = self._recv_into, self._view
        at = 0
        try:
            at = recv_into(view)
            if at <= LARGE:
                for _ in range(DRAIN):
                    at += recv_into(view[at:])
                    if at > ROOM - LARGEST:
                        break
        except BlockingIOError:
            if at == 0:
                self._poll.poll(timeout * 1000)
        return np.frombuffer(self._memory, dtype, at // dtype.itemsize)

    def close(self) -> None:
        """Close this end."""
        self._source.close()
