"""sock_diag: TCP and UDP sockets that are destroyed, with the last facts about each."""

from nlbus.kernel.groups import Groups
from nlbus.sources.source import Source

SOCK_DIAG = Source(
    name="sock_diag",
    protocol=4,
    kernel_name="NETLINK_SOCK_DIAG",
    framing="nlmsg",
    groups={"inet_tcp_destroy": 1, "inet_udp_destroy": 2, "inet6_tcp_destroy": 3, "inet6_udp_destroy": 4},
    default=Groups(1, 2, 3, 4),
    types={20: "SOCK_DIAG_BY_FAMILY", 21: "SOCK_DESTROY"},
    needs="no privilege",
    option="CONFIG_INET_DIAG",
    module="inet_diag",
    example="nlbus listen sock_diag -g inet_tcp_destroy",
)
