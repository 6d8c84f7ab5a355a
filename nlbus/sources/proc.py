"""proc: processes that fork, exec, change who they are, dump core and exit, by the process event connector.

The kernel counts who wants them (`LISTEN`) and has to be told that one no longer does (`IGNORE`): it does not
notice a socket that is merely closed, and goes on making events for nobody.
"""

import struct
from collections.abc import Mapping

from nlbus.groups import Groups
from nlbus.netlink import MessageType
from nlbus.request import Reply, message
from nlbus.sources.source import Handshake, Source

CN_IDX_PROC = CN_VAL_PROC = 1
CN_MSG = struct.Struct("=IIIIHH")  # idx, val, seq, ack, len, flags
PROC_EVENT = struct.Struct("=IIQ")  # what, cpu, timestamp_ns; what follows is EVENTS[what]
PROC_CN_MCAST_LISTEN, PROC_CN_MCAST_IGNORE = 1, 2
PROC_EVENT_NONE = 0

# PROC_EVENT_*: the kind of event and the u32 that it begins with.
EVENTS = {
    PROC_EVENT_NONE: ("none", ("err",)),
    0x0000_0001: ("fork", ("parent_pid", "parent_tgid", "child_pid", "child_tgid")),
    0x0000_0002: ("exec", ("process_pid", "process_tgid")),
    0x0000_0004: ("uid", ("process_pid", "process_tgid", "ruid", "euid")),
    0x0000_0040: ("gid", ("process_pid", "process_tgid", "rgid", "egid")),
    0x0000_0080: ("sid", ("process_pid", "process_tgid")),
    0x0000_0100: ("ptrace", ("process_pid", "process_tgid", "tracer_pid", "tracer_tgid")),
    0x0000_0200: ("comm", ("process_pid", "process_tgid")),
    0x4000_0000: ("coredump", ("process_pid", "process_tgid", "parent_pid", "parent_tgid")),
    0x8000_0000: (
        "exit",
        ("process_pid", "process_tgid", "exit_code", "exit_signal", "parent_pid", "parent_tgid"),
    ),
}


def process_event(body: bytes) -> tuple[str, dict[str, int]] | None:
    """The kind and the numbers of a process event, from a message's payload; None if it is none."""
    start = CN_MSG.size + PROC_EVENT.size
    if len(body) < start or CN_MSG.unpack_from(body)[:2] != (CN_IDX_PROC, CN_VAL_PROC):
        return None
    kind, names = EVENTS.get(PROC_EVENT.unpack_from(body, CN_MSG.size)[0], ("", ()))
    if not kind or len(body) < start + 4 * len(names):
        return None
    return kind, dict(zip(names, struct.unpack_from(f"={len(names)}I", body, start), strict=True))


def _listen(group: int, options: Mapping[str, float], seq: int) -> bytes:
    return _control(PROC_CN_MCAST_LISTEN, seq)


def _ignore(group: int, seq: int) -> bytes:
    return _control(PROC_CN_MCAST_IGNORE, seq)


def _control(operation: int, seq: int) -> bytes:
    # The longer form, with a choice of events, is of Linux 6.6; older kernels ignore it without a word.
    body = CN_MSG.pack(CN_IDX_PROC, CN_VAL_PROC, seq, seq, 4, 0) + struct.pack("=I", operation)
    return message(MessageType.DONE, body, 0, seq)


def _answer(reply: Reply, seq: int) -> int | None:
    # All listeners hear it. The kernel numbers it as any event: only `ack`, ours and one, is ours.
    told = process_event(reply.body)
    if told is None or told[0] != "none" or CN_MSG.unpack_from(reply.body)[3] != seq + 1 & 0xFFFF_FFFF:
        return None
    return told[1]["err"]


PROC = Source(
    name="proc",
    protocol=11,
    kernel_name="NETLINK_CONNECTOR",
    framing="nlmsg",
    groups={"proc": CN_IDX_PROC},
    default=Groups(CN_IDX_PROC),
    handshake=Handshake(
        join=_listen,
        leave=_ignore,
        answer=_answer,
        silence="the kernel answers in the first network, pid and user namespace only (CONFIG_PROC_EVENTS): "
        "leave the container, or try netns=1",
    ),
    probe=Groups(CN_IDX_PROC),
    namespaces=("net", "pid", "user"),
    privileged=True,
    needs="before Linux 6.6, process events need CAP_NET_ADMIN in the first user namespace: run as root",
    option="CONFIG_PROC_EVENTS",
    example="nlbus listen proc",
)
