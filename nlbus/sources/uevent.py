"""uevent: devices coming and going, as told by the kernel (group 1) and by udev after its rules (2)."""

from nlbus.groups import Groups
from nlbus.sources.source import Source

UEVENT = Source(
    name="uevent",
    protocol=15,
    kernel_name="NETLINK_KOBJECT_UEVENT",
    framing="datagram",
    groups={"kernel": 1, "udev": 2},
    default=Groups(1),
    user_groups=Groups(2).mask,  # udev is a process: believed if it is root (CVE-2009-1185)
    trust_self=False,
    probe=Groups(1),
    needs="no privilege; a namespace of an ordinary user hears only its own network devices",
    option="CONFIG_NET",
    example="nlbus listen uevent",
)
