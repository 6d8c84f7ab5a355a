"""sock_diag: the sockets of a network namespace, and those of TCP and UDP that are destroyed."""

from nlbus.kernel.groups import Groups
from nlbus.sources.sock_diag.inet import MPTCP, RAW, TCP, UDP, UDPLITE
from nlbus.sources.sock_diag.others import NETLINK, PACKET, UNIX, VSOCK, XDP
from nlbus.sources.source import Source

SOCK_DIAG = Source(
    name="sock_diag",
    protocol=4,
    kernel_name="NETLINK_SOCK_DIAG",
    framing="nlmsg",
    groups={"inet_tcp_destroy": 1, "inet_udp_destroy": 2, "inet6_tcp_destroy": 3, "inet6_udp_destroy": 4},
    default=Groups(1, 2, 3, 4),
    schemas=(TCP, UDP, UDPLITE, RAW, MPTCP, UNIX, NETLINK, PACKET, VSOCK, XDP),
    types={20: "SOCK_DIAG_BY_FAMILY", 21: "SOCK_DESTROY"},
    needs="no privilege",
    option="CONFIG_INET_DIAG",
    module="inet_diag",
    note="events are destroyed TCP and UDP sockets only; `nlbus snapshot sock_diag tcp` lists the living",
    example="nlbus listen sock_diag -g inet_tcp_destroy",
)
