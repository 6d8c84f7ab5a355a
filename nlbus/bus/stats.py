"""What a subscriber has counted, and what it was granted: in figures, and in words."""

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
    from nlbus.bus.sockets import Opening
    from nlbus.sources import Source

STREAM = ("portid", "uid", "instance", "groups", "delivered", "lost", "next_seq", "next_dgram", "time_ns")


def transport_name(socket: Socket, source: Source) -> str:
    """Which way this socket's events come."""
    if source.framing != "bus":
        return "netlink"
    return "usersock" if socket.protocol == BUS.protocol else "module"


def figures(receiver: Receiver, source: Source, undelivered: int) -> dict[str, Any]:
    """The counters of all its sockets, added up; `undelivered` events were received and nobody has them."""
    total: Counter[str] = Counter()
    for socket in receiver.sockets:
        used, size = socket.buffer()
        total.update(socket.counters() | {"buffer_used": used, "buffer_size": size})
    stats: dict[str, Any] = dict(total) | {"memory": receiver.pool.pinned}
    stats["delivered"] -= undelivered
    if source.framing == "bus":
        stats["streams"] = [
            dict(zip(STREAM, row, strict=True)) | {"transport": transport_name(socket, source)}
            for socket in receiver.sockets
            for row in socket.ledger.stream_rows()
        ]
    return stats


def explanation(receiver: Receiver, opening: Opening, groups: Groups, event_bytes: int) -> str:
    """What was opened and what the kernel granted."""
    source = opening.source
    where = "" if opening.netns is None else f" in network namespace {opening.netns!r}"
    lines = []
    fixed = opening.buffer_limit == opening.buffer_bytes
    growing = "" if fixed else f", may grow to {opening.buffer_limit}"
    for socket in receiver.sockets:
        module = transport_name(socket, source) == "module"
        kernel_name = "nlbus.ko" if module else source.kernel_name
        used, size = socket.buffer()
        lines.append(f"source {source.name}: {kernel_name} ({socket.protocol}), portid {socket.portid}")
        if socket is receiver.sockets[0]:
            lines.append(f"groups {', '.join(group_names(source, groups)) or 'none'}{where}")
        lines += [
            f"believes {_believed(opening, module)}",
            f"receive buffer {size} bytes (asked for {opening.buffer_bytes}{growing}), {used} used: "
            f"{size // truesize(event_bytes)} single events of {event_bytes} bytes",
        ]
    if receiver.expecting:
        lines.append("joins nlbus.ko when that is loaded")
    lines.append(f"batches may hold {receiver.pool.limit} bytes, and hold {receiver.pool.pinned}")
    return "\n".join(lines)


def _believed(opening: Opening, module: bool) -> str:
    source = opening.source
    if not source.user_groups:
        return "the kernel alone"
    if opening.trust is None:
        processes = "any process"
    else:
        processes = f"processes of uid {', '.join(map(str, sorted(opening.trust)))}"
    if module:
        return f"the kernel (portid 0), and {processes} as nlbus.ko has stamped them"
    if source.framing != "bus":
        return f"the kernel, and {processes} on groups {Groups.from_mask(source.user_groups)!r}"
    return processes
