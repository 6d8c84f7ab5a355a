"""The names of network interfaces by index, learned from events or looked up."""

import contextlib
import socket
from typing import Any

from nlbus.kernel.netns import Netns, inside


class InterfaceNames:
    """Names by index. live: look up unknown ones in `netns`; otherwise only learned names are known.

    A deleted interface keeps its name, because later events may refer to it.
    """

    def __init__(self, *, live: bool = False, netns: Netns = None) -> None:
        self._known: dict[tuple[int, int], str] = {}
        self._live = live
        self._netns = netns

    def fill(self) -> None:
        """Look up all interfaces, so that names are known before an interface is deleted."""
        if self._live:
            for index, name in inside(self._netns, socket.if_nameindex):
                self._known[-1, index] = name

    def learn(self, row: dict[str, Any]) -> None:
        """Take the name from a row of the table link."""
        if "ifname" in row and "ifindex" in row:
            self._known[row.get("nl_nsid", -1), row["ifindex"]] = row["ifname"]

    def name(self, index: int, nsid: int = -1) -> str:
        """The name; for an unknown one the index as `ip` writes it, such as if7."""
        if (nsid, index) not in self._known and self._live and nsid < 0 < index:
            with contextlib.suppress(OSError):
                self._known[nsid, index] = inside(self._netns, lambda: socket.if_indextoname(index))
        return self._known.get((nsid, index), f"if{index}")
