"""The netlink sockets of the machine: holders, groups, fill of the receive buffer, drops."""

from __future__ import annotations

import errno
import logging
import socket
import struct
import sys
from pathlib import Path
from typing import NamedTuple

from nlbus.errors import KernelError, PermissionDenied, kernel_error
from nlbus.kernel.constants import Protocol
from nlbus.kernel.groups import Groups
from nlbus.kernel.netns import Netns, inside
from nlbus.kernel.procfs import Place, Process, own_netns, owners, places
from nlbus.kernel.requests import Requests, attributes
from nlbus.sources import SOURCES
from nlbus.sources.genl import PREFIX as GENL_PREFIX
from nlbus.sources.genl import genl_sources

log = logging.getLogger("nlbus")

# <linux/sock_diag.h> and <linux/netlink_diag.h>
SOCK_DIAG_BY_FAMILY = 20
NDIAG_PROTO_ALL = 0xFF
NDIAG_SHOW_MEMINFO, NDIAG_SHOW_GROUPS, NDIAG_SHOW_FLAGS = 1, 2, 8
NETLINK_DIAG_MEMINFO, NETLINK_DIAG_GROUPS, NETLINK_DIAG_FLAGS = 0, 1, 4
NETLINK_DIAG_REQ = struct.Struct("=BBHIIQ")
NETLINK_DIAG_MSG = struct.Struct("=BBBBIIIIQ")
SK_MEMINFO = struct.Struct("=9I")
RMEM_ALLOC, RCVBUF, DROPS = 0, 1, 8
FLAGS = ("cb_running", "pktinfo", "broadcast_error", "no_enobufs", "listen_all_nsid", "cap_ack")
LONG = struct.calcsize("@L")

THEY = "that belong to other users or have more rights than this one"
PROC = "/proc/thread-self/net/netlink"


class NetlinkSocket(NamedTuple):
    """A netlink socket.

    portid is 0 for the kernel's own. buffer_used and buffer_size are bytes of truesize; drops counts
    datagrams since the socket was opened. buffer_size and flags are None if the kernel does not report them
    (see `survey`). group_names has the number of a group without a name, and "family:group" on generic
    netlink. netns is the inode of its network namespace, netns_name the name in `ip netns`, or "". processes
    are the holders that we may see.
    """

    protocol: int
    protocol_name: str
    portid: int
    inode: int
    groups: Groups
    buffer_used: int
    buffer_size: int | None
    drops: int
    flags: tuple[str, ...] | None
    group_names: tuple[str, ...] = ()
    netns: int = 0
    netns_name: str = ""
    processes: tuple[Process, ...] = ()


class Survey(NamedTuple):
    """Sockets, and sentences about the parts that are missing, with reasons."""

    sockets: list[NetlinkSocket]
    missing: list[str]


def netlink_sockets(netns: Netns = None, *, here: bool = False) -> list[NetlinkSocket]:
    """Every netlink socket of the machine, or of one network namespace: `netns`, or with `here` our own.

    Only root sees other namespaces and other users' processes. Missing parts are logged (logger "nlbus",
    level INFO). Sorted by namespace, ours first, then by protocol and portid. PermissionDenied or KernelError
    if `netns` cannot be entered.
    """
    found = survey(netns, here=here)
    for sentence in found.missing:
        log.info("netlink_sockets: %s", sentence)
    return found.sockets


def survey(netns: Netns = None, *, here: bool = False) -> Survey:
    """The sockets that `netlink_sockets` returns, and the missing parts."""
    known, hidden = places()
    missing: list[str] = []
    views = [inside(netns, _look)]
    if netns is None and not here:
        others, refused = _others(list(known.values())[1:])
        views += others
        if refused:
            needs = "entering them needs CAP_SYS_ADMIN over them, as root has"
            missing.append(f"{refused} network namespaces: {needs}")
        if hidden:
            missing.append(f"network namespaces of processes {THEY} ({hidden})")
    missing += dict.fromkeys(view.trouble for view in views if view.trouble)
    sockets = []
    for view in views:
        name = known[view.netns].name if view.netns in known else ""
        sockets += [one._replace(netns=view.netns, netns_name=name) for one in view.sockets]
    return Survey(_with_owners(sockets, missing), missing)


def _others(all_places: list[Place]) -> tuple[list[_View], int]:
    """The views from these network namespaces, and how many could not be entered."""
    views = []
    refused = 0
    for place in all_places:
        try:
            view = _enter(place)
        except PermissionDenied:
            refused += 1
        else:
            if view is not None:
                views.append(view)
    return views, refused


def _enter(place: Place) -> _View | None:
    """The view from this network namespace; None if it has ended. PermissionDenied, KernelError."""
    for path in place.paths:
        try:
            return inside(path, _look)
        except KernelError as error:
            if error.errno not in (errno.ENOENT, errno.ESRCH, errno.EINVAL):
                raise
            # The thread has ended or the name is gone; the namespace may still exist.
    return None


def _with_owners(sockets: list[NetlinkSocket], missing: list[str]) -> list[NetlinkSocket]:
    found, hidden = owners({one.inode for one in sockets if one.portid})
    sockets = [one._replace(processes=tuple(found.get(one.inode, ()))) for one in sockets]
    unknown = sum(1 for one in sockets if one.portid and not one.processes)
    if unknown and hidden:
        missing.append(f"who holds {unknown} of these sockets: processes {THEY}")
    return sockets


# -- one network namespace ------------------------------------------------------------------------


class _View(NamedTuple):
    netns: int
    sockets: list[NetlinkSocket]
    trouble: str  # the missing parts, or ""


def _look() -> _View:
    """The sockets of the calling thread's network namespace. KernelError, PermissionDenied."""
    try:
        sockets, cut = _dump()
        trouble = f"{cut} answers of the kernel, which make no sense" if cut else ""
    except OSError as error:
        sockets = _listed()
        trouble = (
            "buffer sizes, flags and groups above 32: /proc/net/netlink does not tell them, and netlink_diag "
            f"(CONFIG_NETLINK_DIAG) is not to be had: {error.strerror}"
        )
    return _View(
        own_netns(), sorted(_with_names(sockets), key=lambda one: (one.protocol, one.portid)), trouble
    )


def _dump() -> tuple[list[NetlinkSocket], int]:
    """The sockets by netlink diag, except our own request's, and how many answers were cut. OSError."""
    show = NDIAG_SHOW_MEMINFO | NDIAG_SHOW_GROUPS | NDIAG_SHOW_FLAGS
    request = NETLINK_DIAG_REQ.pack(socket.AF_NETLINK, NDIAG_PROTO_ALL, 0, 0, show, 0)
    with Requests(Protocol.SOCK_DIAG) as requests:
        replies = requests.dump(SOCK_DIAG_BY_FAMILY, request, "listing netlink sockets")
    # By key: the kernel may report a socket twice if its hash table grows meanwhile.
    found = {}
    cut = 0
    for reply in replies:
        one = parse(reply.body) if reply.type == SOCK_DIAG_BY_FAMILY else None
        if one is None:
            cut += 1
        elif (one.protocol, one.portid) != (Protocol.SOCK_DIAG, requests.portid):
            found[one.protocol, one.portid, one.inode] = one
    return list(found.values()), cut


def parse(body: bytes) -> NetlinkSocket | None:
    """The socket of a struct netlink_diag_msg and its attributes; None if they are cut or foreign."""
    if len(body) < NETLINK_DIAG_MSG.size:
        return None
    family, _, protocol, _, portid, _, _, inode, _ = NETLINK_DIAG_MSG.unpack_from(body)
    words = attributes(body[NETLINK_DIAG_MSG.size :])
    memory, flags = words.get(NETLINK_DIAG_MEMINFO, b""), words.get(NETLINK_DIAG_FLAGS, b"")
    if family != socket.AF_NETLINK or len(memory) < SK_MEMINFO.size or len(flags) < 4:
        return None
    figures = SK_MEMINFO.unpack_from(memory)
    set_flags = int.from_bytes(flags[:4], sys.byteorder)
    return NetlinkSocket(
        protocol=protocol,
        protocol_name=_protocol_name(protocol),
        portid=portid,
        inode=inode,
        groups=_groups(words.get(NETLINK_DIAG_GROUPS, b"")),
        buffer_used=figures[RMEM_ALLOC],
        buffer_size=figures[RCVBUF],
        drops=figures[DROPS],
        flags=tuple(name for bit, name in enumerate(FLAGS) if set_flags >> bit & 1),
    )


def _listed() -> list[NetlinkSocket]:
    """The sockets by /proc/net/netlink. KernelError, PermissionDenied."""
    try:
        lines = Path(PROC).read_text().splitlines()[1:]
    except OSError as error:
        raise kernel_error(error.errno or 0, f"reading {PROC}") from error
    found = []
    for line in lines:
        _, protocol, portid, mask, used, _, _, _, drops, inode, *_ = line.split()
        found.append(
            NetlinkSocket(
                protocol=int(protocol),
                protocol_name=_protocol_name(int(protocol)),
                portid=int(portid),
                inode=int(inode),
                groups=Groups.from_mask(int(mask, 16)),
                buffer_used=int(used),
                buffer_size=None,
                drops=int(drops),
                flags=None,
            )
        )
    return found


# -- words ----------------------------------------------------------------------------------------


def _groups(bits: bytes) -> Groups:
    """The groups of an array of unsigned long."""
    found = []
    for at in range(0, len(bits) - LONG + 1, LONG):
        word = int.from_bytes(bits[at : at + LONG], sys.byteorder)
        found += [8 * at + bit + 1 for bit in range(word.bit_length()) if word >> bit & 1]
    return Groups(*found)


def _protocol_name(number: int) -> str:
    try:
        return Protocol(number).name.lower()
    except ValueError:
        return str(number)


def _with_names(sockets: list[NetlinkSocket]) -> list[NetlinkSocket]:
    """The sockets with the names of their groups, from all sources: several may share a protocol."""
    names = {
        (source.protocol, number): name
        for source in SOURCES.values()
        if source.membership
        for name, number in source.groups.items()
    }
    if any(one.protocol == Protocol.GENERIC and one.groups for one in sockets):
        for source in genl_sources():
            family = source.name.removeprefix(GENL_PREFIX)
            names |= {(source.protocol, number): f"{family}:{name}" for name, number in source.groups.items()}
    return [
        one._replace(group_names=tuple(names.get((one.protocol, group), str(group)) for group in one.groups))
        for one in sockets
    ]
