"""nlbus itself, on NETLINK_USERSOCK and through its module."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

import nlbus
from nlbus.bench.transports.transport import Events, Publisher, Subscriber, Transport
from nlbus.bus.transport import Transport as Way
from nlbus.sources.bus import module_protocol


class OurPublisher(Publisher):
    """publish and publish_many."""

    def __init__(self, way: Way, group: int, linger: float = 0.0) -> None:
        self._pub = nlbus.Publisher(linger, transport=way)
        self._group = group

    def publish_one(self, data: bytes) -> None:
        """One event."""
        self._pub.publish(data, self._group)

    def publish_batch(self, events: Events) -> None:
        """An array."""
        self._pub.publish_many(events, self._group)

    def flush(self) -> None:
        """Send lingering events."""
        self._pub.flush()

    def close(self) -> None:
        """Close this end."""
        self._pub.close()


class OurSubscriber(Subscriber):
    """recv and records."""

    def __init__(self, way: Way, group: int) -> None:
        self._sub = nlbus.Subscriber(groups=group, transport=way, on_loss="ignore")

    def receive(self, dtype: np.dtype[Any], timeout: float) -> Events:
        """A batch."""
        return self._sub.recv(timeout).records(dtype)

    def close(self) -> None:
        """Close this end."""
        self._sub.close()


class Nlbus(Transport):
    """On NETLINK_USERSOCK."""

    name = "nlbus"
    note = "a full subscriber loses, and counts"
    way: ClassVar[Way] = "usersock"
    group: ClassVar[int] = 1

    def missing(self) -> str | None:
        """Joining needs CAP_NET_ADMIN."""
        try:
            self.subscriber("", 0).close()
        except nlbus.NlbusError as error:
            return str(getattr(error, "strerror", None) or error)
        return None

    def publisher(self, where: str) -> Publisher:
        """To one group."""
        return OurPublisher(self.way, self.group)

    def subscriber(self, where: str, number: int) -> Subscriber:
        """Of that group."""
        return OurSubscriber(self.way, self.group)


class Again(Nlbus):
    """nlbus once more: the A/A control."""

    name = "nlbus again"
    note = "the A/A control"
    group = 2


class Lingering(Nlbus):
    """Single events that linger, as events do in the queues of other libraries."""

    name = "nlbus, linger 1 ms"
    note = "publishing returns before the event is sent, as with pyzmq, NATS and Zenoh"
    batches = False
    group = 5

    def publisher(self, where: str) -> Publisher:
        """To one group."""
        return OurPublisher(self.way, self.group, linger=0.001)


class Module(Nlbus):
    """Through nlbus.ko."""

    name = "nlbus, module"
    way = "module"
    group = 4

    def missing(self) -> str | None:
        """It has to be loaded."""
        if module_protocol() is None:
            return "nlbus.ko is not loaded: make kmod && insmod nlbus.ko"
        return super().missing()
