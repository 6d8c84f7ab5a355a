"""The interface of a transport: two ends, and perhaps a server between them."""

from __future__ import annotations

import importlib
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nlbus.errors import NlbusError

Events = npt.NDArray[np.void]  # structured: one row per event

PLUGINS = "nlbus.bench.transports"  # the group of entry points
LARGE = 4096  # bytes: a larger message is a batch, and worth an array of its own
DRAIN = 512  # single events that one `receive` gathers at most


class TransportError(NlbusError, RuntimeError):
    """A transport does not work: its server does not start, or an end receives nothing."""


@dataclass(frozen=True)
class Service:
    """The address that both ends get, and the server between them."""

    where: str
    pid: int = 0  # of a server; its processor time counts, too


class Publisher(ABC):
    """The sending end. When a call returns, the caller may reuse its arguments, except `events`: each batch
    is an array of its own."""

    @abstractmethod
    def publish_one(self, data: bytes) -> None:
        """Publish one event as one message."""

    @abstractmethod
    def publish_batch(self, events: Events) -> None:
        """Publish many events, in the number of messages that suits the transport best."""

    def publish_each(self, events: Sequence[bytes]) -> None:
        """Publish one message per event, for transports where each call costs."""
        for data in events:
            self.publish_one(data)

    def flush(self) -> None:  # noqa: B027 - most have nothing to do
        """Return when everything is on its way."""

    def audience(self, count: int) -> None:  # noqa: B027
        """There are `count` subscribers now, numbered 0 to count - 1."""

    def close(self) -> None:  # noqa: B027
        """Close this end."""


class Subscriber(ABC):
    """The receiving end."""

    @abstractmethod
    def receive(self, dtype: np.dtype[Any], timeout: float) -> Events:
        """The available events, at least one; an empty array after about `timeout` seconds.

        It may be a view of memory that is valid until the next call.
        """

    def close(self) -> None:  # noqa: B027
        """Close this end."""


class Transport(ABC):
    """A way from one process to many, used as its documentation advises for speed."""

    name: ClassVar[str]
    note: ClassVar[str] = ""  # for readers of its figures
    batches: ClassVar[bool] = True  # False: measured with single events only

    def missing(self) -> str | None:
        """Why it cannot be measured here, and what to install."""
        return None

    @contextmanager
    def serving(self, place: Path) -> Iterator[Service]:
        """Run servers, if any, in the process that starts both ends. place: an empty directory."""
        yield Service(str(place))

    @abstractmethod
    def publisher(self, where: str) -> Publisher:
        """The one publisher; it exists before any subscriber."""

    @abstractmethod
    def subscriber(self, where: str, number: int) -> Subscriber:
        """A subscriber, in a process of its own."""


def load(spec: str) -> Transport:
    """`module:Class` as a transport. TransportError."""
    module, _, name = spec.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise TransportError(f"transport {spec!r}: wanted module:Class, importable: {error}") from error
    if not isinstance(made, Transport):
        raise TransportError(f"transport {spec!r}: no subclass of {__name__}.Transport")
    return made


def plugins() -> list[str]:
    """The transports of installed packages, by entry point."""
    return [entry.value for entry in metadata.entry_points(group=PLUGINS)]


def needs(module: str, package: str) -> str | None:
    """The reason why a module cannot be imported, or None."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        return f"{error}: pip install {package}"
    return None


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def buffer(events: Events) -> memoryview:
    """Its bytes, not copied; numpy's stubs do not say that an array is a buffer."""
    return memoryview(events)  # type: ignore[arg-type]


def joined(messages: list[bytes], dtype: np.dtype[Any]) -> Events:
    """Messages of whole events as one array."""
    return np.frombuffer(messages[0] if len(messages) == 1 else b"".join(messages), dtype)
