"""Storms of real events, one maker per source. Each runs in its own process and returns its event count."""

import os
import shutil
import signal
import socket
import struct
import subprocess
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from nlbus import Batch
from nlbus.kernel.constants import MessageFlag, NewFlag
from nlbus.kernel.requests import attribute, message
from tests.support.sockets import NotPermitted, ip

ROUTES = 50_000  # made and removed: two events each
CONNECTIONS = 20_000
FORKS = 50_000
UEVENTS = 20_000
PACKETS = 20_000
ELEMENTS = 10_000
POLICIES = 1_000  # made and removed
DEVICES = 200  # pairs, made and removed
RECORDS = 2_000
PER_SEND = 100  # requests

RTM_NEWROUTE, RTM_DELROUTE = 24, 25
AUDIT_USER_AVC = 1107
PROC_EVENT_FORK = 1
NETDEV_CMD_DEV_ADD_NTF, NETDEV_CMD_DEV_DEL_NTF = 2, 3
MARK = uuid.uuid4()  # identifies our uevents and audit records
NULL = Path("/sys/devices/virtual/mem/null/uevent")


class Storm(NamedTuple):
    """A storm: its source, preparation and maker; `make` returns how many events `mine` will count."""

    source: str
    groups: tuple[int | str, ...] | None  # of the subscriber that must lose nothing; None: the default
    prepare: Callable[[], None]
    make: Callable[[], int]
    mine: Callable[[Batch], int]
    other_groups: tuple[int | str, ...] | None = None  # of the one with the tiny buffer; None: the same
    home: bool = False  # delivered in the first network namespace only
    shared: bool = False  # other processes on this machine cause such events, too


def nothing() -> None:
    """No preparation."""


def every(batch: Batch) -> int:
    return len(batch)


def where(column: str, *values: int) -> Callable[[Batch], int]:
    return lambda batch: int(np.isin(batch.messages[column], values).sum())


def tool(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise NotPermitted(f"no `{name}` command here")
    return found


def nft(rules: str) -> None:
    done = subprocess.run([tool("nft"), "-f", "-"], input=rules, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nft: {done.stderr.strip()}")


# -- route ------------------------------------------------------------------------------------------


def up() -> None:
    ip("link set lo up")


def routes() -> int:
    """Route requests without acks, a hundred per system call."""
    flags = MessageFlag.REQUEST | NewFlag.CREATE | NewFlag.EXCL
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as rtnetlink:
        for kind, how in ((RTM_NEWROUTE, flags), (RTM_DELROUTE, MessageFlag.REQUEST)):
            for first in range(0, ROUTES, PER_SEND):
                rtnetlink.send(b"".join(route(kind, how, n) for n in range(first, first + PER_SEND)))
    return 2 * ROUTES


def route(kind: int, flags: int, number: int) -> bytes:
    # struct rtmsg: AF_INET, /32, table main, protocol static, scope link, unicast; then RTA_DST and RTA_OIF
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 254, 4, 253, 1, 0)
    body += attribute(1, struct.pack(">I", 0x0A00_0000 + number)) + attribute(4, struct.pack("=I", 1))
    return message(kind, body, flags, number)


# -- connections ------------------------------------------------------------------------------------


def track() -> None:
    up()
    nft(
        "add table ip t; add chain ip t c { type filter hook output priority 0; };"
        "add rule ip t c ct state new"
    )


def connect() -> int:
    """TCP connections over lo, each from a different address and port, ended by a reset."""
    linger = struct.pack("ii", 1, 0)
    for first in range(0, CONNECTIONS, 1000):
        with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
            port = server.getsockname()[1]
            for number in range(first, first + 1000):
                source = (f"127.0.1.{1 + number // 10_000}", 10_000 + number % 10_000)
                with socket.socket() as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    client.bind(source)
                    client.connect(("127.0.0.1", port))
                    server.accept()[0].close()
    return CONNECTIONS


def connect_and_close() -> int:
    """TCP connections made by sockets: both ends of each are destroyed, and the listening sockets."""
    return 2 * connect() + CONNECTIONS // 1000


# -- processes --------------------------------------------------------------------------------------


def fork() -> int:
    """Short-lived processes forked by a shell, which is small and therefore forks faster."""
    signal.alarm(200)  # on a busy machine
    script = f"i=0; while [ $i -lt {FORKS} ]; do (:); i=$((i + 1)); done"
    subprocess.run([tool("sh"), "-c", script], check=True)
    return FORKS


class ForksOfOne:
    """The forks of the process that forked most; its pid is not known beforehand."""

    def __init__(self) -> None:
        self.forks: Counter[int] = Counter()

    def __call__(self, batch: Batch) -> int:
        before = max(self.forks.values(), default=0)
        length = int(batch.messages["length"].max())
        head = [("cn_msg", "V20"), ("what", "<u4"), ("cpu", "<u4"), ("time", "<u8"), ("parent", "<u4")]
        events = batch.records([*head, ("rest", f"V{length - 40}")])
        self.forks.update(events["parent"][events["what"] == PROC_EVENT_FORK].tolist())
        return max(self.forks.values(), default=0) - before


# -- packets, tables, policies ------------------------------------------------------------------------


def log_packets() -> None:
    up()
    nft(
        "add table ip t; add chain ip t c { type filter hook output priority 0; };"
        "add rule ip t c udp dport 9 log group 1; add rule ip t c udp dport 9 log group 2"
    )


def send_packets() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for number in range(PACKETS):
            udp.sendto(number.to_bytes(4, "big"), ("127.0.0.1", 9))
    return PACKETS


def table() -> None:
    nft("add table ip t; add set ip t s { type ipv4_addr; }")


def add_elements() -> int:
    for first in range(0, ELEMENTS, 1000):
        nft(
            "".join(f"add element ip t s {{ 10.1.{n >> 8}.{n & 255} }}\n" for n in range(first, first + 1000))
        )
    return ELEMENTS


def policies() -> int:
    for verb in ("add", "del"):
        ip(
            *(
                f"xfrm policy {verb} src 10.0.{n >> 8}.{n & 255}/32 dst 10.9.9.9/32 dir out"
                for n in range(POLICIES)
            )
        )
    return 2 * POLICIES


def devices() -> int:
    ip(*(f"link add a{n} type veth peer name b{n}" for n in range(DEVICES)))
    ip(*(f"link del a{n}" for n in range(DEVICES)))
    return 4 * DEVICES


def come_and_gone(batch: Batch) -> int:
    return sum(
        batch.payload(i)[0] in (NETDEV_CMD_DEV_ADD_NTF, NETDEV_CMD_DEV_DEL_NTF) for i in range(len(batch))
    )


# -- devices and audit --------------------------------------------------------------------------------


def change_null() -> int:
    """Synthetic change events of /dev/null; nothing else happens."""
    try:
        with NULL.open("wb", buffering=0) as uevent:
            for _ in range(UEVENTS):
                uevent.write(f"change {MARK}".encode())
    except OSError as error:
        raise NotPermitted(f"{NULL}: {error.strerror}") from None
    return UEVENTS


def of_null(batch: Batch) -> int:
    return sum(f"\0SYNTH_UUID={MARK}\0".encode() in batch.payload(i) for i in range(len(batch)))


def audit() -> int:
    """User-space audit records, which the kernel logs and multicasts."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9) as kernel:
        for number in range(RECORDS):
            flags = MessageFlag.REQUEST | MessageFlag.ACK
            kernel.send(message(AUDIT_USER_AVC, f"nlbus storm {MARK} {number}".encode(), flags, number))
            kernel.recv(4096)
    return RECORDS


def of_audit(batch: Batch) -> int:
    return sum(f"nlbus storm {MARK}".encode() in batch.payload(i) for i in range(len(batch)))


# -- all of them --------------------------------------------------------------------------------------


def storms() -> Iterator[Storm]:
    yield Storm("route", None, up, routes, where("type", RTM_NEWROUTE, RTM_DELROUTE))
    yield Storm("conntrack", None, track, connect, where("group", 1))
    yield Storm("proc", None, nothing, fork, ForksOfOne(), home=True, shared=True)
    yield Storm("uevent", None, nothing, change_null, of_null, shared=True)
    yield Storm("nflog", ("1",), log_packets, send_packets, every, other_groups=("2",))
    yield Storm("nftables", None, table, add_elements, where("type", 10 << 8 | 12))
    yield Storm("xfrm", None, nothing, policies, every)
    yield Storm("genl:netdev", None, nothing, devices, come_and_gone)
    yield Storm("sock_diag", ("inet_tcp_destroy",), up, connect_and_close, every)
    yield Storm("audit", None, nothing, audit, of_audit, home=True, shared=True)
