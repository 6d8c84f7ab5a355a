"""The names of network interfaces by index, learned from events or followed in the kernel."""

from typing import Any

from nlbus.cli.render.holes import DEVICE, NAME, Hole
from nlbus.kernel.interfaces import OURS, SPECIAL, Interfaces, LiveInterfaces
from nlbus.kernel.netns import Netns


class InterfaceNames:
    """Names by index, for lines. live: as the kernel has them in `netns`; otherwise those that rows teach.

    A deleted interface keeps its name until its index is used again, because later events may refer to it.
    """

    def __init__(self, *, live: bool = False, netns: Netns = None, all_nsid: bool = False) -> None:
        self.interfaces = LiveInterfaces(netns, all_nsid=all_nsid) if live else Interfaces()
        self.asked = False  # whether a name was said since somebody set this to False ...
        self.unsettled = False  # ... and whether one was unknown, which may change at any time

    @property
    def version(self) -> int:
        """It changes when a name does."""
        return self.interfaces.version

    def update(self, *, lossy: bool = False) -> None:
        """Hear what has happened to interfaces. lossy: events were lost, so look them all up."""
        if lossy and isinstance(self.interfaces, LiveInterfaces):
            self.interfaces.look_again()
        self.interfaces.update()

    def learn(self, row: dict[str, Any]) -> None:
        """Take the name from a row of the table link."""
        if self.is_news(row):
            self.interfaces.learn(row["ifindex"], row["ifname"], row.get("nl_nsid", OURS))

    def is_news(self, row: dict[str, Any]) -> bool:
        """Whether `learn` would learn anything."""
        if "ifname" not in row or "ifindex" not in row:
            return False
        name: str = row["ifname"]
        return self.interfaces.known(row["ifindex"], row.get("nl_nsid", OURS)) != name

    def device(self, index: int | Hole, nsid: int = OURS) -> str | Hole:
        """`name`, or what a negative index means."""
        if isinstance(index, Hole):
            return index.as_written(f"{DEVICE}{nsid}")
        return SPECIAL.get(index) or self.name(index, nsid)

    def name(self, index: int | Hole, nsid: int = OURS) -> str | Hole:
        """The name; for an unknown one the index as `ip` writes it, such as if7."""
        if isinstance(index, Hole):
            return index.as_written(f"{NAME}{nsid}")
        self.asked = True
        self.unsettled = self.unsettled or self.interfaces.known(index, nsid) is None
        return self.interfaces.name(index, nsid)
