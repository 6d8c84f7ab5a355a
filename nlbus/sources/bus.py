"""The bus: batches that processes multicast to each other over NETLINK_USERSOCK."""

from nlbus.groups import MASK_GROUPS
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
