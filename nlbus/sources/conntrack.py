"""conntrack: connections as netfilter tracks them, and those that it expects."""

from nlbus.groups import Groups
from nlbus.request import NFGENMSG
from nlbus.sources.source import NEEDS_ADMIN, Source

NFNL_SUBSYS_CTNETLINK, NFNL_SUBSYS_CTNETLINK_EXP = 1, 2
IPCTNL_MSG_CT_GET_STATS = 5

# A new connection and one that changed are both CT_NEW: the group tells them apart.
CONNECTIONS = ("NEW", "GET", "DELETE", "GET_CTRZERO", "GET_STATS_CPU", "GET_STATS", "GET_DYING")
EXPECTATIONS = ("NEW", "GET", "DELETE", "GET_STATS_CPU")

CONNTRACK = Source(
    name="conntrack",
    protocol=12,
    kernel_name="NETLINK_NETFILTER",
    framing="nlmsg",
    groups={"new": 1, "update": 2, "destroy": 3, "exp_new": 4, "exp_update": 5, "exp_destroy": 6},
    default=Groups(1, 2, 3),
    sentinel=True,
    types={NFNL_SUBSYS_CTNETLINK << 8 | n: f"IPCTNL_MSG_CT_{name}" for n, name in enumerate(CONNECTIONS)}
    | {NFNL_SUBSYS_CTNETLINK_EXP << 8 | n: f"IPCTNL_MSG_EXP_{name}" for n, name in enumerate(EXPECTATIONS)},
    privileged=True,
    needs=NEEDS_ADMIN,
    option="CONFIG_NF_CT_NETLINK",
    module="nf_conntrack_netlink",
    ask=(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS, NFGENMSG.pack(0, 0, 0)),
    note="silent until a rule of this network namespace tracks connections (`ct state` or NAT), and about "
    "connections older than the first listener; counters and times need the sysctls "
    "net.netfilter.nf_conntrack_acct and nf_conntrack_timestamp",
    example="nlbus listen conntrack -g new,destroy",
)
