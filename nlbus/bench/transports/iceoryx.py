"""iceoryx2: publish-subscribe in shared memory, nothing overwritten, nobody woken."""

from __future__ import annotations

import ctypes
import time
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
    joined,
    needs,
)

SUBSCRIBERS = 8
SINGLE, BATCH = "single", "batch"
LENGTH = {SINGLE: 1024, BATCH: 64 << 10}  # bytes of the longest message
QUEUE = {SINGLE: 4096, BATCH: 128}  # messages that a subscriber may be behind
NAP = 0.0001  # seconds between two looks
SHARED = Path("/dev/shm")


def prefix(place: Path) -> str:
    """What the names of all memory begin with that is shared for this run; `place` has a name of its own."""
    return f"iox2_{place.name}_"


def service(where: str, kind: str) -> Any:
    """The node, and the service of single events or of batches."""
    import iceoryx2  # noqa: PLC0415 - an extra

    iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
    # Not /tmp/iceoryx2: root would make it, and leave it closed to all others.
    config = iceoryx2.config.default()
    config.global_cfg.root_path = iceoryx2.Path.new(f"{where}/")
    config.global_cfg.prefix = iceoryx2.FileName.new(prefix(Path(where)))
    node = iceoryx2.NodeBuilder.new().config(config).create(iceoryx2.ServiceType.Ipc)
    name = iceoryx2.ServiceName.new(f"nlbus/bench/{kind}")
    made = (
        node.service_builder(name)
        .publish_subscribe(iceoryx2.Slice[ctypes.c_uint8])
        .enable_safe_overflow(False)
        .history_size(0)
        .max_publishers(1)
        .max_subscribers(SUBSCRIBERS)
        .subscriber_max_buffer_size(QUEUE[kind])
        .subscriber_max_borrowed_samples(2)
        .open_or_create()
    )
    return node, made


class IceoryxPublisher(Publisher):
    """A loan, filled and sent; while a subscriber's queue is full, it waits."""

    def __init__(self, where: str) -> None:
        import iceoryx2  # noqa: PLC0415 - an extra

        self._services = {kind: service(where, kind) for kind in (SINGLE, BATCH)}
        self._ports = {
            kind: made.publisher_builder()
            .initial_max_slice_len(LENGTH[kind])
            .backpressure_strategy(iceoryx2.BackpressureStrategy.RetryUntilDelivered)
            .create()
            for kind, (_, made) in self._services.items()
        }
        self._one, self._many = (self._ports[kind].loan_slice_uninit for kind in (SINGLE, BATCH))

    def publish_one(self, data: bytes) -> None:
        """A sample."""
        loan = self._one(len(data))
        ctypes.memmove(loan.payload_ptr, data, len(data))
        loan.assume_init().send()

    def publish_batch(self, events: Events) -> None:
        """A sample."""
        loan = self._many(events.nbytes)
        ctypes.memmove(loan.payload_ptr, events.ctypes.data, events.nbytes)
        loan.assume_init().send()

    def close(self) -> None:
        """Close this end."""
        for port in self._ports.values():
            port.delete()


class IceoryxSubscriber(Subscriber):
    """Looks, and naps where there is nothing."""

    def __init__(self, where: str) -> None:
        self._services = [service(where, kind) for kind in (SINGLE, BATCH)]
        self._ports = [
            made.subscriber_builder().buffer_size(QUEUE[kind]).create()
            for kind, (_, made) in zip((SINGLE, BATCH), self._services, strict=True)
        ]
        self._held: Any = None  # what the last array is a view of

    def receive(self, dtype: np.dtype[Any], timeout: float) -> Events:
        """Single events gathered, or a batch where it lies."""
        if self._held is not None:
            self._held.delete()
            self._held = None
        deadline = time.monotonic() + timeout
        while True:
            for port in self._ports:
                sample = port.receive()
                if sample is not None:
                    return self._taken(port, sample, dtype)
            if time.monotonic() >= deadline:
                return np.empty(0, dtype)
            time.sleep(NAP)

    def _taken(self, port: Any, sample: Any, dtype: np.dtype[Any]) -> Events:
        payload = sample.payload()
        length = payload.len()
        if length > LARGE:
            self._held = sample
            return np.frombuffer(payload.as_memory_view(), dtype)
        found: list[bytes] = []
        while sample is not None:
            found.append(ctypes.string_at(sample.payload_ptr, length))
            sample.delete()
            sample = port.receive() if len(found) < DRAIN else None
        return joined(found, dtype)

    def close(self) -> None:
        """Close this end."""
        if self._held is not None:
            self._held.delete()
        for port in self._ports:
            port.delete()


class Iceoryx(Transport):
    """Shared memory without the kernel."""

    name = "iceoryx2"
    note = (
        f"nobody is woken: subscribers look every {1e6 * NAP:.0f} us; a full queue makes the publisher "
        "wait, busily"
    )

    def missing(self) -> str | None:
        """iceoryx2."""
        return needs("iceoryx2", "iceoryx2")

    @contextmanager
    def serving(self, place: Path) -> Iterator[Service]:
        """Nobody serves; but what is shared must go at the end."""
        try:
            yield Service(str(place))
        finally:
            for left in SHARED.glob(f"{prefix(place)}*"):
                left.unlink(missing_ok=True)

    def publisher(self, where: str) -> Publisher:
        """Of both services."""
        return IceoryxPublisher(where)

    def subscriber(self, where: str, number: int) -> Subscriber:
        """Of both services."""
        return IceoryxSubscriber(where)
