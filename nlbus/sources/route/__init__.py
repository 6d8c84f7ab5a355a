"""route: links, addresses, routes, neighbours, rules. Group numbers are those of <linux/rtnetlink.h>."""

import struct

from nlbus.kernel.groups import Groups
from nlbus.sources.route.addr import ADDR, ANYCAST, MULTICAST
from nlbus.sources.route.bridging import MDB, TUNNEL, VLAN
from nlbus.sources.route.headers_only import OTHERS
from nlbus.sources.route.link import BRPORT, IPV6_IFINFO, LINK
from nlbus.sources.route.neigh import FDB, NEIGH
from nlbus.sources.route.netconf import NETCONF
from nlbus.sources.route.nexthop import NEXTHOP, NEXTHOP_BUCKET
from nlbus.sources.route.routes import MPLS_ROUTE, ROUTES
from nlbus.sources.route.rule import RULE
from nlbus.sources.route.traffic import CHAIN, QDISC, TCLASS, TFILTER
from nlbus.sources.source import Source

GROUPS = {
    "link": 1,
    "notify": 2,
    "neigh": 3,
    "tc": 4,
    "ipv4_ifaddr": 5,
    "ipv4_mroute": 6,
    "ipv4_route": 7,
    "ipv4_rule": 8,
    "ipv6_ifaddr": 9,
    "ipv6_mroute": 10,
    "ipv6_route": 11,
    "ipv6_ifinfo": 12,
    "ipv6_prefix": 18,
    "ipv6_rule": 19,
    "nd_useropt": 20,
    "phonet_ifaddr": 21,
    "phonet_route": 22,
    "dcb": 23,
    "ipv4_netconf": 24,
    "ipv6_netconf": 25,
    "mdb": 26,
    "mpls_route": 27,
    "nsid": 28,
    "mpls_netconf": 29,
    "ipv4_mroute_r": 30,
    "ipv6_mroute_r": 31,
    "nexthop": 32,
    "brvlan": 33,
    "mctp_ifaddr": 34,
    "tunnel": 35,
    "stats": 36,
    "ipv4_mcaddr": 37,
    "ipv6_mcaddr": 38,
    "ipv6_acaddr": 39,
}

DEFAULT = Groups(
    *(
        GROUPS[name]
        for name in (
            "link",
            "neigh",
            "ipv4_ifaddr",
            "ipv4_route",
            "ipv4_rule",
            "ipv6_ifaddr",
            "ipv6_route",
            "ipv6_rule",
            "nexthop",
        )
    )
)

RTM_BASE = 16
RTM_GETLINK = 18
VERBS = ("NEW", "DEL", "GET", "SET")
# Four types a kind: new, delete, get, set.
KINDS = (
    "LINK", "ADDR", "ROUTE", "NEIGH", "RULE", "QDISC", "TCLASS", "TFILTER", "ACTION", "PREFIX", "MULTICAST",
    "ANYCAST", "NEIGHTBL", "NDUSEROPT", "ADDRLABEL", "DCB", "NETCONF", "MDB", "NSID", "STATS", "CACHEREPORT",
    "CHAIN", "NEXTHOP", "LINKPROP", "VLAN", "NEXTHOPBUCKET", "TUNNEL",
)  # fmt: skip

ROUTE = Source(
    name="route",
    protocol=0,
    kernel_name="NETLINK_ROUTE",
    framing="nlmsg",
    groups=GROUPS,
    default=DEFAULT,
    schemas=(
        LINK, ADDR, ROUTES, NEIGH, RULE, NEXTHOP, NETCONF,
        BRPORT, FDB, IPV6_IFINFO, MULTICAST, ANYCAST, MPLS_ROUTE, NEXTHOP_BUCKET,
        QDISC, TCLASS, TFILTER, CHAIN, MDB, VLAN, TUNNEL, *OTHERS,
    ),
    sentinel=True,
    types=dict(enumerate((f"RTM_{verb}{kind}" for kind in KINDS for verb in VERBS), RTM_BASE)),
    probe=DEFAULT,
    barrier=(RTM_GETLINK, struct.pack("=BBHiII", 0, 0, 0, 1, 0, 0)),  # of lo, under the lock of changes
    needs="no privilege, but ipv4_mroute_r and ipv6_mroute_r need CAP_NET_ADMIN over this network namespace",
    option="CONFIG_NET",
    example="nlbus listen route -g link,ipv4_route",
)  # fmt: skip
