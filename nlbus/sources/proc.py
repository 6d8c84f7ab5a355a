"""proc: processes that fork, exec, change their ids, dump core and exit, from the process event connector.

The kernel counts its listeners: `LISTEN` adds one, `IGNORE` removes one. It does not notice a closed socket:
without `IGNORE` it makes events forever.
"""

import struct
from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np

from nlbus.kernel.constants import MessageType
from nlbus.kernel.groups import Groups
from nlbus.kernel.procfs import process_facts
from nlbus.kernel.requests import Reply, message
from nlbus.schema.schema import Facts, Op, Schema
from nlbus.schema.types import S32, U32, U64, Column, Field, pad, text
from nlbus.sources.existing import processes
from nlbus.sources.source import Handshake, Option, Source

CN_IDX_PROC = CN_VAL_PROC = 1
CN_MSG = struct.Struct("=IIIIHH")  # idx, val, seq, ack, len, flags
PROC_EVENT = struct.Struct("=IIQ")  # what, cpu, timestamp_ns; what follows is EVENTS[what]
PROC_CN_MCAST_LISTEN, PROC_CN_MCAST_IGNORE = 1, 2
PROC_EVENT_NONE, PROC_EVENT_SID = 0, 0x80

# In the kernel's words, a tgid is a process and a pid is one of its threads.
PROCESS = (Field("process_pid", S32), Field("process_tgid", S32))
PARENT = (Field("parent_pid", S32), Field("parent_tgid", S32))
# The kernel writes 0 for a thread that has no parent of its own.
PARENT_OR_NONE = (Field("parent_pid", S32, absent=0), Field("parent_tgid", S32, absent=0))

# PROC_EVENT_*: the kind of event, its part of the union in struct proc_event, its meaning.
EVENTS: dict[int, tuple[str, tuple[Field, ...], str]] = {
    PROC_EVENT_NONE: ("none", (Field("err", U32),), "the answer to a request: errno"),
    0x0000_0001: (
        "fork",
        (*PARENT, Field("child_pid", S32), Field("child_tgid", S32)),
        "a process or thread was made",
    ),
    0x0000_0002: ("exec", PROCESS, "a process became another program"),
    0x0000_0004: ("uid", (*PROCESS, Field("ruid", U32), Field("euid", U32)), "the user changed"),
    0x0000_0040: ("gid", (*PROCESS, Field("rgid", U32), Field("egid", U32)), "the group changed"),
    PROC_EVENT_SID: ("sid", PROCESS, "a process leads a session of its own"),
    0x0000_0100: (
        "ptrace",
        (*PROCESS, Field("tracer_pid", S32), Field("tracer_tgid", S32)),
        "a tracer came, or went: 0",
    ),
    0x0000_0200: ("comm", (*PROCESS, Field("comm", text(16))), "a thread was given a name"),
    0x4000_0000: ("coredump", (*PROCESS, *PARENT_OR_NONE), "a process dumps core"),
    0x8000_0000: (
        "exit",
        (*PROCESS, Field("exit_code", U32), Field("exit_signal", S32), *PARENT_OR_NONE),
        "a thread ended: exit_code as of waitpid(2), exit_signal to its parent (-1: none, a mere thread)",
    ),
}
NUMBERS = {
    what: (name, tuple(field for field in fields if field.type.storage == "fixed"))
    for what, (name, fields, _) in EVENTS.items()
}


def process_event(body: bytes) -> tuple[str, dict[str, int]] | None:
    """The kind and the numbers of a process event, from a message's payload; None for other messages."""
    start = CN_MSG.size + PROC_EVENT.size
    if len(body) < start or CN_MSG.unpack_from(body)[:2] != (CN_IDX_PROC, CN_VAL_PROC):
        return None
    kind, fields = NUMBERS.get(PROC_EVENT.unpack_from(body, CN_MSG.size)[0], ("", ()))
    if not kind or len(body) < start + 4 * len(fields):
        return None
    numbers = zip(fields, struct.unpack_from(f"={len(fields)}I", body, start), strict=True)
    return kind, {field.name: number for field, number in numbers if number != field.absent}


def _present(what: int) -> Iterator[bytes]:
    """Yield the events that led to the current processes, dated when each process started."""
    for process in processes():
        pid, parent = process.pid, process.ppid
        numbers = {
            "fork": (parent, parent, pid, pid),
            "exec": (pid, pid),
            "uid": (pid, pid, *process.uids),
            "gid": (pid, pid, *process.gids),
            "sid": (pid, pid),
            "comm": (pid, pid, process.comm),
        }[EVENTS[what][0]]
        if what == PROC_EVENT_SID and process.sid != pid:
            continue
        own = b"".join(n.ljust(16, b"\0") if isinstance(n, bytes) else struct.pack("=I", n) for n in numbers)
        body = CN_MSG.pack(CN_IDX_PROC, CN_VAL_PROC, 0, 0, PROC_EVENT.size + len(own), 0)
        body += PROC_EVENT.pack(what, 0, process.started_ns) + own
        yield message(MessageType.DONE, body, 0, 0)


def _listen(group: int, options: Mapping[str, float], seq: int) -> bytes:
    return _control(PROC_CN_MCAST_LISTEN, seq)


def _ignore(group: int, seq: int) -> bytes:
    return _control(PROC_CN_MCAST_IGNORE, seq)


def _narrow(tables: frozenset[str], seq: int) -> bytes:
    # struct proc_input, since Linux 6.6; older kernels silently ignore it. Its ack would be filtered away.
    kinds = sum(what for what, (name, _, _) in EVENTS.items() if name in tables)
    return _control(PROC_CN_MCAST_LISTEN, seq, struct.pack("=I", kinds))


def _control(operation: int, seq: int, more: bytes = b"") -> bytes:
    body = CN_MSG.pack(CN_IDX_PROC, CN_VAL_PROC, seq, seq, 4 + len(more), 0)
    body += struct.pack("=I", operation) + more
    return message(MessageType.DONE, body, 0, seq)


def _answer(reply: Reply, seq: int) -> int | None:
    # All listeners receive it, and its seq is the kernel's: only `ack`, our seq plus 1, says it is ours.
    event = process_event(reply.body)
    if event is None or event[0] != "none" or CN_MSG.unpack_from(reply.body)[3] != seq + 1 & 0xFFFF_FFFF:
        return None
    return event[1]["err"]


# struct cn_msg, and struct proc_event up to its union.
HEADER = (
    pad(4),  # idx
    pad(4),  # val
    Field("seq", U32),  # increases by 1 per event of a cpu
    pad(4),  # ack
    pad(2),  # len
    pad(2),  # flags
    pad(4),  # what
    Field("cpu", U32),
    Field("timestamp_ns", U64, unit="ns"),  # since boot
)

# The words of ps, where a pid is a process.
WORDS = (
    ("pid", "process_tgid"), ("pid", "child_tgid"), ("ppid", "parent_tgid"), ("tid", "process_pid"),
    ("tid", "child_pid"),
)  # fmt: skip

# What /proc says of the process, if it is asked at once.
FACTS = (
    Column(name="name", dtype=np.dtype("V1"), type="string", storage="text", attribute="/proc/PID/comm"),
    Column(name="exe", dtype=np.dtype("V1"), type="string", storage="text", attribute="/proc/PID/exe"),
    Column(
        name="cmdline", dtype=np.dtype("V1"), type="string", storage="text", list=True,
        attribute="/proc/PID/cmdline",
    ),
    Column(
        name="process_uid", dtype=np.dtype("u4"), type="u32", attribute="/proc/PID/status", words=("uid",)
    ),
    Column(name="cgroup", dtype=np.dtype("V1"), type="string", storage="text", attribute="/proc/PID/cgroup"),
)  # fmt: skip
FACTS_OF = {"exec": "process_tgid", "fork": "child_tgid"}

SCHEMAS = tuple(
    Schema(
        name=name,
        ops=(Op(MessageType.DONE, "new"),),
        header=(*HEADER, *fields),
        words={word: name for word, name in WORDS if name in {field.name for field in fields}},
        groups=("proc",),
        facts=Facts(FACTS_OF[name], FACTS, process_facts) if name in FACTS_OF else None,
        selector=(CN_MSG.size, 4, what),
        dump=partial(_present, what) if name in ("fork", "exec", "uid", "gid", "sid", "comm") else None,
        about=about,
    )
    for what, (name, fields, about) in EVENTS.items()
    if what != PROC_EVENT_NONE
)

PROC = Source(
    name="proc",
    protocol=11,
    kernel_name="NETLINK_CONNECTOR",
    framing="nlmsg",
    groups={"proc": CN_IDX_PROC},
    default=Groups(CN_IDX_PROC),
    schemas=SCHEMAS,
    handshake=Handshake(
        join=_listen,
        leave=_ignore,
        answer=_answer,
        narrow=_narrow,
        silence="the kernel answers in the first network, pid and user namespace only (CONFIG_PROC_EVENTS): "
        "leave the container, or try netns=1",
    ),
    options={
        "facts": Option(0, 0, 1, "1: read name, exe, cmdline, uid and cgroup of exec and fork at once"),
    },
    probe=Groups(CN_IDX_PROC),
    namespaces=("net", "pid", "user"),
    privileged=True,
    needs="before Linux 6.6, process events need CAP_NET_ADMIN in the first user namespace: run as root",
    option="CONFIG_PROC_EVENTS",
    example="nlbus listen proc",
)
