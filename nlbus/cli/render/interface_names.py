"""The names of network interfaces by index, learned from events or looked up."""

import contextlib
import socket
from typing import Any

from nlbus.cli.render.holes import DEVICE, NAME, Hole
from nlbus.kernel.netns import Netns, inside

NEGATIVE = {-1: "all", -2: "default"}  # netconf's values for an ifindex


class InterfaceNames:
    """Names by index. live: look up unknown ones in `netns`; otherwise only learned names are known.

    A deleted interface keeps its name, because later events may refer to it.
    """

    def __init__(self, *, live: bool = False, netns: Netns = None) -> None:
        self._known: dict[tuple[int, int], str] = {}
        self._live = live
        self._netns = netns
        self.version = 0  # changes when a name does
        self.asked = False  # whether a name was said since somebody set this to False ...
        self.unsettled = False  # ... and whether one was unknown, which may change at any time

    def fill(self) -> None:
        """Look up all interfaces, so that names are known before an interface is deleted."""
        if self._live:
            for index, name in inside(self._netns, socket.if_nameindex):
                self._known[-1, index] = name
            self.version += 1

    def learn(self, row: dict[str, Any]) -> None:
        """Take the name from a row of the table link."""
        if self.is_news(row):
            self._known[row.get("nl_nsid", -1), row["ifindex"]] = row["ifname"]
            self.version += 1

    def is_news(self, row: dict[str, Any]) -> bool:
        """Whether `learn` would learn anything."""
        if "ifname" not in row or "ifindex" not in row:
            return False
        return bool(self._known.get((row.get("nl_nsid", -1), row["ifindex"])) != row["ifname"])

    def device(self, index: int | Hole, nsid: int = -1) -> str | Hole:
        """`name`, or what a negative index means."""
        if isinstance(index, Hole):
            return index.as_written(f"{DEVICE}{nsid}")
        return NEGATIVE.get(index) or self.name(index, nsid)

    def name(self, index: int | Hole, nsid: int = -1) -> str | Hole:
        """The name; for an unknown one the index as `ip` writes it, such as if7."""
        if isinstance(index, Hole):
            return index.as_written(f"{NAME}{nsid}")
        self.asked = True
        if (nsid, index) not in self._known and self._live and nsid < 0 < index:
            with contextlib.suppress(OSError):
                self._known[nsid, index] = inside(self._netns, lambda: socket.if_indextoname(index))
        self.unsettled = self.unsettled or (nsid, index) not in self._known
        return self._known.get((nsid, index), f"if{index}")
