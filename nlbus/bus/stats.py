"""A subscriber's counters, and what the kernel granted it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from nlbus.kernel.groups import Groups
from nlbus.kernel.truesize import truesize
from nlbus.sources import group_names
from nlbus.sources.bus import BUS

if TYPE_CHECKING:
    from nlbus._core.receive.receiver import Receiver
    from nlbus._core.receive.socket import Socket
    from nlbus.bus.sockets import Opener
    from nlbus.schema.topic import Topic
    from nlbus.sources import Source
    from nlbus.table.received import Received, Wanted


log = logging.getLogger("nlbus")

DISTRUSTED, UNSTAMPED = 1, 3  # of _core/receive/strangers.pxd
MOST_REPORTED = 64  # senders and reasons


def transport_name(socket: Socket, source: Source) -> str:
    """The transport of this socket's events."""
    if source.framing != "bus":
        return "netlink"
    return "usersock" if socket.protocol == BUS.protocol else "module"


def figures(receiver: Receiver, source: Source, undelivered: int) -> dict[str, Any]:
    """The counters of all sockets, added up, less `undelivered` events that recv has not returned."""
    total: Counter[str] = Counter()
    for socket in receiver.sockets:
        used, size = socket.buffer()
        total.update(socket.counters() | {"buffer_used": used, "buffer_size": size})
    stats: dict[str, Any] = dict(total) | {"memory": receiver.pool.pinned}
    stats["delivered"] -= undelivered
    if source.framing == "bus":
        stats["streams"] = [
            row | {"transport": transport_name(socket, source)}
            for socket in receiver.sockets
            for row in socket.ledger.stream_rows()
        ]
    return stats


def explanation(receiver: Receiver, opener: Opener, groups: Groups, strangers: Strangers) -> str:
    """The sockets, groups, trust and buffers of a subscriber, in words."""
    source, event_bytes = opener.source, opener.buffer.event_bytes
    where = "" if opener.netns is None else f" in network namespace {opener.netns!r}"
    lines = []
    fixed = opener.buffer.limit == opener.buffer.size
    growing = "" if fixed else f", may grow to {opener.buffer.limit}"
    for socket in receiver.sockets:
        module = transport_name(socket, source) == "module"
        kernel_name = "nlbus.ko" if module else source.kernel_name
        used, size = socket.buffer()
        lines.append(f"source {source.name}: {kernel_name} ({socket.protocol}), portid {socket.portid}")
        if socket is receiver.sockets[0]:
            lines.append(f"groups {', '.join(group_names(source, groups)) or 'none'}{where}")
        lines += [
            f"believes {_believed(opener, module)}",
            *_disbelieved(socket.counters()["untrusted"], source),
            f"receive buffer {size} bytes (asked for {opener.buffer.size}{growing}), {used} used: "
            f"{size // truesize(event_bytes)} single events of {event_bytes} bytes",
        ]
    strangers.look(receiver)
    lines += strangers.lines
    lines += opener.narrowing.explain(receiver.sockets[0].filtered)
    if receiver.expecting:
        lines.append("joins nlbus.ko when that is loaded")
    lines.append(f"batches may hold {receiver.pool.limit} bytes, and hold {receiver.pool.pinned}")
    return "\n".join(lines)


def _disbelieved(count: int, source: Source) -> list[str]:
    if not count:
        return []
    help = (
        "trust=(UID, ...) or trust='any' (--trust) believes them"
        if source.user_groups
        else "only the kernel is believed"
    )
    return [f"dropped {count} datagrams of other senders: {help}"]


class Strangers:
    """Whom a subscriber does not believe, by uid as trust= is, and whose records do not fit, by portid.

    Each is reported once per reason: logged as it is found, and kept in `lines`. topics: those that the
    subscriber knows.
    """

    def __init__(self, opener: Opener, topics: Iterable[Topic]) -> None:
        self._source = opener.source
        self._opener = opener
        self._topics = {(topic.type, topic.fingerprint) for topic in topics}
        self._seen: set[Hashable] = set()
        self.known = 0  # of Receiver.strangers
        self.lines: list[str] = []

    def look(self, receiver: Receiver) -> None:
        """Report new senders that are not believed."""
        self.known = receiver.strangers
        for number, socket in enumerate(receiver.sockets):
            rows, others = socket.strangers()
            for portid, uid, reason, _ in rows:
                self._report((number, uid, reason), _sender(portid, uid), self._why(reason, uid))
            if others:
                words = "believed, either: `nlbus stats` shows who sends, sub.stats() how many datagrams"
                self._report((number, "others"), "further senders are not", words)

    def misfit(self, received: Received, wanted: Wanted) -> None:
        """Report the senders of events that `records` has left out."""
        rows = received.index
        if wanted.type is not None:
            rows = rows[rows["type"] == wanted.type]
        if wanted.groups:
            rows = rows[rows["groups"] & wanted.groups != 0]
        size, mark = wanted.dtype.itemsize, wanted.fingerprint
        fits = rows["record_size"] == size
        for i in np.flatnonzero(rows["offsets_at"] >= 0).tolist():
            ends = np.frombuffer(received.data, "<u4", int(rows["count"][i]) + 1, int(rows["offsets_at"][i]))
            fits[i] = bool((np.diff(ends) == size).all())
        if mark is not None:
            fits &= rows["fingerprint"] == mark
        names = ["portid", "uid", "type", "fingerprint", "record_size"]
        for portid, uid, kind, theirs, sent in np.unique(rows[names][~fits]).tolist():
            if (kind, theirs) in self._topics and theirs != mark:
                continue  # of another topic of ours
            lengths = f"of {sent} bytes" if sent else "of several lengths"
            if mark is None or theirs == mark:
                what = f"records {lengths}, type {kind:#x}, which records({_short(wanted.dtype)})"
                what += f" of {size} bytes"
                help = "pass their Topic or dtype, or the type= of those that you want"
            elif theirs:
                what = f"records {lengths}, type {kind:#x}, fingerprint {theirs:#018x}, which the Topic"
                what += f" of {size} bytes, fingerprint {mark:#018x},"
                help = "import one Topic at both ends, and pass another type= to each Topic"
            else:
                what = f"records {lengths}, type {kind:#x}, without a Topic, which the Topic of {size} bytes"
                help = "publish them with topic=, or pass their dtype to records()"
            words = f"sends {what} leaves out: {help}"
            key = (portid, uid, kind, size) if mark is None else (portid, uid, kind, theirs, mark)
            self._report(key, _sender(portid, uid), words)

    def _why(self, reason: int, uid: int) -> str:
        trust = self._opener.trust
        if reason == DISTRUSTED and trust is not None:
            uids = sorted({*trust, uid})
            options = " ".join(f"--trust {each}" for each in uids)
            words = ", ".join(map(str, uids))
            return f"is not believed: pass trust=[{words}] or trust='any' ({options}, or --trust any)"
        if reason == UNSTAMPED:
            return "is not believed, for nlbus.ko has not stamped its batches: publish with a Publisher"
        if self._source.framing == "bus":
            return "is not believed, for it sends to our address and not to a group: publish with a Publisher"
        return "is not believed: only the kernel is, on these groups"

    def _report(self, key: Hashable, sender: str, words: str) -> None:
        if key in self._seen or len(self._seen) >= MOST_REPORTED:
            return
        self._seen.add(key)
        self.lines.append(f"{sender} {words}")
        if self._source.user_groups:  # elsewhere only the kernel is believed, and this is no news
            log.warning("%s: %s %s", self._source.name, sender, words)


def _sender(portid: int, uid: int) -> str:
    return f"the sender with portid {portid} and uid {uid}" if portid else "the kernel"


def _short(dtype: np.dtype[Any]) -> str:
    return dtype.str if dtype.names is None else "a dtype"


def _believed(opener: Opener, module: bool) -> str:
    source = opener.source
    if not source.user_groups:
        return "the kernel alone"
    if opener.trust is None:
        processes = "any process"
    else:
        processes = f"processes of uid {', '.join(map(str, sorted(opener.trust)))}"
    if module:
        return f"the kernel (portid 0), and {processes} as nlbus.ko has stamped them"
    if source.framing != "bus":
        return f"the kernel, and {processes} on groups {Groups.from_mask(source.user_groups)!r}"
    return processes
