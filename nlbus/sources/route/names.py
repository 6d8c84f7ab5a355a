"""Names of rtnetlink's numbers: the kernel's names in lower case, without prefix."""

from dataclasses import replace

from nlbus.schema.naming import bits, numbered
from nlbus.schema.schema import Op
from nlbus.schema.types import S32

NLM_F_REPLACE = 0x100
NEW_LINK, NEW_ADDR, NEW_ROUTE, NEW_NEIGH, NEW_RULE = 16, 20, 24, 28, 32  # RTM_NEW*; each RTM_DEL* is one more

IFINDEX = replace(S32, display="interface")  # some headers say u32; one type, so that tables join
CLOCK = "10ms"  # clock_t: USER_HZ is 100 on every architecture in use


def ops(new: int) -> tuple[Op, ...]:
    """The events of RTM_NEWx, with this number, and of RTM_DELx."""
    return Op(new, "change", NLM_F_REPLACE, NLM_F_REPLACE), Op(new, "new"), Op(new + 1, "del")


# AF_*, and RTNL_FAMILY_*
FAMILIES = {
    0: "unspec",
    2: "inet",
    7: "bridge",
    10: "inet6",
    28: "mpls",
    29: "can",
    35: "phonet",
    45: "mctp",
    128: "ipmr",
    129: "ip6mr",
}

# -- links ------------------------------------------------------------------------------------------

# IFF_*
LINK_FLAGS = bits(
    "up broadcast debug loopback pointopoint notrailers running noarp promisc allmulti master slave "
    "multicast portsel automedia dynamic lower_up dormant echo"
)
OPERSTATES = numbered("unknown notpresent down lowerlayerdown testing dormant up")  # IF_OPER_*
LINK_MODES = numbered("default dormant testing")  # IF_LINK_MODE_*
LINK_EVENTS = numbered(
    "none reboot features bonding_failover notify_peers igmp_resend bonding_options"
)  # IFLA_EVENT_*
XDP_ATTACHED = numbered("none drv skb hw multi")  # XDP_ATTACHED_*
ADDR_GEN_MODES = numbered("eui64 none stable_privacy random")  # IN6_ADDR_GEN_MODE_*

# ARPHRD_*
LINK_TYPES = {
    0: "netrom",
    1: "ether",
    2: "eether",
    3: "ax25",
    4: "pronet",
    5: "chaos",
    6: "ieee802",
    7: "arcnet",
    8: "appletlk",
    15: "dlci",
    19: "atm",
    23: "metricom",
    24: "ieee1394",
    27: "eui64",
    32: "infiniband",
    256: "slip",
    257: "cslip",
    258: "slip6",
    259: "cslip6",
    260: "rsrvd",
    264: "adapt",
    270: "rose",
    271: "x25",
    272: "hwx25",
    280: "can",
    290: "mctp",
    512: "ppp",
    513: "cisco",
    516: "lapb",
    517: "ddcmp",
    518: "rawhdlc",
    519: "rawip",
    768: "tunnel",
    769: "tunnel6",
    770: "frad",
    771: "skip",
    772: "loopback",
    773: "localtlk",
    774: "fddi",
    775: "bif",
    776: "sit",
    777: "ipddp",
    778: "ipgre",
    779: "pimreg",
    780: "hippi",
    781: "ash",
    782: "econet",
    783: "irda",
    784: "fcpp",
    785: "fcal",
    786: "fcpl",
    787: "fcfabric",
    800: "ieee802_tr",
    801: "ieee80211",
    802: "ieee80211_prism",
    803: "ieee80211_radiotap",
    804: "ieee802154",
    805: "ieee802154_monitor",
    820: "phonet",
    821: "phonet_pipe",
    822: "caif",
    823: "ip6gre",
    824: "netlink",
    825: "6lowpan",
    826: "vsockmon",
    0xFFFE: "none",
    0xFFFF: "void",
}

# -- addresses --------------------------------------------------------------------------------------

# IFA_F_*; the first is `temporary` where the family is inet6
ADDR_FLAGS = bits(
    "secondary nodad optimistic dadfailed homeaddress deprecated tentative permanent managetempaddr "
    "noprefixroute mcautojoin stable_privacy"
)
ADDR_PROTOCOLS = numbered("unspec kernel_lo kernel_ra kernel_ll")  # IFAPROT_*

# -- routes, rules, next hops -----------------------------------------------------------------------

# RTN_*
ROUTE_TYPES = numbered(
    "unspec unicast local broadcast anycast multicast blackhole unreachable prohibit throw nat xresolve"
)

# RTPROT_*
ROUTE_PROTOCOLS = {
    0: "unspec",
    1: "redirect",
    2: "kernel",
    3: "boot",
    4: "static",
    8: "gated",
    9: "ra",
    10: "mrt",
    11: "zebra",
    12: "bird",
    13: "dnrouted",
    14: "xorp",
    15: "ntk",
    16: "dhcp",
    17: "mrouted",
    18: "keepalived",
    42: "babel",
    84: "ovn",
    99: "openr",
    186: "bgp",
    187: "isis",
    188: "ospf",
    189: "rip",
    192: "eigrp",
}

SCOPES = {0: "universe", 200: "site", 253: "link", 254: "host", 255: "nowhere"}  # RT_SCOPE_*
TABLES = {0: "unspec", 252: "compat", 253: "default", 254: "main", 255: "local"}  # RT_TABLE_*

# RTNH_F_*
HOP_FLAGS = bits("dead pervasive onlink offload linkdown unresolved trap")
# and RTM_F_*; three names are taken already, so these have the names of ip
ROUTE_FLAGS = {
    **HOP_FLAGS,
    **bits("notify cloned equalize prefix lookup_table fib_match rt_offload rt_trap", 8),
    0x2000_0000: "rt_offload_failed",
}

ROUTER_PREFERENCES = {0: "medium", 1: "high", 2: "invalid", 3: "low"}  # ICMPV6_ROUTER_PREF_*
# LWTUNNEL_ENCAP_*
ENCAPSULATIONS = numbered("none mpls ip ila ip6 seg6 bpf seg6_local rpl ioam6 xfrm")
# 1 << RTAX_*
METRICS = bits(
    "lock mtu window rtt rttvar ssthresh cwnd advmss reordering hoplimit initcwnd features rto_min initrwnd "
    "quickack cc_algo fastopen_no_cookie",
    1,
)
FEATURES = bits("ecn sack timestamp allfrag tcp_usec_ts")  # RTAX_FEATURE_*
NEXTHOP_GROUPS = numbered("mpath res")  # NEXTHOP_GRP_TYPE_*

RULE_ACTIONS = numbered("unspec to_tbl goto nop res3 res4 blackhole unreachable prohibit")  # FR_ACT_*
# FIB_RULE_*
RULE_FLAGS = {
    **bits("permanent invert unresolved iif_detached oif_detached"),
    0x1_0000: "find_saddr",
}
# IPPROTO_* of rules and lookups
IP_PROTOCOLS = {
    1: "icmp",
    2: "igmp",
    4: "ipip",
    6: "tcp",
    17: "udp",
    33: "dccp",
    41: "ipv6",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "icmpv6",
    89: "ospf",
    103: "pim",
    132: "sctp",
    136: "udplite",
    137: "mpls",
}

# -- neighbours -------------------------------------------------------------------------------------

NEIGH_STATES = bits("incomplete reachable stale delay probe failed noarp permanent")  # NUD_*; no bit: none
NEIGH_FLAGS = bits("use self master proxy ext_learned offloaded sticky router")  # NTF_*
NEIGH_FLAGS_EXT = bits("managed locked ext_validated")  # NTF_EXT_*
