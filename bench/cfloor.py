"""The C floor: compiled when the benchmarks start, called by ctypes; and sockets like a Subscriber's."""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import socket
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Self

import numpy as np

HERE = Path(__file__).parent
FLAGS = ("-O3", "-std=gnu11", "-Wall", f"-I{HERE.parent / 'kmod' / 'uapi'}")
USERSOCK = 2
SOL_NETLINK = 270
NETLINK_NO_ENOBUFS = 5
SO_RCVBUFFORCE = 33
HEAD = 96  # nlmsghdr and nlbus_batch
BUFFER = 64 << 20  # what a Subscriber asks for
CLONE_NEWNET = 0x4000_0000
PLACE = "NLBUS_BENCH_PLACE"
HOME = -1  # the network namespace that we were started in


class Sum(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("datagrams", "messages", "bytes", "seq"))


@cache
def workshop() -> Path:
    """The directory of what is compiled. Child processes use their parent's; the parent removes it."""
    if PLACE not in os.environ:
        os.environ[PLACE] = mkdtemp(prefix="nlbus-bench-")
        atexit.register(shutil.rmtree, os.environ[PLACE], ignore_errors=True)
    return Path(os.environ[PLACE])


def compiled(name: str, *flags: str) -> Path:
    target = workshop() / name
    if not target.exists():
        source = HERE / f"{Path(name).stem}.c"
        command = [os.environ.get("CC", "cc"), *FLAGS, *flags, "-o", str(target), str(source)]
        subprocess.run(command, check=True)
    return target


@cache
def library() -> ctypes.CDLL:
    lib = ctypes.CDLL(str(compiled("floor.so", "-shared", "-fPIC")))
    lib.floor_reader.restype = ctypes.c_void_p
    lib.floor_reader.argtypes = (ctypes.c_int, ctypes.c_size_t)
    lib.floor_free.argtypes = (ctypes.c_void_p,)
    for name in ("floor_receive", "floor_walk", "floor_bus"):
        getattr(lib, name).argtypes = (ctypes.c_void_p, ctypes.POINTER(Sum))
        getattr(lib, name).restype = None
    lib.floor_fork.argtypes = (ctypes.c_long,)
    lib.floor_fork.restype = ctypes.c_long
    lib.floor_listen.argtypes = (ctypes.c_void_p, ctypes.POINTER(Sum), ctypes.c_int)
    lib.floor_listen.restype = None
    pointer, u32 = ctypes.c_void_p, ctypes.c_uint32
    lib.floor_post.argtypes = (ctypes.c_int, u32, u32, pointer, pointer, pointer, ctypes.c_long)
    lib.floor_post.restype = ctypes.c_long
    lib.floor_send.argtypes = (
        ctypes.c_int, u32, u32, pointer, ctypes.c_long, u32, u32, pointer,
    )  # fmt: skip
    lib.floor_send.restype = ctypes.c_long
    return lib


@cache
def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def enter_namespace() -> str:
    """Move this process to a network namespace of its own. Why not, or an empty text."""
    global HOME  # noqa: PLW0603 - a process has one
    HOME = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if libc().unshare(CLONE_NEWNET):
        why = os.strerror(ctypes.get_errno())
        return f"no private network namespace ({why}): needs CAP_SYS_ADMIN; try under `unshare -Urn`"
    return ""


class Ears:
    """A socket with the options of a Subscriber, read by one of the floor's loops."""

    def __init__(self, groups: int, slot: int, protocol: int = USERSOCK) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self.socket.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        if protocol == USERSOCK:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER // 2)
        except PermissionError:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER // 2)
        self.socket.bind((0, groups))
        self._reader = library().floor_reader(self.socket.fileno(), slot)

    @property
    def granted(self) -> int:
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def _drain(self, loop: str, *args: int) -> Sum:
        total = Sum()
        getattr(library(), loop)(self._reader, ctypes.byref(total), *args)
        return total

    def receive(self) -> int:
        return self._drain("floor_receive").datagrams

    def walk(self) -> int:
        return self._drain("floor_walk").messages

    def bus(self) -> int:
        return self._drain("floor_bus").messages

    def listen(self, idle_ms: int) -> int:
        return self._drain("floor_listen", idle_ms).messages

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        library().floor_free(self._reader)


class Voice:
    """A socket that sends as a Publisher does."""

    def __init__(self) -> None:
        portid = ctypes.c_uint32()
        self._fd = library().floor_sender(ctypes.byref(portid))
        if self._fd < 0:
            raise OSError(-self._fd, os.strerror(-self._fd))
        self._portid = portid.value
        self._batches: dict[int, np.ndarray] = {}

    def post(self, group: int, memory: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> None:
        """Send datagrams that are complete in memory."""
        self._check(
            library().floor_post(
                self._fd, self._portid, group, memory.ctypes.data, starts.ctypes.data, lengths.ctypes.data,
                len(starts),
            )
        )  # fmt: skip

    def send(self, group: int, records: np.ndarray, per: int) -> int:
        """Send records, `per` a datagram. The events sent."""
        size = records.dtype.itemsize
        batch = self._batches.get(group)
        if batch is None:
            batch = self._batches[group] = new_batch(group, size)
        self._check(
            library().floor_send(
                self._fd, self._portid, group, records.ctypes.data, len(records), size, per, batch.ctypes.data
            )
        )
        return len(records)

    @staticmethod
    def _check(result: int) -> None:
        if result < 0:
            raise OSError(-result, os.strerror(-result))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def new_batch(group: int, size: int) -> np.ndarray:
    """A struct nlbus_batch that floor_send counts up."""
    batch = np.zeros(1, BATCH)
    batch["magic"] = 0x7375626E
    batch["version"] = 1
    batch["header_len"] = BATCH.itemsize
    batch["record_size"] = size
    batch["instance"] = 0xF1004
    batch["groups"] = 1 << (group - 1)
    return batch


BATCH = np.dtype(
    [
        ("magic", "<u4"), ("version", "<u2"), ("header_len", "<u2"), ("flags", "<u4"), ("record_size", "<u4"),
        ("count", "<u4"), ("type", "<u4"), ("fingerprint", "<u8"), ("instance", "<u8"), ("first_seq", "<u8"),
        ("dgram_seq", "<u8"), ("time_ns", "<u8"), ("groups", "<u4"), ("origin_portid", "<u4"),
        ("origin_uid", "<u4"), ("repeats", "<u4"),
    ]
)  # fmt: skip
