"""The names of network interfaces by index: learned from link messages, or followed in the kernel."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Final

from nlbus.errors import NlbusError
from nlbus.kernel.netns import Netns, inside
from nlbus.kernel.requests import Reply, Requests, attribute, attributes, messages

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
IFLA_IFNAME, IFLA_TARGET_NETNSID = 3, 46
IFINFOMSG = struct.Struct("=BxHiII")
AF_BRIDGE = 7
RTNLGRP_LINK: Final = 1
SOL_NETLINK, NETLINK_LISTEN_ALL_NSID = 270, 8
OURS = -1  # the nsid of the namespace that is listened in
DATAGRAM = 64 << 10  # the name is one of the first attributes: the rest of a longer one is not needed
MOST_GONE = 1 << 16  # deleted interfaces whose names are kept
SPECIAL = {-1: "all", -2: "default"}  # as netconf means them

Key = tuple[int, int]  # nsid, index


class Interfaces:
    """Names of interfaces by index, per network namespace, as far as `learn` was told.

    A deleted interface keeps its name until its index has another one: later events may still refer to it.
    `version` changes whenever a name does. Thread-safe.
    """

    live = False  # whether the kernel is asked

    def __init__(self) -> None:
        self.version = 0
        self.missed = False  # whether somebody was warned that no name is known
        self._names: dict[Key, str] = {}
        self._gone: dict[Key, None] = {}  # the oldest first
        self._lock = threading.RLock()

    def learn(self, index: int, name: str, nsid: int = OURS) -> None:
        """The interface has this name now."""
        with self._lock:
            self._gone.pop((nsid, index), None)
            if self._names.get((nsid, index)) != name:
                self._names[nsid, index] = name
                self.version += 1

    def lose(self, index: int, nsid: int = OURS) -> None:
        """The interface was deleted; its name is kept."""
        with self._lock:
            if (nsid, index) in self._names:
                self._gone[nsid, index] = None
            if len(self._gone) > MOST_GONE:
                oldest = next(iter(self._gone))
                del self._gone[oldest], self._names[oldest]
                self.version += 1

    def update(self) -> None:
        """Hear what has happened since; call it before names are looked up."""

    def known(self, index: int, nsid: int = OURS) -> str | None:
        """The name; None if it is unknown."""
        return self._names.get((nsid, index)) or (SPECIAL.get(index) if index < 0 else None)

    def name(self, index: int, nsid: int = OURS) -> str:
        """The name; for an unknown one the index as `ip` writes it, such as if7."""
        return self.known(index, nsid) or f"if{index}"

    @property
    def empty(self) -> bool:
        """Whether no name is known: nobody has told any."""
        return not self._names

    def __getstate__(self) -> dict[str, object]:
        return {"_names": dict(self._names)}

    def __setstate__(self, state: dict[str, dict[Key, str]]) -> None:
        Interfaces.__init__(self)
        self._names = state["_names"]

    def __reduce__(self) -> tuple[object, ...]:
        return (Interfaces, (), self.__getstate__())


class LiveInterfaces(Interfaces):
    """The names in a network namespace, looked up when they are first needed.

    follow: then hear of every change, through a socket of one's own. all_nsid: also in the namespaces that
    have an id there. Where the kernel refuses to tell, names stay unknown.
    """

    live = True

    def __init__(self, netns: Netns = None, *, follow: bool = True, all_nsid: bool = False) -> None:
        super().__init__()
        self._netns = netns
        self._follow = follow
        self._all_nsid = all_nsid
        self._begun = self._old = False
        self._socket: socket.socket | None = None
        self._asked: set[int] = set()  # namespaces whose interfaces were looked up

    def update(self) -> None:
        """Look all interfaces up the first time, else hear of changes. KernelError: no such namespace."""
        with self._lock:
            if not self._begun:
                self._socket, found = inside(self._netns, self._begin)
                self._begun = True
                self._take(found)
                return
            if self._socket is not None:
                self._hear(self._socket)
            if self._old:
                self._old = False
                self._take(dict(inside(self._netns, socket.if_nameindex)))

    def look_again(self) -> None:
        """Look all interfaces up with the next update: what is known may be old."""
        self._old = True

    def known(self, index: int, nsid: int = OURS) -> str | None:
        """The name; None if it is unknown."""
        if not self._begun:
            self.update()
        found = super().known(index, nsid)
        if found is None and nsid >= 0 and self._all_nsid and nsid not in self._asked:
            self._asked.add(nsid)
            with contextlib.suppress(NlbusError, OSError):
                for reply in inside(self._netns, lambda: _links_of(nsid)):
                    self._tell(reply.type, reply.body, nsid)
            found = super().known(index, nsid)
        return found

    def close(self) -> None:
        """Hear no more; the names stay."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def __del__(self) -> None:
        if getattr(self, "_socket", None) is not None:
            self.close()

    # Work inside of a namespace is done by another thread: it must not wait for our lock.

    def _begin(self) -> tuple[socket.socket | None, dict[int, str]]:
        opened = None
        if self._follow:
            with contextlib.suppress(OSError):
                opened = self._listening()
        return opened, dict(socket.if_nameindex())

    def _listening(self) -> socket.socket:
        opened = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0
        )
        try:
            if self._all_nsid:
                opened.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
            opened.bind((0, 1 << RTNLGRP_LINK - 1))
        except BaseException:
            opened.close()
            raise
        return opened

    def _take(self, found: dict[int, str]) -> None:
        """All interfaces now. Those that are not listed any more are gone."""
        for nsid, index in list(self._names):
            if nsid == OURS and index not in found:
                self.lose(index)
        for index, name in found.items():
            self.learn(index, name)

    def _hear(self, opened: socket.socket) -> None:
        while True:
            try:
                data, ancillary, flags, (portid, _) = opened.recvmsg(DATAGRAM, 64)
                if flags & socket.MSG_TRUNC:
                    raise OSError(errno.ENOBUFS, "a link that is too large")
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    return
                self._asked.clear()
                with contextlib.suppress(NlbusError, OSError):
                    self._take(dict(inside(self._netns, socket.if_nameindex)))
                continue
            if portid == 0:  # any process may send to a group
                nsid = next(_nsids(ancillary), OURS)
                for reply, _seq in messages(data):
                    self._tell(reply.type, reply.body, nsid)

    def _tell(self, kind: int, body: bytes, nsid: int) -> None:
        if kind not in (RTM_NEWLINK, RTM_DELLINK) or len(body) < IFINFOMSG.size:
            return
        family, _, index, _, _ = IFINFOMSG.unpack_from(body)
        if family == AF_BRIDGE:  # a port leaves its bridge, and stays
            return
        if kind == RTM_DELLINK:
            self.lose(index, nsid)
        elif raw := attributes(body[IFINFOMSG.size :]).get(IFLA_IFNAME):
            self.learn(index, os.fsdecode(raw.split(b"\0")[0]), nsid)


def _links_of(nsid: int) -> list[Reply]:
    body = IFINFOMSG.pack(0, 0, 0, 0, 0) + attribute(IFLA_TARGET_NETNSID, struct.pack("=i", nsid))
    with Requests(socket.NETLINK_ROUTE) as requests:
        return requests.dump(RTM_GETLINK, body, f"listing interfaces of namespace {nsid}")


def _nsids(ancillary: list[tuple[int, int, bytes]]) -> Iterator[int]:
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_NETLINK, NETLINK_LISTEN_ALL_NSID) and len(data) >= 4:
            yield struct.unpack_from("=i", data)[0]
