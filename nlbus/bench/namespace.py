"""A network namespace for the benchmarks: nobody else on the bus, and 127.0.0.1 for servers."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys

CLONE_NEWNET = 0x4000_0000
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
IFF_UP = 1


def enter() -> str:
    """Move this process to a network namespace of its own, and those it starts. Why not, or an empty text."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        why = os.strerror(ctypes.get_errno())
        return f"no private network namespace ({why}): needs CAP_SYS_ADMIN; try under `unshare -Urn`"
    _raise_loopback()
    return ""


def become_root() -> None:
    """As an ordinary user, begin again under `unshare -Urn`, where that is allowed; else do nothing.

    A process with threads cannot enter a user namespace, and numpy has some.
    """
    unshare = shutil.which("unshare")
    if os.geteuid() == 0 or unshare is None:
        return
    if subprocess.run([unshare, "-Urn", "true"], capture_output=True, check=False).returncode:
        return
    os.execv(unshare, [unshare, "-Urn", sys.executable, "-m", "nlbus", *sys.argv[1:]])


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anything:
        name = struct.pack("16sH", b"lo", 0).ljust(40, b"\0")
        (flags,) = struct.unpack_from("H", fcntl.ioctl(anything, SIOCGIFFLAGS, name), 16)
        up = struct.pack("16sH", b"lo", flags | IFF_UP).ljust(40, b"\0")
        fcntl.ioctl(anything, SIOCSIFFLAGS, up)
