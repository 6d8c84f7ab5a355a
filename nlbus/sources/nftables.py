"""nftables: changes of tables, chains, rules and sets; and the way of packets through the rules (trace)."""

from nlbus.kernel.groups import Groups
from nlbus.kernel.requests import NFGENMSG
from nlbus.sources.source import NEEDS_ADMIN, Source

NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_GETGEN = 16

MESSAGES = (
    "NEWTABLE", "GETTABLE", "DELTABLE", "NEWCHAIN", "GETCHAIN", "DELCHAIN", "NEWRULE", "GETRULE", "DELRULE",
    "NEWSET", "GETSET", "DELSET", "NEWSETELEM", "GETSETELEM", "DELSETELEM", "NEWGEN", "GETGEN", "TRACE",
    "NEWOBJ", "GETOBJ", "DELOBJ", "GETOBJ_RESET", "NEWFLOWTABLE", "GETFLOWTABLE", "DELFLOWTABLE",
)  # fmt: skip

NFTABLES = Source(
    name="nftables",
    protocol=12,
    kernel_name="NETLINK_NETFILTER",
    framing="nlmsg",
    groups={"nftables": 7, "trace": 9},
    default=Groups(7),
    sentinel=True,
    types={NFNL_SUBSYS_NFTABLES << 8 | n: f"NFT_MSG_{name}" for n, name in enumerate(MESSAGES)},
    privileged=True,
    needs=NEEDS_ADMIN,
    option="CONFIG_NF_TABLES",
    module="nf_tables",
    ask=(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, NFGENMSG.pack(0, 0, 0)),
    note="trace reports packets for which a rule says `meta nftrace set 1`",
    example="nlbus listen nftables",
)
