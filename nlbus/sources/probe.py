"""Trying whether a source can be heard here: a real socket, a real membership, closed at once."""

import errno
import os
import socket
from dataclasses import replace

from nlbus.groups import MASK_GROUPS, Groups
from nlbus.sources.source import Source

SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1


def probe(source: Source) -> Source | None:
    """Return the source with `available` and `reason` filled in; None where the kernel lacks the protocol."""
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, source.protocol)
    except OSError as error:
        if error.errno == errno.EPROTONOSUPPORT:
            return None
        return replace(source, available=False, reason=_refused(error, "opening a netlink socket"))
    with sock:
        try:
            _join(sock, source.probe)
        except OSError as error:
            if source.privileged and error.errno in (errno.EPERM, errno.EACCES):
                return replace(source, available=False, reason=source.needs)
            what = f"joining group {', '.join(map(str, source.probe))}"
            return replace(source, available=False, reason=_refused(error, what))
    return replace(source, available=True, reason="")


def absent(source: Source) -> Source:
    """Return the source marked as one whose protocol this kernel lacks."""
    option = f" ({source.option})" if source.option else ""
    return replace(source, available=False, reason=f"this kernel has no {source.kernel_name}{option}")


def _join(sock: socket.socket, groups: Groups) -> None:
    low = Groups(*(group for group in groups if group <= MASK_GROUPS))
    sock.bind((0, low.mask))
    for group in groups - low:
        sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)


def _refused(error: OSError, what: str) -> str:
    number = error.errno or 0
    if number in (errno.EPERM, errno.EACCES):
        why = "a security policy (seccomp, SELinux or a sandbox) forbids it"
    elif number == errno.EAFNOSUPPORT:
        why = "this kernel has no netlink (CONFIG_NET), or a sandbox hides it"
    elif number in (errno.EMFILE, errno.ENFILE):
        why = "too many open files: close some or raise `ulimit -n`"
    else:
        why = os.strerror(number)
    return f"{what}: {why}"
