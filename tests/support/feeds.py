"""Feeds without a kernel: batches built by a test, with times, senders, groups and losses."""

import io
from collections.abc import Iterable
from typing import Any, NamedTuple

from nlbus import Batch, ClosedError, Groups, open_capture
from nlbus.bus.stream import Feed
from nlbus.sources import Source, find
from tests.support.captures import comment, cooked, interface, packet, section

NS = (9, bytes([9]))


JOINED = Groups(1, 7)


class Given(Feed):
    """Yields the given batches, each with its losses, then ends."""

    def __init__(self, source: str, batches: Iterable[Batch], groups: Groups = JOINED) -> None:
        super().__init__("ignore")
        self._source = find(source)
        self._batches = iter(batches)
        self._groups = groups

    @property
    def source(self) -> Source:
        return self._source

    @property
    def groups(self) -> Groups:
        return self._groups

    def recv(self, timeout: float | None = None) -> Batch:
        try:
            return next(self._batches)
        except StopIteration:
            raise ClosedError("that was all") from None

    def stats(self) -> dict[str, Any]:
        return {}

    def explain(self) -> str:
        return ""

    def close(self) -> None:
        pass


class Sent(NamedTuple):
    """A datagram and its receive metadata."""

    time_ns: int
    datagram: bytes
    group: int = 0
    portid: int = 0
    uid: int = 0
    nsid: int = -1


def batches(source: str, sent: Iterable[Sent]) -> list[Batch]:
    """Batches with times, senders and groups, decoded from a capture that the oracle builds."""
    protocol = find(source).protocol
    blocks = [section()]
    origins: dict[tuple[int, ...], int] = {}
    for one in sent:
        if one[2:] not in origins:
            origins[one[2:]] = len(origins)
            words = f"group={one.group} portid={one.portid} uid={one.uid} nsid={one.nsid}"
            blocks.append(interface(NS, comment(f"nlbus source={source} protocol={protocol} {words}")))
        blocks.append(packet(cooked(one.datagram, protocol), one.time_ns, origins[one[2:]]))
    return list(open_capture(io.BytesIO(b"".join(blocks)), on_loss="ignore"))
