"""The bus: batches that processes multicast to each other over NETLINK_USERSOCK."""

from nlbus.sources.source import ALL_GROUPS, Source

BUS = Source(
    name="bus",
    protocol=2,
    kernel_name="NETLINK_USERSOCK",
    framing="bus",
    user_groups=ALL_GROUPS,
    trust_self=True,
    privileged=True,
    needs="joining needs CAP_NET_ADMIN over this network namespace: run as root, or under `unshare -Urn`",
    option="CONFIG_NET",
)
