"""What a transport is to the benchmarks: two ends, and perhaps a server between them."""

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

Events = npt.NDArray[np.void]  # structured: a row an event

PLUGINS = "nlbus.bench.transports"  # the group of entry points
LARGE = 4096  # bytes: a message of more is a batch, and worth an array of its own
DRAIN = 512  # single events, at most, that one `receive` gathers


class TransportError(NlbusError, RuntimeError):
    """A transport that does not do what it should: no server comes up, an end hears nothing."""


@dataclass(frozen=True)
class Service:
    """What both ends are told, and who stands between them."""

    where: str
    pid: int = 0  # of a server, whose processor time counts, too


class Publisher(ABC):
    """The sending end. When a call returns, its arguments are the caller's again, but for `events`: each
    batch is an array of its own."""

    @abstractmethod
    def publish_one(self, data: bytes) -> None:
        """One event, a message."""

    @abstractmethod
    def publish_batch(self, events: Events) -> None:
        """Many, in as few messages as are best."""

    def publish_each(self, events: Sequence[bytes]) -> None:
        """A message an event, for transports that pay for being called."""
        for data in events:
            self.publish_one(data)

    def flush(self) -> None:  # noqa: B027 - most have nothing to do
        """Everything is on its way when this returns."""

    def audience(self, count: int) -> None:  # noqa: B027
        """So many subscribers are there now, numbers 0 to count - 1."""

    def close(self) -> None:  # noqa: B027
        """The end."""


class Subscriber(ABC):
    """The receiving end."""

    @abstractmethod
    def receive(self, dtype: np.dtype[Any], timeout: float) -> Events:
        """What is there, one event at least; an empty array after about `timeout` seconds.

        It may be a view of memory that is valid until the next call.
        """

    def close(self) -> None:  # noqa: B027
        """The end."""


class Transport(ABC):
    """A way from one process to many, used as its documentation advises for speed."""

    name: ClassVar[str]
    note: ClassVar[str] = ""  # what a reader of its figures must know
    batches: ClassVar[bool] = True  # False: measured with single events only

    def missing(self) -> str | None:
        """Why it cannot be measured here, and what to install."""
        return None

    @contextmanager
    def serving(self, place: Path) -> Iterator[Service]:
        """In the process that starts both ends: servers, while it is entered. place: an empty directory."""
        yield Service(str(place))

    @abstractmethod
    def publisher(self, where: str) -> Publisher:
        """The one publisher: it is there before any subscriber."""

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
    """Those that installed packages bring."""
    return [entry.value for entry in metadata.entry_points(group=PLUGINS)]


def needs(module: str, package: str) -> str | None:
    """Why a module cannot be had, or None."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        return f"{error}: pip install {package}, or 'nlbus[rivals]'"
    return None


def free_port() -> int:
    """Of 127.0.0.1, just now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def buffer(events: Events) -> memoryview:
    """Its bytes as they lie: numpy's stubs do not say that an array is a buffer."""
    return memoryview(events)  # type: ignore[arg-type]


def joined(messages: list[bytes], dtype: np.dtype[Any]) -> Events:
    """Messages of whole events as one array."""
    return np.frombuffer(messages[0] if len(messages) == 1 else b"".join(messages), dtype)
