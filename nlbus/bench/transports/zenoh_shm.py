"""Zenoh between peers: batches in shared memory, single events beside it."""

from __future__ import annotations

import json
import queue
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nlbus.bench.transports.transport import (
    DRAIN,
    LARGE,
    Events,
    Publisher,
    Service,
    Subscriber,
    Transport,
    free_port,
    joined,
    needs,
)

KEY = "nlbus/bench"
POOL = 64 << 20  # bytes of shared memory, as many as nlbus requests for its buffer


def pool() -> Any:
    """So many; or half of what a user may lock, for Zenoh locks what it shares, and wants some for itself."""
    import zenoh  # noqa: PLC0415 - an extra

    try:
        return zenoh.shm.ShmProvider.default_backend(POOL)
    except zenoh.ZError:
        return zenoh.shm.ShmProvider.default_backend(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] // 2)


def shared() -> list[Path]:
    """The files of Zenoh's memory that this process shares, including those of the peers that it meets."""
    found = re.findall(r"/dev/shm/\d+\.zenoh$", Path("/proc/self/maps").read_text(), re.MULTILINE)
    return [Path(name) for name in dict.fromkeys(found)]


def session(where: str, role: str) -> Any:
    """A peer without discovery; it connects to the given address."""
    import zenoh  # noqa: PLC0415 - an extra

    config = zenoh.Config()
    settings = {
        "mode": "peer",
        "scouting/multicast/enabled": False,
        "listen/endpoints": [where] if role == "publisher" else [],
        "connect/endpoints": [] if role == "publisher" else [where],
        "transport/shared_memory/enabled": True,
    }
    for key, value in settings.items():
        config.insert_json5(key, json.dumps(value))
    return zenoh.open(config)


class ZenohPublisher(Publisher):
    """CongestionControl.BLOCK: the default drops silently. Memory is allocated as readers give it back."""

    def __init__(self, where: str) -> None:
        import zenoh  # noqa: PLC0415 - an extra

        self._session = session(where, "publisher")
        self._put = self._session.declare_publisher(KEY, congestion_control=zenoh.CongestionControl.BLOCK).put
        self._pool = pool()
        self._policy = zenoh.shm.BlockOn(zenoh.shm.GarbageCollect())

    def publish_one(self, data: bytes) -> None:
        """Publish a plain message: Zenoh's documentation advises shared memory for larger ones only."""
        self._put(data)

    def publish_batch(self, events: Events) -> None:
        """Write to shared memory; a reader gets its address."""
        data = events.tobytes()
        memory = self._pool.alloc(len(data), self._policy)
        memory[:] = data
        self._put(memory)

    def close(self) -> None:
        """Close this end, and remove the files that Zenoh leaves behind."""
        ours = shared()
        self._session.close()
        for path in ours:
            path.unlink(missing_ok=True)


class ZenohSubscriber(Subscriber):
    """A callback into a queue; it costs less than a channel."""

    def __init__(self, where: str) -> None:
        self._session = session(where, "subscriber")
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._subscriber = self._session.declare_subscriber(KEY, self._queue.put)

    def receive(self, dtype: np.dtype[Any], timeout: float) -> Events:
        """The events that the callback received."""
        get = self._queue.get
        found: list[bytes] = []
        try:
            found.append(get(timeout=timeout).payload.to_bytes())
            if len(found[0]) <= LARGE:
                while len(found) < DRAIN:
                    found.append(get(block=False).payload.to_bytes())
        except queue.Empty:
            pass
        return joined(found, dtype) if found else np.empty(0, dtype)

    def close(self) -> None:
        """Close this end."""
        self._session.close()


class Zenoh(Transport):
    """Peers on 127.0.0.1."""

    name = "Zenoh shared memory"
    note = (
        "CongestionControl.BLOCK; single events go by TCP, in spite of the name; batches through at most "
        "64 MiB of shared memory, not zero-copy: Python's API wants bytes to put there and gives bytes back"
    )

    def missing(self) -> str | None:
        """eclipse-zenoh."""
        return needs("zenoh", "eclipse-zenoh")

    @contextmanager
    def serving(self, place: Path) -> Iterator[Service]:
        """A free port."""
        yield Service(f"tcp/127.0.0.1:{free_port()}")

    def publisher(self, where: str) -> Publisher:
        """Listening."""
        return ZenohPublisher(where)

    def subscriber(self, where: str, number: int) -> Subscriber:
        """Connected to it."""
        return ZenohSubscriber(where)
