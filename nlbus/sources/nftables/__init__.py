"""nftables: changes of tables, chains, rules and sets; and the way of packets through the rules (trace)."""

from nlbus.kernel.groups import Groups
from nlbus.kernel.requests import NFGENMSG
from nlbus.sources.nftables.events import GENERATION, TRACE
from nlbus.sources.nftables.objects import CHAIN, ELEMENT, FLOWTABLE, OBJECT, RULE, SET, TABLE, TYPES
from nlbus.sources.source import NEEDS_ADMIN, Source

NFTABLES = Source(
    name="nftables",
    protocol=12,
    kernel_name="NETLINK_NETFILTER",
    framing="nlmsg",
    groups={"nftables": 7, "trace": 9},
    default=Groups(7),
    sentinel=True,
    schemas=(TABLE, CHAIN, RULE, SET, ELEMENT, OBJECT, FLOWTABLE, GENERATION, TRACE),
    types={number: f"NFT_MSG_{name}" for name, number in TYPES.items()},
    privileged=True,
    needs=NEEDS_ADMIN,
    option="CONFIG_NF_TABLES",
    module="nf_tables",
    ask=(TYPES["GETGEN"], NFGENMSG.pack(0, 0, 0)),
    note="trace reports packets for which a rule says `meta nftrace set 1`",
    example="nlbus listen nftables",
)
