"""The counters and parameters of nlbus.ko in one network namespace."""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple

from nlbus.bus.transport import NOT_LOADED
from nlbus.errors import kernel_error
from nlbus.kernel.arguments import whole
from nlbus.kernel.groups import Groups
from nlbus.kernel.netns import Netns, inside
from nlbus.kernel.requests import Requests, attribute, attributes
from nlbus.sources.bus import module_protocol

# kmod/uapi/nlbus.h: nlmsg_type, enum nlbus_param, enum nlbus_stat
MSG_GET, MSG_SET, MSG_STATS = 0x11, 0x12, 0x13
PARAMETERS = {"chain_bytes": 1, "linger_us": 2, "buffer_bytes": 3, "open_receive": 4, "listeners": 5}
GROUP = 2
OF_GROUP = {"events": 3, "bytes": 4, "datagrams": 5, "skipped": 6, "failed": 7, "overflow": 8}
OF_ALL = {"overflow": 8, "nomem": 9, "refused": 10, "evicted": 11, "streams": 12}
CHAIN_BYTES = (512, 32_448)
LINGER_US = (0, 10_000_000)
U32 = struct.Struct("=I")
NUMBERS = {4: U32, 8: struct.Struct("=Q")}


class GroupStats(NamedTuple):
    """The counters of one group.

    events, and the bytes and datagrams that held them. skipped: events without a listener. failed: datagrams
    that a subscriber did not take. overflow: events, for this group and others, lost in a full buffer.
    """

    group: int
    events: int
    bytes: int
    datagrams: int
    skipped: int
    failed: int
    overflow: int


class ModuleStats(NamedTuple):
    """nlbus.ko in one network namespace.

    chain_bytes: the size that datagrams of the kernel's events are filled to. linger_us: microseconds that an
    event may wait for others. buffer_bytes: per CPU. open_receive: receiving needs no privilege. listeners:
    groups that may have subscribers. overflow, nomem: events lost in full buffers, or for lack of memory.
    refused: datagrams of processes. evicted, streams: streams of the kernel that were ended to make room, and
    those that are open. groups: those to which anything was published.
    """

    protocol: int
    chain_bytes: int
    linger_us: int
    buffer_bytes: int
    open_receive: bool
    listeners: Groups
    overflow: int
    nomem: int
    refused: int
    evicted: int
    streams: int
    groups: tuple[GroupStats, ...]


def module_stats(netns: Netns = None) -> ModuleStats:
    """The counters and parameters of nlbus.ko. Needs no privilege. KernelError if it is not loaded."""
    return inside(netns, _stats)


def set_module(*, chain_bytes: int | None = None, linger_us: int | None = None, netns: Netns = None) -> None:
    """Set parameters of nlbus.ko in a network namespace: see ModuleStats. 512 to 32,448 bytes; up to 10 s.

    PermissionDenied (it needs CAP_NET_ADMIN there), SchemaError, KernelError.
    """
    wanted = {"chain_bytes": (chain_bytes, CHAIN_BYTES), "linger_us": (linger_us, LINGER_US)}
    body = b""
    for name, (value, (lowest, highest)) in wanted.items():
        if value is None:
            continue
        body += attribute(PARAMETERS[name], U32.pack(whole(value, name, lowest, highest)))
    action = "setting parameters of nlbus.ko"

    def ask() -> None:
        with _open(action)[0] as kernel:
            kernel.ask(MSG_SET, body, action)

    inside(netns, ask)


def _open(action: str) -> tuple[Requests, int]:
    protocol = module_protocol()
    if protocol is None:
        raise kernel_error(errno.EPROTONOSUPPORT, action, NOT_LOADED)
    try:
        return Requests(protocol), protocol
    except OSError as error:
        raise kernel_error(error.errno or 0, action) from error


def _stats() -> ModuleStats:
    action = "asking nlbus.ko"
    kernel, protocol = _open(action)
    with kernel:
        (answer,) = kernel.ask(MSG_GET, b"", action)
        dumped = [_numbers(reply.body) for reply in kernel.dump(MSG_STATS, b"", action)]
    return parsed(protocol, _numbers(answer.body), dumped)


def parsed(protocol: int, parameters: dict[int, int], dumped: list[dict[int, int]]) -> ModuleStats:
    """The answers, by the numbers of their attributes; numbers that the module does not report are 0."""
    known = {name: parameters.get(number, 0) for name, number in PARAMETERS.items()}
    total: dict[int, int] = {}
    groups = []
    for one in dumped:
        if not one.get(GROUP):
            total = one
        elif any(one.get(number) for number in OF_GROUP.values()):
            groups.append(GroupStats(one[GROUP], *(one.get(number, 0) for number in OF_GROUP.values())))
    counted = {name: total.get(number, 0) for name, number in OF_ALL.items()}
    return ModuleStats(
        protocol=protocol,
        chain_bytes=known["chain_bytes"],
        linger_us=known["linger_us"],
        buffer_bytes=known["buffer_bytes"],
        open_receive=bool(known["open_receive"]),
        listeners=Groups.from_mask(known["listeners"]),
        groups=tuple(groups),
        **counted,
    )


def _numbers(body: bytes) -> dict[int, int]:
    return {
        kind: NUMBERS[len(value)].unpack(value)[0]
        for kind, value in attributes(body).items()
        if len(value) in NUMBERS
    }
