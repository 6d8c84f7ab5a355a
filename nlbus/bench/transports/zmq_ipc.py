"""pyzmq: PUB and SUB over ipc."""

from __future__ import annotations

from typing import Any

import numpy as np

from nlbus.bench.transports.transport import (
    DRAIN,
    LARGE,
    Events,
    Publisher,
    Subscriber,
    Transport,
    buffer,
    joined,
    needs,
)


class ZmqPublisher(Publisher):
    """HWM 0, because at its high-water mark PUB drops silently. Batches are not copied."""

    def __init__(self, where: str) -> None:
        import zmq  # noqa: PLC0415 - an extra

        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.set_hwm(0)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(f"ipc://{where}/zmq")

    def publish_one(self, data: bytes) -> None:
        """Publish a message; zmq copies one this small in any case."""
        self._socket.send(data)

    def publish_batch(self, events: Events) -> None:
        """A message: the array is zmq's until it is sent."""
        self._socket.send(buffer(events), flags=0, copy=False)

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
        self._context.term()


class ZmqSubscriber(Subscriber):
    """recv with NOBLOCK until nothing is left; batches are not copied."""

    def __init__(self, where: str) -> None:
        import zmq  # noqa: PLC0415 - an extra

        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.set_hwm(0)
        self._socket.connect(f"ipc://{where}/zmq")
        self._socket.subscribe(b"")
        self._nothing = zmq.Again
        self._noblock = zmq.NOBLOCK
        self._batches = False

    def receive(self, dtype: np.dtype[Any], timeout: float) -> Events:
        """Single events gathered, or a batch."""
        recv, noblock = self._socket.recv, self._noblock
        found: list[bytes] = []
        try:
            while len(found) < DRAIN:
                if self._batches:
                    frame = recv(noblock, copy=False)
                    self._batches = len(frame) > LARGE
                    if self._batches:
                        return np.frombuffer(frame.buffer, dtype)
                    found.append(frame.bytes)
                    continue
                data = recv(noblock)
                found.append(data)
                if len(data) > LARGE:
                    self._batches = True
                    break
        except self._nothing:
            if not found:
                self._socket.poll(round(timeout * 1000))
        return joined(found, dtype) if found else np.empty(0, dtype)

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
        self._context.term()


class Zmq(Transport):
    """Over a unix stream socket, with a thread at each end."""

    name = "pyzmq ipc"
    note = "HWM 0: what is not read yet lies in memory, without a bound"

    def missing(self) -> str | None:
        """pyzmq."""
        return needs("zmq", "pyzmq")

    def publisher(self, where: str) -> Publisher:
        """Bound."""
        return ZmqPublisher(where)

    def subscriber(self, where: str, number: int) -> Subscriber:
        """Connected."""
        return ZmqSubscriber(where)
