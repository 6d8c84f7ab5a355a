"""libmnl and libnl, by small C programs (libmnl.c, libnl.c) that are compiled here and called by ctypes."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import NamedTuple

from nlbus.bench.native import NoCompiler, compiled


class Counts(ctypes.Structure):
    """struct counts of library.h."""

    _fields_ = (("messages", ctypes.c_uint64), ("value", ctypes.c_uint64), ("overruns", ctypes.c_uint64))

    messages: int
    value: int
    overruns: int


class Kind(NamedTuple):
    """A library, and how to compile its program."""

    name: str
    package: str  # Debian's
    flags: tuple[str, ...]


LIBMNL = Kind("libmnl", "libmnl-dev", ("-lmnl",))
LIBNL = Kind("libnl", "libnl-3-dev libnl-route-3-dev", ("-I/usr/include/libnl3", "-lnl-route-3", "-lnl-3"))
HERE = Path(__file__).parent


class Library:
    """A loaded library. OSError says what to install, and reports errors of the library."""

    def __init__(self, kind: Kind) -> None:
        self.name = kind.name
        try:
            path = compiled(HERE / f"{kind.name}.c", *kind.flags, shared=True)
        except NoCompiler as error:
            raise OSError(f"{str(error).splitlines()[0]}; install {kind.package}") from None
        self._lib = ctypes.CDLL(str(path))
        counts = ctypes.POINTER(Counts)
        self._lib.library_parse.argtypes = (ctypes.c_char_p, ctypes.c_size_t, counts)
        self._lib.library_dump.argtypes = (counts,)
        self._lib.library_open.restype = ctypes.c_void_p
        self._lib.library_open.argtypes = (ctypes.c_int,)
        self._lib.library_listen.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int, counts)

    def parse(self, messages: bytes) -> Counts:
        """Parse consecutive messages in memory."""
        return self._called("parse", messages, len(messages))

    def dump(self) -> Counts:
        """Request all IPv4 routes and read them."""
        return self._called("dump")

    def open(self, buffer: int) -> int:
        """A socket that has joined ipv4_route; buffer: bytes to receive into, 0 is the library's own."""
        socket: int | None = self._lib.library_open(buffer)
        if socket is None:
            raise OSError(f"{self.name}: no socket")
        return socket

    def listen(self, socket: int, stop: int, quiet: float) -> Counts:
        """Read until `stop` is readable and nothing has come for `quiet` seconds; closes the socket."""
        return self._called("listen", socket, stop, int(quiet * 1000))

    def _called(self, name: str, *args: object) -> Counts:
        counts = Counts()
        result: int = getattr(self._lib, f"library_{name}")(*args, ctypes.byref(counts))
        if result < 0:
            raise OSError(f"{self.name}: {name}: error {-result}")
        return counts
