"""The names of network interfaces, by their index: learned from what is shown, or asked for."""

import contextlib
import socket
from typing import Any

from nlbus.kernel.netns import Netns, inside


class InterfaceNames:
    """Names as known now. `live`: of this machine, in `netns`; else only what was learned.

    An interface that is gone keeps its name, for what is still told about it.
    """

    def __init__(self, *, live: bool = False, netns: Netns = None) -> None:
        self._known: dict[tuple[int, int], str] = {}
        self._live = live
        self._netns = netns

    def fill(self) -> None:
        """Ask for all, so that those that go soon are known."""
        if self._live:
            for index, name in inside(self._netns, socket.if_nameindex):
                self._known[-1, index] = name

    def learn(self, row: dict[str, Any]) -> None:
        """A row of table link."""
        if "ifname" in row and "ifindex" in row:
            self._known[row.get("nl_nsid", -1), row["ifindex"]] = row["ifname"]

    def name(self, index: int, nsid: int = -1) -> str:
        """The name, or the index as ip writes it: if7."""
        if (nsid, index) not in self._known and self._live and nsid < 0 < index:
            with contextlib.suppress(OSError):
                self._known[nsid, index] = inside(self._netns, lambda: socket.if_indextoname(index))
        return self._known.get((nsid, index), f"if{index}")
