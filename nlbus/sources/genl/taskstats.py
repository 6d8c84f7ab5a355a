"""TASKSTATS: what a thread used, when it ends; and what processes have used until now.

It has no multicast groups: the kernel sends to the sockets that registered for its CPUs. A gap in the `seq`
of one CPU is a loss. Only sockets of the first network namespace hear anything.
"""

import errno
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from nlbus.errors import KernelError
from nlbus.kernel.constants import MessageFlag
from nlbus.kernel.groups import Groups
from nlbus.kernel.requests import Requests, attribute, message
from nlbus.schema.schema import Attr, Nest, Schema, Struct, ignored
from nlbus.schema.types import S8, U8, U16, U32, U64, Field, pad, text
from nlbus.sources.genl.families import (
    GENLMSGHDR,
    HEADER,
    NETLINK_GENERIC,
    answer,
    family_source,
    find_family,
    reports,
    request,
)
from nlbus.sources.source import Handshake

NAME = "TASKSTATS"
VERSION = 1
TASKSTATS_CMD_GET, TASKSTATS_CMD_NEW = 1, 2
ATTR_PID, ATTR_TGID, ATTR_REGISTER_CPUMASK, ATTR_DEREGISTER_CPUMASK = 1, 2, 3, 4
POSSIBLE = Path("/sys/devices/system/cpu/possible")  # a mask beyond these is refused: ERANGE
POLICIES = {0: "other", 1: "fifo", 2: "rr", 3: "batch", 5: "idle", 6: "deadline", 7: "ext"}
ACCOUNTING = {1: "fork", 2: "su", 8: "core", 16: "signalled", 32: "group"}

# struct taskstats. It grows: older kernels send less of it. Version 15 had new fields in its middle.
SHUFFLED = 15
FIRST = (Field("version", U16), pad(2))
DELAYS = tuple(Field(name, U64, "ns" if name.endswith("total") else "") for name in (
    "cpu_count", "cpu_delay_total", "blkio_count", "blkio_delay_total", "swapin_count", "swapin_delay_total",
    "cpu_run_real_total", "cpu_run_virtual_total",
))  # fmt: skip
SWITCHES = (Field("nvcsw", U64), Field("nivcsw", U64))
OF_THREAD = (
    *FIRST,
    Field("exitcode", U32),  # as of waitpid(2)
    Field("flag", U8, flags=ACCOUNTING),
    Field("nice", S8),
    pad(6),
    *DELAYS,
    Field("comm", text(32)),
    Field("sched", U8, enum=POLICIES),
    pad(7),
    *(Field(name, U32) for name in ("uid", "gid", "pid", "ppid")),
    pad(8),  # ac_btime, of 32 bits
    *(Field(name, U64, "us") for name in ("etime", "utime", "stime")),
    *(Field(name, U64) for name in ("minflt", "majflt")),
    *(Field(name, U64, "MB*us") for name in ("coremem", "virtmem")),
    *(Field(name, U64, "KB") for name in ("hiwater_rss", "hiwater_vm")),
    *(Field(name, U64, "bytes") for name in ("read_char", "write_char")),
    *(Field(name, U64) for name in ("read_syscalls", "write_syscalls")),
    *(Field(name, U64, "bytes") for name in ("read_bytes", "write_bytes", "cancelled_write_bytes")),
    *SWITCHES,
    *(Field(name, U64, "us") for name in ("utimescaled", "stimescaled")),
    Field("cpu_scaled_run_real_total", U64, "ns"),
    Field("freepages_count", U64),
    Field("freepages_delay_total", U64, "ns"),
    Field("thrashing_count", U64),
    Field("thrashing_delay_total", U64, "ns"),
    Field("btime", U64, "s"),  # since 1970
    Field("compact_count", U64),
    Field("compact_delay_total", U64, "ns"),
    Field("tgid", U32),
    pad(4),
    Field("tgetime", U64, "us"),
    Field("exe_dev", U64, display="hex"),
    Field("exe_inode", U64),
    Field("wpcopy_count", U64),
    Field("wpcopy_delay_total", U64, "ns"),
    Field("irq_count", U64),
    Field("irq_delay_total", U64, "ns"),
)
# The kernel fills little for a whole process.
OF_PROCESS = (*FIRST, pad(12), *DELAYS)
SMALLEST = sum(field.type.size for field in OF_PROCESS)


def _join(group: int, options: Mapping[str, float], seq: int) -> bytes:
    return request(TASKSTATS_CMD_GET, attribute(ATTR_REGISTER_CPUMASK, _every_cpu()), seq, VERSION)


def _leave(group: int, seq: int) -> bytes:
    body = attribute(ATTR_DEREGISTER_CPUMASK, _every_cpu())
    return request(TASKSTATS_CMD_GET, body, seq, VERSION, flags=MessageFlag(0))


def _every_cpu() -> bytes:
    try:
        cpus = POSSIBLE.read_bytes().strip()
    except OSError:
        cpus = f"0-{(os.cpu_count() or 1) - 1}".encode()
    return cpus + b"\0"


def _processes() -> Iterator[bytes]:
    """Yield what the kernel answers about each process: of its first thread, and of all its threads."""
    family = find_family(NAME)
    if family is None:
        return
    head = GENLMSGHDR.pack(TASKSTATS_CMD_GET, VERSION)
    with Requests(NETLINK_GENERIC) as kernel:
        for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):  # noqa: PTH208
            body = b""
            try:
                for number in (ATTR_PID, ATTR_TGID):
                    about = attribute(number, struct.pack("=I", pid))
                    replies = kernel.ask(family.number, head + about, f"asking for process {pid}")
                    body += replies[0].body[GENLMSGHDR.size if body else 0 :]
            except KernelError as error:
                if error.errno != errno.ESRCH:
                    raise
                continue
            yield message(family.number, body, 0, 0)


SOURCE = family_source(
    NAME,
    (
        Schema(
            name="task",
            ops=reports(new=TASKSTATS_CMD_NEW),
            header=HEADER,
            prefix="TASKSTATS_TYPE_",
            entries=(
                Nest(
                    "TASKSTATS_TYPE_AGGR_PID",
                    4,
                    "TASKSTATS_TYPE_",
                    (
                        *ignored("TASKSTATS_TYPE_", PID=1, NULL=6),
                        Struct("TASKSTATS_TYPE_STATS", 3, OF_THREAD, column="-", min_size=SMALLEST),
                    ),
                    column="-",
                ),
                Nest(
                    "TASKSTATS_TYPE_AGGR_TGID",
                    5,
                    "TASKSTATS_TYPE_",
                    (
                        Attr("TASKSTATS_TYPE_TGID", 2, U32, column="id"),
                        Struct("TASKSTATS_TYPE_STATS", 3, OF_PROCESS, column="-", min_size=SMALLEST),
                        *ignored("TASKSTATS_TYPE_", NULL=6),
                    ),
                    column="process",
                ),
                *ignored("TASKSTATS_TYPE_", NULL=6),
            ),
            groups=("exit",),
            unless=(20, 2, SHUFFLED),
            dump=_processes,
            words={"tid": "pid"},
            about="what a thread used until it ended, and its process if it was the last one",
        ),
    ),
    groups={"exit": 1},
    default=Groups(1),
    highest=1,
    membership=False,
    sentinel=False,
    handshake=Handshake(join=_join, leave=_leave, answer=answer),
    namespaces=("net", "pid", "user"),
    needs="it needs CAP_NET_ADMIN and the first network, pid and user namespace: run as root, outside of any "
    "container",
    option="CONFIG_TASKSTATS",
    note="delays are 0 unless `sysctl kernel.task_delayacct=1`, and are counted from then on",
    example="nlbus listen genl:TASKSTATS",
)
