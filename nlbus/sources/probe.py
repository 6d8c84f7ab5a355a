"""Probes a source: a real socket and a real membership, closed at once."""

import errno
import os
import re
import socket
from dataclasses import replace
from functools import cache
from pathlib import Path

from nlbus.errors import KernelError
from nlbus.kernel.requests import Requests
from nlbus.sources.source import Source

SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
FIRST = {"pid": 0xEFFF_FFFC, "user": 0xEFFF_FFFD}  # inodes of the first namespaces: <linux/proc_ns.h>
MORE_FILES = "close some or raise `ulimit -n`"
KINDS = {"net": "network", "pid": "pid", "user": "user"}


def probe(source: Source) -> Source | None:
    """Return the source with `available` and `reason` filled in; None if the kernel lacks the protocol."""
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, source.protocol)
    except OSError as error:
        if error.errno == errno.EPROTONOSUPPORT:
            return None
        reason = _refused(error, "opening a netlink socket")
    else:
        with sock:
            reason = _elsewhere(source) or _unprivileged(sock, source) or _unanswered(source)
    return replace(source, available=not reason, reason=reason)


def absent(source: Source) -> Source:
    """Return the source as unavailable: this kernel lacks its protocol."""
    return replace(source, available=False, reason=_lacks(source.kernel_name, source))


def help_with(source: Source, number: int) -> str:
    """Return what would help if listening to the source fails with this errno; "" if unknown."""
    if number in (errno.EPERM, errno.EACCES):
        return source.needs
    if number in (errno.EMFILE, errno.ENFILE):
        return MORE_FILES
    if number == errno.EPROTONOSUPPORT:
        return _lacks(source.kernel_name, source)
    if number in (errno.EINVAL, errno.ENOENT):
        return "this kernel has no such group" if source.membership else _lacks(source.name, source)
    return ""


# -- reasons against it; "" for none ---------------------------------------------------------------


def _elsewhere(source: Source) -> str:
    others = [KINDS[kind] for kind in source.namespaces if not _in_first(kind)]
    if not others:
        return ""
    if others == ["network"]:
        help = "netns=1 (on the command line --netns 1) listens there, as root"
    else:
        help = "run outside of any container"
    return f"only the first {' and '.join(others)} namespace hears it, and this is another one: {help}"


def _unprivileged(sock: socket.socket, source: Source) -> str:
    names = {number: name for name, number in source.groups.items()}
    sock.bind((0, 0))
    for group in source.probe:
        try:
            sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        except OSError as error:
            if source.privileged and error.errno in (errno.EPERM, errno.EACCES):
                return f"group {names[group]}: {source.needs}" if group in names else source.needs
            return _refused(error, f"joining group {names.get(group, group)}")
    return ""


def _unanswered(source: Source) -> str:
    if _built(source.option) == "n":
        return _lacks(source.name, source)
    if source.ask is None:
        return ""
    kind, body = source.ask
    try:
        with Requests(source.protocol) as kernel:
            kernel.ask(kind, body, f"asking for {source.name}")
    except KernelError as error:
        # Any other error shows that the kernel has the source.
        return _lacks(source.name, source) if error.errno == errno.EINVAL else ""
    except OSError as error:
        return _refused(error, f"asking for {source.name}")
    return ""


# -- the kernel -------------------------------------------------------------------------------------


def _in_first(kind: str) -> bool:
    """Whether this thread is in the first namespace of a kind, as far as /proc shows."""
    if kind == "net":
        core = Path("/proc/sys/net/core")  # of the reader's namespace
        return (core / "netdev_budget").exists() or not core.exists()
    try:
        return Path(f"/proc/thread-self/ns/{kind}").stat().st_ino == FIRST[kind]
    except OSError:
        return True


def _lacks(what: str, source: Source) -> str:
    """That this kernel lacks it, and what would bring it."""
    if not source.option:
        return f"this kernel has no {what}"
    built = _built(source.option)
    reason = f"this kernel has no {what} ({source.option}{' is not set' if built == 'n' else ''})"
    if source.module and built != "n":
        reason += f": try `modprobe {source.module}`"
    return reason


def _built(option: str) -> str:
    """ "y", "m" or "n" as this kernel was configured; "" if unknown."""
    config = _config()
    found = re.search(rf"^{option}=(\w)", config, re.MULTILINE)
    return found[1] if found else "n" if config and option else ""


@cache
def _config() -> str:
    try:
        import gzip  # noqa: PLC0415 - rarely needed

        return gzip.decompress(Path("/proc/config.gz").read_bytes()).decode()
    except OSError:
        pass
    try:
        return Path(f"/boot/config-{os.uname().release}").read_text()
    except OSError:
        return ""


def _refused(error: OSError, what: str) -> str:
    number = error.errno or 0
    if number in (errno.EPERM, errno.EACCES):
        why = "a security policy (seccomp, SELinux or a sandbox) forbids it"
    elif number == errno.EAFNOSUPPORT:
        why = "this kernel has no netlink (CONFIG_NET), or a sandbox hides it"
    elif number in (errno.EMFILE, errno.ENFILE):
        why = f"too many open files: {MORE_FILES}"
    else:
        why = os.strerror(number)
    return f"{what}: {why}"
