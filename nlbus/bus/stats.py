"""A subscriber's counters, and what the kernel granted it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from nlbus.kernel.groups import Groups
from nlbus.kernel.truesize import truesize
from nlbus.sources import group_names
from nlbus.sources.bus import BUS

if TYPE_CHECKING:
    from nlbus._core.receive.receiver import Receiver
    from nlbus._core.receive.socket import Socket
    from nlbus.bus.sockets import Opener
    from nlbus.sources import Source


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


def explanation(receiver: Receiver, opener: Opener, groups: Groups) -> str:
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
