"""Network namespaces: work in another one."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from nlbus._core.netsock import enter_netns
from nlbus.errors import SchemaError, kernel_error
from nlbus.kernel.arguments import shown

CLONE_NEWNET = 0x40000000
NS_GET_NSTYPE = 0xB703  # <linux/nsfs.h>
SIOCGSKNS = 0x894C  # <linux/sockios.h>
INT_MAX = 0x7FFF_FFFF
NAMED = "/run/netns"  # where `ip netns add` puts them

T = TypeVar("T")


class HasFileno(Protocol):
    """An open file."""

    def fileno(self) -> int:
        """The descriptor."""


Netns = str | os.PathLike[str] | int | HasFileno | None


def inside(netns: Netns, work: Callable[[], T]) -> T:
    """Return `work()`, called in this network namespace; None means the caller's own.

    netns: a name of `ip netns`, a path (with a slash), an open file or its descriptor, or a pid. An integer
    that is a descriptor of a network namespace counts as one, any other as a pid. A socket stays in the
    namespace where it was opened, so only opening needs this. The work runs in a thread of its own, so the
    caller never changes its namespace. PermissionDenied (entering needs CAP_SYS_ADMIN), KernelError,
    SchemaError for any other value.
    """
    if netns is None:
        return work()
    action = f"entering network namespace {shown(netns)}"
    try:
        fd = _open(netns)
    except OSError as error:
        raise kernel_error(error.errno or 0, action, _help(error)) from error
    except SchemaError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise SchemaError(f"{action}: {error}") from error
    result: list[T] = []
    failure: list[BaseException] = []

    def visit() -> None:
        try:
            try:
                enter_netns(fd)
            except OSError as error:
                raise kernel_error(error.errno or 0, action, _help(error)) from error
            finally:
                os.close(fd)  # here, since an interrupted caller does not wait for us
            result.append(work())
        except BaseException as error:
            failure.append(error)

    visitor = threading.Thread(target=visit, name="nlbus netns")
    try:
        visitor.start()
    except RuntimeError as error:
        os.close(fd)
        raise kernel_error(errno.EAGAIN, action, f"this takes a thread: {error}") from error
    visitor.join()
    if failure:
        raise failure.pop()  # our frame, in its traceback, must not hold it: what it holds would stay open
    return result[0]


def home_of(socket: int) -> int | None:
    """A new descriptor of a socket's network namespace; None if it is ours, or if we may not know it."""
    try:
        ours = Path("/proc/thread-self/ns/net").stat()
        fd = fcntl.ioctl(socket, SIOCGSKNS)
    except OSError:
        return None
    if os.path.samestat(os.fstat(fd), ours):
        os.close(fd)
        return None
    return fd


def _open(netns: str | os.PathLike[str] | int | HasFileno) -> int:
    """A descriptor of our own."""
    wrong = SchemaError(f"netns={shown(netns)}: a name, a path, a descriptor or a pid")
    if isinstance(netns, bool):
        raise wrong
    if isinstance(netns, int):
        if not 0 <= netns <= INT_MAX:
            raise wrong
        return os.dup(netns) if _is_netns(netns) else _open_path(f"/proc/{netns}/ns/net")
    if isinstance(netns, (str, os.PathLike)):
        path = os.fsdecode(netns)
        named = isinstance(netns, str) and "/" not in path
        if not path or "\0" in path:
            raise wrong
        return _open_path(f"{NAMED}/{path}" if named else path)
    if not hasattr(netns, "fileno"):
        raise wrong
    return os.dup(netns.fileno())


def _open_path(path: str) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block
    if not _is_netns(fd):
        os.close(fd)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return fd


def _is_netns(fd: int) -> bool:
    try:
        return fcntl.ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET
    except (OSError, OverflowError, ValueError):
        return False


def _help(error: OSError) -> str:
    if error.errno == errno.EPERM:
        return "needs CAP_SYS_ADMIN here and over that namespace: run as root"
    if error.errno == errno.EACCES:
        return "the process belongs to another user or has more rights: give a name, a path or a descriptor"
    if error.errno in (errno.ENOENT, errno.ESRCH):
        return "a name of `ip netns list`, a path with a slash, an open descriptor or a running process's pid"
    if error.errno in (errno.EINVAL, errno.ENOTTY):
        return "this is no network namespace"
    return ""
