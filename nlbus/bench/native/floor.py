"""floor.c by ctypes: sockets like those of a Subscriber and a Publisher, and loops in C that use them."""

from __future__ import annotations

import ctypes
import os
import socket
from functools import cache
from typing import Self

import numpy as np

from nlbus._typing import Array
from nlbus.bench.native.compiling import compiled

USERSOCK = 2
SOL_NETLINK = 270
NETLINK_NO_ENOBUFS = 5
SO_RCVBUFFORCE = 33
HEAD = 96  # nlmsghdr and nlbus_batch
BUFFER = 64 << 20  # as a Subscriber requests
NLBUS_MAGIC, NLBUS_VERSION = 0x7375626E, 1

BATCH = np.dtype(
    [
        ("magic", "<u4"), ("version", "<u2"), ("header_len", "<u2"), ("flags", "<u4"), ("record_size", "<u4"),
        ("count", "<u4"), ("type", "<u4"), ("fingerprint", "<u8"), ("instance", "<u8"), ("first_seq", "<u8"),
        ("dgram_seq", "<u8"), ("time_ns", "<u8"), ("groups", "<u4"), ("origin_portid", "<u4"),
        ("origin_uid", "<u4"), ("repeats", "<u4"),
    ]
)  # fmt: skip


class Sum(ctypes.Structure):
    """What a loop has seen: struct floor_sum."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("datagrams", "messages", "bytes", "seq"))
    datagrams: int
    messages: int
    bytes: int
    seq: int


@cache
def library() -> ctypes.CDLL:
    """floor.c. NoCompiler."""
    lib = ctypes.CDLL(str(compiled("floor.c", shared=True)))
    lib.floor_reader.restype = ctypes.c_void_p
    lib.floor_reader.argtypes = (ctypes.c_int, ctypes.c_size_t)
    lib.floor_free.argtypes = (ctypes.c_void_p,)
    for name in ("floor_look", "floor_receive", "floor_walk", "floor_bus"):
        getattr(lib, name).argtypes = (ctypes.c_void_p, ctypes.POINTER(Sum))
        getattr(lib, name).restype = None
    lib.floor_dump.argtypes = (
        ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t,
    )  # fmt: skip
    lib.floor_dump.restype = ctypes.c_long
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


def enlarge(made: socket.socket, force: int, polite: int, size: int) -> None:
    """A buffer of this size, or what the kernel grants."""
    try:
        made.setsockopt(socket.SOL_SOCKET, force, size // 2)  # the kernel doubles it
    except PermissionError:
        made.setsockopt(socket.SOL_SOCKET, polite, size // 2)


class Ears:
    """A socket with the options of a Subscriber, read by the floor's loops: each empties the queue.

    groups: a mask; slot: bytes of the largest datagram. NoCompiler, OSError.
    """

    def __init__(self, groups: int, slot: int, protocol: int = USERSOCK) -> None:
        library()
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self.socket.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        if protocol == USERSOCK:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        enlarge(self.socket, SO_RCVBUFFORCE, socket.SO_RCVBUF, BUFFER)
        self.socket.bind((0, groups))
        self._reader = library().floor_reader(self.socket.fileno(), slot)

    @property
    def granted(self) -> int:
        """Bytes of the receive buffer."""
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def _drain(self, loop: str, *args: int) -> Sum:
        total = Sum()
        getattr(library(), loop)(self._reader, ctypes.byref(total), *args)
        return total

    def look(self) -> int:
        """Datagrams, of which no byte was copied: what the kernel takes to hand them over."""
        return self._drain("floor_look").datagrams

    def receive(self) -> int:
        """Datagrams, copied and not looked at."""
        return self._drain("floor_receive").datagrams

    def walk(self) -> int:
        """Messages, of which every header was read."""
        return self._drain("floor_walk").messages

    def bus(self) -> int:
        """Events of the bus, of which every batch header was read."""
        return self.bus_sum().messages

    def bus_sum(self) -> Sum:
        """The same, and as `seq` the sequence number behind the last one."""
        return self._drain("floor_bus")

    def listen(self, idle_ms: int) -> int:
        """Events of the bus, until none has come for so long."""
        return self._drain("floor_listen", idle_ms).messages

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        library().floor_free(self._reader)


class Asker:
    """A socket that requests a dump from the kernel and discards the answer. NoCompiler, OSError."""

    def __init__(self, request: bytes, protocol: int = socket.NETLINK_ROUTE) -> None:
        library()
        self._request = request
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        self._room = ctypes.create_string_buffer(1 << 16)

    def dump(self) -> int:
        """The bytes of the answer."""
        args = self._request, len(self._request), self._room, len(self._room)
        got: int = library().floor_dump(self._socket.fileno(), *args)
        if got < 0:
            raise OSError("the dump ended early")
        return got

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


class Voice:
    """A socket that sends as a Publisher does. NoCompiler, OSError."""

    def __init__(self) -> None:
        portid = ctypes.c_uint32()
        self._fd = library().floor_sender(ctypes.byref(portid))
        if self._fd < 0:
            raise OSError(-self._fd, os.strerror(-self._fd))
        self._portid = portid.value
        self._batches: dict[int, Array] = {}

    def post(self, group: int, memory: Array, starts: Array, lengths: Array) -> None:
        """Send datagrams that are complete in memory, at `starts` (uint64), of `lengths` (uint32)."""
        self._check(
            library().floor_post(
                self._fd, self._portid, group, memory.ctypes.data, starts.ctypes.data, lengths.ctypes.data,
                len(starts),
            )
        )  # fmt: skip

    def send(self, group: int, records: Array, per: int) -> int:
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


def new_batch(group: int, size: int) -> Array:
    """A struct nlbus_batch that floor_send counts up."""
    batch = np.zeros(1, BATCH)
    batch["magic"] = NLBUS_MAGIC
    batch["version"] = NLBUS_VERSION
    batch["header_len"] = BATCH.itemsize
    batch["record_size"] = size
    batch["instance"] = 0xF1004
    batch["groups"] = 1 << (group - 1)
    return batch
