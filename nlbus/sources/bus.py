"""The bus: batches that processes multicast to each other over NETLINK_USERSOCK, and through nlbus.ko."""

from pathlib import Path

from nlbus.kernel.groups import MASK_GROUPS
from nlbus.sources.source import ALL_GROUPS, NEEDS_ADMIN, Source

BUS = Source(
    name="bus",
    protocol=2,
    kernel_name="NETLINK_USERSOCK",
    framing="bus",
    highest=MASK_GROUPS,
    user_groups=ALL_GROUPS,
    trust_self=True,
    privileged=True,
    needs=NEEDS_ADMIN,
    option="CONFIG_NET",
    example="nlbus listen bus -g 1,7",
)
MODULE_PROTOCOL = Path("/sys/module/nlbus/parameters/protocol")


def module_protocol() -> int | None:
    """The netlink protocol of nlbus.ko; None if it is not loaded, or /sys is not visible."""
    try:
        return int(MODULE_PROTOCOL.read_text())
    except (OSError, ValueError):
        return None


def module_note() -> str:
    """Whether the kernel publishes here as well."""
    protocol = module_protocol()
    if protocol is None:
        return "nlbus.ko is not loaded: processes alone publish (`make kmod`)"
    return f"nlbus.ko is loaded, protocol {protocol}: the kernel publishes, too, and processes through it"
