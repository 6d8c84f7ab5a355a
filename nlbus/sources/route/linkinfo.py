"""The attributes of links by their kind (IFLA_INFO_DATA), and of their ports (IFLA_INFO_SLAVE_DATA).

Other kinds, such as veth, dummy and wireguard, have no attributes: only their name in linkinfo_kind.
"""

from collections.abc import Mapping

from nlbus.schema.naming import bits, numbered
from nlbus.schema.schema import Attr, Entry, List, Nest, Struct, Structs, ignored
from nlbus.schema.types import (
    ADDRESS,
    BE16,
    BE32,
    FLAG,
    IPV6,
    LLADDR,
    S32,
    U8,
    U16,
    U32,
    U64,
    Field,
    Type,
    fixed,
    pad,
)
from nlbus.sources.route.names import CLOCK, IFINDEX
from nlbus.sources.route.tunnels import GRE, GRE6, IP6TNL, IPIP, SIT

Entries = tuple[Entry, ...]
MAC = fixed(6, "mac")
VLAN_PROTOCOLS = {0x8100: "8021q", 0x88A8: "8021ad"}  # ETH_P_*

# struct ifla_vlan_qos_mapping: priorities, of packets in the kernel and in their tags
QOS_MAPPINGS = (Structs("IFLA_VLAN_QOS_MAPPING", 1, (Field("from", U32), Field("to", U32)), column="-"),)

VLAN: Entries = (
    Attr("IFLA_VLAN_ID", 1, U16),
    Struct(
        "IFLA_VLAN_FLAGS",
        2,
        (Field("flags", U32, flags=bits("reorder_hdr gvrp loose_binding mvrp bridge_binding")), pad(4)),
        column="-",
    ),
    Nest("IFLA_VLAN_EGRESS_QOS", 3, "IFLA_VLAN_", QOS_MAPPINGS),
    Nest("IFLA_VLAN_INGRESS_QOS", 4, "IFLA_VLAN_", QOS_MAPPINGS),
    Attr("IFLA_VLAN_PROTOCOL", 5, BE16, enum=VLAN_PROTOCOLS),
)

PORT_RANGE = (Field("low", BE16), Field("high", BE16))
DONT_FRAGMENT = numbered("unset set inherit")

VXLAN: Entries = (
    Attr("IFLA_VXLAN_ID", 1, U32),
    Attr("IFLA_VXLAN_GROUP", 2, ADDRESS),
    Attr("IFLA_VXLAN_GROUP6", 16, ADDRESS, column="group"),
    Attr("IFLA_VXLAN_LINK", 3, IFINDEX),
    Attr("IFLA_VXLAN_LOCAL", 4, ADDRESS),
    Attr("IFLA_VXLAN_LOCAL6", 17, ADDRESS, column="local"),
    Attr("IFLA_VXLAN_TTL", 5, U8),
    Attr("IFLA_VXLAN_TOS", 6, U8),
    Attr("IFLA_VXLAN_LEARNING", 7, U8),
    Attr("IFLA_VXLAN_AGEING", 8, U32, "s"),
    Attr("IFLA_VXLAN_LIMIT", 9, U32),
    Struct("IFLA_VXLAN_PORT_RANGE", 10, PORT_RANGE),
    Attr("IFLA_VXLAN_PROXY", 11, U8),
    Attr("IFLA_VXLAN_RSC", 12, U8),
    Attr("IFLA_VXLAN_L2MISS", 13, U8),
    Attr("IFLA_VXLAN_L3MISS", 14, U8),
    Attr("IFLA_VXLAN_PORT", 15, BE16),
    Attr("IFLA_VXLAN_UDP_CSUM", 18, U8),
    Attr("IFLA_VXLAN_UDP_ZERO_CSUM6_TX", 19, U8),
    Attr("IFLA_VXLAN_UDP_ZERO_CSUM6_RX", 20, U8),
    Attr("IFLA_VXLAN_REMCSUM_TX", 21, U8),
    Attr("IFLA_VXLAN_REMCSUM_RX", 22, U8),
    Attr("IFLA_VXLAN_GBP", 23, FLAG),
    Attr("IFLA_VXLAN_REMCSUM_NOPARTIAL", 24, FLAG),
    Attr("IFLA_VXLAN_COLLECT_METADATA", 25, U8),
    Attr("IFLA_VXLAN_LABEL", 26, BE32),
    Attr("IFLA_VXLAN_GPE", 27, FLAG),
    Attr("IFLA_VXLAN_TTL_INHERIT", 28, U8),
    Attr("IFLA_VXLAN_DF", 29, U8, enum=DONT_FRAGMENT),
    Attr("IFLA_VXLAN_VNIFILTER", 30, U8),
    Attr("IFLA_VXLAN_LOCALBYPASS", 31, U8),
    Attr("IFLA_VXLAN_LABEL_POLICY", 32, U32, enum=numbered("fixed inherit")),
    Attr("IFLA_VXLAN_RESERVED_BITS", 33, fixed(8)),
    Attr("IFLA_VXLAN_MC_ROUTE", 34, U8),
)

GENEVE: Entries = (
    Attr("IFLA_GENEVE_ID", 1, U32),
    Attr("IFLA_GENEVE_REMOTE", 2, ADDRESS),
    Attr("IFLA_GENEVE_REMOTE6", 7, ADDRESS, column="remote"),
    Attr("IFLA_GENEVE_TTL", 3, U8),
    Attr("IFLA_GENEVE_TOS", 4, U8),
    Attr("IFLA_GENEVE_PORT", 5, BE16),
    Attr("IFLA_GENEVE_COLLECT_METADATA", 6, FLAG),
    Attr("IFLA_GENEVE_UDP_CSUM", 8, U8),
    Attr("IFLA_GENEVE_UDP_ZERO_CSUM6_TX", 9, U8),
    Attr("IFLA_GENEVE_UDP_ZERO_CSUM6_RX", 10, U8),
    Attr("IFLA_GENEVE_LABEL", 11, BE32),
    Attr("IFLA_GENEVE_TTL_INHERIT", 12, U8),
    Attr("IFLA_GENEVE_DF", 13, U8, enum=DONT_FRAGMENT),
    Attr("IFLA_GENEVE_INNER_PROTO_INHERIT", 14, FLAG),
    Struct("IFLA_GENEVE_PORT_RANGE", 15, PORT_RANGE),
    Attr("IFLA_GENEVE_GRO_HINT", 16, FLAG),
    Attr("IFLA_GENEVE_LOCAL", 17, ADDRESS),
    Attr("IFLA_GENEVE_LOCAL6", 18, ADDRESS, column="local"),
)

MULTICAST_ROUTER = numbered("disabled temp_query perm temp")  # MDB_RTR_TYPE_*
BRIDGE_ID = (Field("prio", BE16), Field("addr", MAC))

BRIDGE: Entries = (
    Attr("IFLA_BR_FORWARD_DELAY", 1, U32, CLOCK),
    Attr("IFLA_BR_HELLO_TIME", 2, U32, CLOCK),
    Attr("IFLA_BR_MAX_AGE", 3, U32, CLOCK),
    Attr("IFLA_BR_AGEING_TIME", 4, U32, CLOCK),
    Attr("IFLA_BR_STP_STATE", 5, U32),
    Attr("IFLA_BR_PRIORITY", 6, U16),
    Attr("IFLA_BR_VLAN_FILTERING", 7, U8),
    Attr("IFLA_BR_VLAN_PROTOCOL", 8, BE16, enum=VLAN_PROTOCOLS),
    Attr("IFLA_BR_GROUP_FWD_MASK", 9, U16, display="hex"),
    Struct("IFLA_BR_ROOT_ID", 10, BRIDGE_ID),
    Struct("IFLA_BR_BRIDGE_ID", 11, BRIDGE_ID),
    Attr("IFLA_BR_ROOT_PORT", 12, U16),
    Attr("IFLA_BR_ROOT_PATH_COST", 13, U32),
    Attr("IFLA_BR_TOPOLOGY_CHANGE", 14, U8),
    Attr("IFLA_BR_TOPOLOGY_CHANGE_DETECTED", 15, U8),
    Attr("IFLA_BR_HELLO_TIMER", 16, U64, CLOCK),
    Attr("IFLA_BR_TCN_TIMER", 17, U64, CLOCK),
    Attr("IFLA_BR_TOPOLOGY_CHANGE_TIMER", 18, U64, CLOCK),
    Attr("IFLA_BR_GC_TIMER", 19, U64, CLOCK),
    Attr("IFLA_BR_GROUP_ADDR", 20, MAC),
    Attr("IFLA_BR_MCAST_ROUTER", 22, U8, enum=MULTICAST_ROUTER),
    Attr("IFLA_BR_MCAST_SNOOPING", 23, U8),
    Attr("IFLA_BR_MCAST_QUERY_USE_IFADDR", 24, U8),
    Attr("IFLA_BR_MCAST_QUERIER", 25, U8),
    Attr("IFLA_BR_MCAST_HASH_ELASTICITY", 26, U32),
    Attr("IFLA_BR_MCAST_HASH_MAX", 27, U32),
    Attr("IFLA_BR_MCAST_LAST_MEMBER_CNT", 28, U32),
    Attr("IFLA_BR_MCAST_STARTUP_QUERY_CNT", 29, U32),
    Attr("IFLA_BR_MCAST_LAST_MEMBER_INTVL", 30, U64, CLOCK),
    Attr("IFLA_BR_MCAST_MEMBERSHIP_INTVL", 31, U64, CLOCK),
    Attr("IFLA_BR_MCAST_QUERIER_INTVL", 32, U64, CLOCK),
    Attr("IFLA_BR_MCAST_QUERY_INTVL", 33, U64, CLOCK),
    Attr("IFLA_BR_MCAST_QUERY_RESPONSE_INTVL", 34, U64, CLOCK),
    Attr("IFLA_BR_MCAST_STARTUP_QUERY_INTVL", 35, U64, CLOCK),
    Attr("IFLA_BR_NF_CALL_IPTABLES", 36, U8),
    Attr("IFLA_BR_NF_CALL_IP6TABLES", 37, U8),
    Attr("IFLA_BR_NF_CALL_ARPTABLES", 38, U8),
    Attr("IFLA_BR_VLAN_DEFAULT_PVID", 39, U16),
    Attr("IFLA_BR_VLAN_STATS_ENABLED", 41, U8),
    Attr("IFLA_BR_MCAST_STATS_ENABLED", 42, U8),
    Attr("IFLA_BR_MCAST_IGMP_VERSION", 43, U8),
    Attr("IFLA_BR_MCAST_MLD_VERSION", 44, U8),
    Attr("IFLA_BR_VLAN_STATS_PER_PORT", 45, U8),
    Struct(
        "IFLA_BR_MULTI_BOOLOPT",
        46,
        (Field("optval", U32, display="hex"), Field("optmask", U32, display="hex")),
    ),
    Attr("IFLA_BR_FDB_N_LEARNED", 48, U32),
    Attr("IFLA_BR_FDB_MAX_LEARNED", 49, U32),
    Attr("IFLA_BR_STP_MODE", 50, U32, enum=numbered("auto user kernel")),  # BR_STP_MODE_*
    *ignored("IFLA_BR_", PAD=40, MCAST_QUERIER_STATE=47),
)

BRIDGE_PORT: Entries = (
    Attr("IFLA_BRPORT_STATE", 1, U8, enum=numbered("disabled listening learning forwarding blocking")),
    Attr("IFLA_BRPORT_PRIORITY", 2, U16),
    Attr("IFLA_BRPORT_COST", 3, U32),
    Attr("IFLA_BRPORT_MODE", 4, U8),
    Attr("IFLA_BRPORT_GUARD", 5, U8),
    Attr("IFLA_BRPORT_PROTECT", 6, U8),
    Attr("IFLA_BRPORT_FAST_LEAVE", 7, U8),
    Attr("IFLA_BRPORT_LEARNING", 8, U8),
    Attr("IFLA_BRPORT_UNICAST_FLOOD", 9, U8),
    Attr("IFLA_BRPORT_PROXYARP", 10, U8),
    Attr("IFLA_BRPORT_LEARNING_SYNC", 11, U8),
    Attr("IFLA_BRPORT_PROXYARP_WIFI", 12, U8),
    Struct("IFLA_BRPORT_ROOT_ID", 13, BRIDGE_ID),
    Struct("IFLA_BRPORT_BRIDGE_ID", 14, BRIDGE_ID),
    Attr("IFLA_BRPORT_DESIGNATED_PORT", 15, U16),
    Attr("IFLA_BRPORT_DESIGNATED_COST", 16, U16),
    Attr("IFLA_BRPORT_ID", 17, U16),
    Attr("IFLA_BRPORT_NO", 18, U16),
    Attr("IFLA_BRPORT_TOPOLOGY_CHANGE_ACK", 19, U8),
    Attr("IFLA_BRPORT_CONFIG_PENDING", 20, U8),
    Attr("IFLA_BRPORT_MESSAGE_AGE_TIMER", 21, U64, CLOCK),
    Attr("IFLA_BRPORT_FORWARD_DELAY_TIMER", 22, U64, CLOCK),
    Attr("IFLA_BRPORT_HOLD_TIMER", 23, U64, CLOCK),
    Attr("IFLA_BRPORT_MULTICAST_ROUTER", 25, U8, enum=MULTICAST_ROUTER),
    Attr("IFLA_BRPORT_MCAST_FLOOD", 27, U8),
    Attr("IFLA_BRPORT_MCAST_TO_UCAST", 28, U8),
    Attr("IFLA_BRPORT_VLAN_TUNNEL", 29, U8),
    Attr("IFLA_BRPORT_BCAST_FLOOD", 30, U8),
    Attr("IFLA_BRPORT_GROUP_FWD_MASK", 31, U16, display="hex"),
    Attr("IFLA_BRPORT_NEIGH_SUPPRESS", 32, U8),
    Attr("IFLA_BRPORT_ISOLATED", 33, U8),
    Attr("IFLA_BRPORT_BACKUP_PORT", 34, IFINDEX),
    Attr("IFLA_BRPORT_MRP_RING_OPEN", 35, U8),
    Attr("IFLA_BRPORT_MRP_IN_OPEN", 36, U8),
    Attr("IFLA_BRPORT_MCAST_EHT_HOSTS_LIMIT", 37, U32),
    Attr("IFLA_BRPORT_MCAST_EHT_HOSTS_CNT", 38, U32),
    Attr("IFLA_BRPORT_LOCKED", 39, U8),
    Attr("IFLA_BRPORT_MAB", 40, U8),
    Attr("IFLA_BRPORT_MCAST_N_GROUPS", 41, U32),
    Attr("IFLA_BRPORT_MCAST_MAX_GROUPS", 42, U32),
    Attr("IFLA_BRPORT_NEIGH_VLAN_SUPPRESS", 43, U8),
    Attr("IFLA_BRPORT_BACKUP_NHID", 44, U32),
    Attr("IFLA_BRPORT_NEIGH_FORWARD_GRAT", 45, U8),
    *ignored("IFLA_BRPORT_", FLUSH=24, PAD=26),
)

TARGETS = 16  # BOND_MAX_ARP_TARGETS, BOND_MAX_NS_TARGETS


def _targets(kernel: str, number: int, address: Type) -> Nest:
    """A list of addresses: the numbers in the nest are positions in it."""
    places = [List(kernel, i, address, repeated=True) for i in range(TARGETS)]
    return Nest(kernel, number, "IFLA_BOND_", places, column="-")


BOND: Entries = (
    Attr("IFLA_BOND_MODE", 1, U8, enum=numbered("roundrobin activebackup xor broadcast 8023ad tlb alb")),
    Attr("IFLA_BOND_ACTIVE_SLAVE", 2, IFINDEX),
    Attr("IFLA_BOND_MIIMON", 3, U32, "ms"),
    Attr("IFLA_BOND_UPDELAY", 4, U32, "ms"),
    Attr("IFLA_BOND_DOWNDELAY", 5, U32, "ms"),
    Attr("IFLA_BOND_USE_CARRIER", 6, U8),
    Attr("IFLA_BOND_ARP_INTERVAL", 7, U32, "ms"),
    _targets("IFLA_BOND_ARP_IP_TARGET", 8, ADDRESS),
    Attr(
        "IFLA_BOND_ARP_VALIDATE",
        9,
        U32,
        enum=numbered("none active backup all filter filter_active filter_backup"),
    ),
    Attr("IFLA_BOND_ARP_ALL_TARGETS", 10, U32, enum=numbered("any all")),
    Attr("IFLA_BOND_PRIMARY", 11, IFINDEX),
    Attr("IFLA_BOND_PRIMARY_RESELECT", 12, U8, enum=numbered("always better failure")),
    Attr("IFLA_BOND_FAIL_OVER_MAC", 13, U8, enum=numbered("none active follow")),
    Attr(
        "IFLA_BOND_XMIT_HASH_POLICY",
        14,
        U8,
        enum=numbered("layer2 layer34 layer23 encap23 encap34 vlan_srcmac"),
    ),
    Attr("IFLA_BOND_RESEND_IGMP", 15, U32),
    Attr("IFLA_BOND_NUM_PEER_NOTIF", 16, U8),
    Attr("IFLA_BOND_ALL_SLAVES_ACTIVE", 17, U8),
    Attr("IFLA_BOND_MIN_LINKS", 18, U32),
    Attr("IFLA_BOND_LP_INTERVAL", 19, U32, "s"),
    Attr("IFLA_BOND_PACKETS_PER_SLAVE", 20, U32, "packets"),
    Attr("IFLA_BOND_AD_LACP_RATE", 21, U8, enum=numbered("slow fast")),
    Attr("IFLA_BOND_AD_SELECT", 22, U8, enum=numbered("stable bandwidth count prio")),
    Nest(
        "IFLA_BOND_AD_INFO",
        23,
        "IFLA_BOND_AD_INFO_",
        (
            Attr("IFLA_BOND_AD_INFO_AGGREGATOR", 1, U16),
            Attr("IFLA_BOND_AD_INFO_NUM_PORTS", 2, U16),
            Attr("IFLA_BOND_AD_INFO_ACTOR_KEY", 3, U16),
            Attr("IFLA_BOND_AD_INFO_PARTNER_KEY", 4, U16),
            Attr("IFLA_BOND_AD_INFO_PARTNER_MAC", 5, MAC),
        ),
    ),
    Attr("IFLA_BOND_AD_ACTOR_SYS_PRIO", 24, U16),
    Attr("IFLA_BOND_AD_USER_PORT_KEY", 25, U16),
    Attr("IFLA_BOND_AD_ACTOR_SYSTEM", 26, MAC),
    Attr("IFLA_BOND_TLB_DYNAMIC_LB", 27, U8),
    Attr("IFLA_BOND_PEER_NOTIF_DELAY", 28, U32, "ms"),
    Attr("IFLA_BOND_AD_LACP_ACTIVE", 29, U8),
    Attr("IFLA_BOND_MISSED_MAX", 30, U8),
    _targets("IFLA_BOND_NS_IP6_TARGET", 31, IPV6),
    Attr("IFLA_BOND_COUPLED_CONTROL", 32, U8),
    Attr("IFLA_BOND_BROADCAST_NEIGH", 33, U8),
    Attr("IFLA_BOND_LACP_STRICT", 34, U8),
)

BOND_SLAVE: Entries = (
    Attr("IFLA_BOND_SLAVE_STATE", 1, U8, enum=numbered("active backup")),
    Attr("IFLA_BOND_SLAVE_MII_STATUS", 2, U8, enum=numbered("up fail down back")),
    Attr("IFLA_BOND_SLAVE_LINK_FAILURE_COUNT", 3, U32),
    Attr("IFLA_BOND_SLAVE_PERM_HWADDR", 4, LLADDR),
    Attr("IFLA_BOND_SLAVE_QUEUE_ID", 5, U16),
    Attr("IFLA_BOND_SLAVE_AD_AGGREGATOR_ID", 6, U16),
    Attr("IFLA_BOND_SLAVE_AD_ACTOR_OPER_PORT_STATE", 7, U8, display="hex"),
    Attr("IFLA_BOND_SLAVE_AD_PARTNER_OPER_PORT_STATE", 8, U16, display="hex"),
    Attr("IFLA_BOND_SLAVE_PRIO", 9, S32),
    Attr("IFLA_BOND_SLAVE_ACTOR_PORT_PRIO", 10, U16),
    Attr("IFLA_BOND_SLAVE_AD_CHURN_ACTOR_STATE", 11, U8),
    Attr("IFLA_BOND_SLAVE_AD_CHURN_PARTNER_STATE", 12, U8),
)

MACVLAN: Entries = (
    Attr(
        "IFLA_MACVLAN_MODE",
        1,
        U32,
        enum={1: "private", 2: "vepa", 4: "bridge", 8: "passthru", 16: "source"},
    ),
    Attr("IFLA_MACVLAN_FLAGS", 2, U16, flags=bits("nopromisc nodst")),
    Nest(
        "IFLA_MACVLAN_MACADDR_DATA",
        5,
        "IFLA_MACVLAN_",
        (List("IFLA_MACVLAN_MACADDR", 4, LLADDR, repeated=True),),
        column="-",
    ),
    Attr("IFLA_MACVLAN_MACADDR_COUNT", 6, U32),
    Attr("IFLA_MACVLAN_BC_QUEUE_LEN", 7, U32),
    Attr("IFLA_MACVLAN_BC_QUEUE_LEN_USED", 8, U32),
    Attr("IFLA_MACVLAN_BC_CUTOFF", 9, S32),
)

IPVLAN: Entries = (
    Attr("IFLA_IPVLAN_MODE", 1, U16, enum=numbered("l2 l3 l3s")),
    Attr("IFLA_IPVLAN_FLAGS", 2, U16, flags=bits("private vepa")),
)

TUN: Entries = (
    Attr("IFLA_TUN_OWNER", 1, U32),
    Attr("IFLA_TUN_GROUP", 2, U32),
    Attr("IFLA_TUN_TYPE", 3, U8, enum={1: "tun", 2: "tap"}),
    Attr("IFLA_TUN_PI", 4, U8),
    Attr("IFLA_TUN_VNET_HDR", 5, U8),
    Attr("IFLA_TUN_PERSIST", 6, U8),
    Attr("IFLA_TUN_MULTI_QUEUE", 7, U8),
    Attr("IFLA_TUN_NUM_QUEUES", 8, U32),
    Attr("IFLA_TUN_NUM_DISABLED_QUEUES", 9, U32),
)

NETKIT_ACTIONS = {-1: "next", 0: "pass", 2: "drop", 7: "redirect"}
NETKIT_SCRUB = numbered("none default")

NETKIT: Entries = (
    Attr("IFLA_NETKIT_PRIMARY", 2, U8),
    Attr("IFLA_NETKIT_POLICY", 3, S32, enum=NETKIT_ACTIONS),
    Attr("IFLA_NETKIT_PEER_POLICY", 4, S32, enum=NETKIT_ACTIONS),
    Attr("IFLA_NETKIT_MODE", 5, U32, enum=numbered("l2 l3")),
    Attr("IFLA_NETKIT_SCRUB", 6, U32, enum=NETKIT_SCRUB),
    Attr("IFLA_NETKIT_PEER_SCRUB", 7, U32, enum=NETKIT_SCRUB),
    Attr("IFLA_NETKIT_HEADROOM", 8, U16, "bytes"),
    Attr("IFLA_NETKIT_TAILROOM", 9, U16, "bytes"),
)

OVPN: Entries = (Attr("IFLA_OVPN_MODE", 1, U8, enum=numbered("p2p mp")),)  # OVPN_MODE_*

VRF: Entries = (Attr("IFLA_VRF_TABLE", 1, U32),)
VRF_PORT: Entries = (Attr("IFLA_VRF_PORT_TABLE", 1, U32),)

# Kind to (prefix of its attributes, attributes).
KINDS: Mapping[str, tuple[str, Entries]] = {
    "vlan": ("IFLA_VLAN_", VLAN),
    "vxlan": ("IFLA_VXLAN_", VXLAN),
    "geneve": ("IFLA_GENEVE_", GENEVE),
    "bridge": ("IFLA_BR_", BRIDGE),
    "bond": ("IFLA_BOND_", BOND),
    "macvlan": ("IFLA_MACVLAN_", MACVLAN),
    "macvtap": ("IFLA_MACVLAN_", MACVLAN),
    "ipvlan": ("IFLA_IPVLAN_", IPVLAN),
    "ipip": ("IFLA_IPTUN_", IPIP),
    "sit": ("IFLA_IPTUN_", SIT),
    "ip6tnl": ("IFLA_IPTUN_", IP6TNL),
    "gre": ("IFLA_GRE_", GRE),
    "gretap": ("IFLA_GRE_", GRE),
    "ip6gre": ("IFLA_GRE_", GRE6),
    "ip6gretap": ("IFLA_GRE_", GRE6),
    "tun": ("IFLA_TUN_", TUN),
    "vrf": ("IFLA_VRF_", VRF),
    "netkit": ("IFLA_NETKIT_", NETKIT),
    "ovpn": ("IFLA_OVPN_", OVPN),
}  # Prefixes so short that the columns are linkinfo_bridge_port_state, linkinfo_bond_slave_state.
PORT_KINDS: Mapping[str, tuple[str, Entries]] = {
    "bridge": ("IFLA_BR", BRIDGE_PORT),
    "bond": ("IFLA_BOND_", BOND_SLAVE),
    "vrf": ("IFLA_VRF_", VRF_PORT),
}
