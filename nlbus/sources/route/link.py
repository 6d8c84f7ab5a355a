"""link: network interfaces, with statistics and the attributes of their kind.

The same messages have other facts with family bridge (`brport`: ports of bridges) and family inet6
(`ipv6_ifinfo`: IPv6 of an interface): hence three tables.
"""

import struct
from dataclasses import replace

from nlbus.kernel.constants import MessageFlag
from nlbus.schema.manners import Doubt, Manners, Partial
from nlbus.schema.schema import (
    Attr,
    Dump,
    Entry,
    Filter,
    Lean,
    List,
    Nest,
    Nests,
    Op,
    Schema,
    Select,
    Struct,
    ignored,
)
from nlbus.schema.types import BYTES, LLADDR, S32, TEXT, U8, U16, U32, U64, UINT, Field, fixed, pad
from nlbus.sources.route.linkinfo import BRIDGE_PORT, KINDS, PORT_KINDS
from nlbus.sources.route.names import (
    ADDR_GEN_MODES,
    IFINDEX,
    LINK_EVENTS,
    LINK_FLAGS,
    LINK_MODES,
    LINK_TYPES,
    NEW_LINK,
    OPERSTATES,
    XDP_ATTACHED,
    ops,
)
from nlbus.sources.route.virtual_function import VIRTUAL_FUNCTION

# struct ifinfomsg. The family tells the three tables apart.
HEADER = (
    Field("", U8),
    pad(1),
    Field("type", U16, enum=LINK_TYPES),
    Field("ifindex", IFINDEX),
    Field("flags", U32, flags=LINK_FLAGS),
    Field("change", U32, flags=LINK_FLAGS),
)

# struct rtnl_link_stats64
STATS64 = (
    Field("rx_packets", U64, "packets"),
    Field("tx_packets", U64, "packets"),
    Field("rx_bytes", U64, "bytes"),
    Field("tx_bytes", U64, "bytes"),
    Field("rx_errors", U64, "packets"),
    Field("tx_errors", U64, "packets"),
    Field("rx_dropped", U64, "packets"),
    Field("tx_dropped", U64, "packets"),
    Field("multicast", U64, "packets"),
    Field("collisions", U64),
    Field("rx_length_errors", U64, "packets"),
    Field("rx_over_errors", U64),
    Field("rx_crc_errors", U64, "packets"),
    Field("rx_frame_errors", U64, "packets"),
    Field("rx_fifo_errors", U64),
    Field("rx_missed_errors", U64, "packets"),
    Field("tx_aborted_errors", U64, "packets"),
    Field("tx_carrier_errors", U64, "packets"),
    Field("tx_fifo_errors", U64),
    Field("tx_heartbeat_errors", U64),
    Field("tx_window_errors", U64),
    Field("rx_compressed", U64, "packets"),
    Field("tx_compressed", U64, "packets"),
    Field("rx_nohandler", U64, "packets"),  # since 4.6
    Field("rx_otherhost_dropped", U64, "packets"),  # since 5.19
)
CHANGE_AT, EVERY_BIT = 12, 0xFFFF_FFFF  # ifi_change: the kernel sets every bit of it for a new link only
OLDEST_STATS64 = 23 * 8
IFLA_EXT_MASK = 29
VF, SKIP_STATS, MRP = 1 << 0, 1 << 3, 1 << 4  # RTEXT_FILTER_*

INET6: tuple[Entry, ...] = (
    Attr("IFLA_INET6_FLAGS", 1, U32, display="hex"),
    List("IFLA_INET6_CONF", 2, S32),
    Struct(
        "IFLA_INET6_CACHEINFO",
        5,
        (
            Field("max_reasm_len", U32, "bytes"),
            Field("tstamp", U32, "10ms"),
            Field("reachable_time", U32, "ms"),
            Field("retrans_time", U32, "ms"),
        ),
    ),
    Attr("IFLA_INET6_TOKEN", 7, replace(fixed(16, "address"), family="inet6")),
    Attr("IFLA_INET6_ADDR_GEN_MODE", 8, U8, enum=ADDR_GEN_MODES),
    Attr("IFLA_INET6_RA_MTU", 9, U32, "bytes"),
    *ignored("IFLA_INET6_", STATS=3, MCAST=4, ICMP6STATS=6),
)


def _header(mask: int) -> bytes:
    """A struct ifinfomsg for all links, and IFLA_EXT_MASK."""
    return bytes(16) + struct.pack("=HHI", 8, IFLA_EXT_MASK, mask)


LINK = Schema(
    words={
        "dev": "ifname",
        "name": "ifname",
        "state": "operstate",
        "alias": "ifalias",
        "kind": "linkinfo_kind",
        "lladdr": "address",
    },
    name="link",
    about="network interfaces",
    ops=(
        Op(NEW_LINK, "new", MessageFlag.MULTI, MessageFlag.MULTI),  # of a dump
        Op(NEW_LINK, "new", has=(CHANGE_AT, EVERY_BIT)),
        Op(NEW_LINK, "change"),
        Op(NEW_LINK + 1, "del"),
    ),
    selector=(0, 1, 0),  # AF_UNSPEC
    key=("ifindex",),
    manners=Manners(
        partial=(
            # The wireless extensions tell of a link by its name and their event alone.
            Partial(lacks="mtu"),
            Partial(lacks="af_spec_inet_conf", keeps=("af_spec_*",)),
            # Only dumps have the virtual functions.
            Partial(lacks="num_vf", keeps=("num_vf", "vf_*")),
        ),
        silent=(
            "ifalias",
            "prop_list_*",
            "group",
            "gso_*",
            "gro_*",
            "promiscuity",
            "af_spec_*_conf",
            "af_spec_inet6_flags",  # settings by sysctl
        ),
        volatile=(
            "change",
            "event",
            "stats64_*",
            "af_spec_inet6_stats*",
            "af_spec_inet6_cacheinfo_*",
            "linkinfo_*_timer",
            "linkinfo_bridge_fdb_n_learned",  # by traffic, as the next
            "linkinfo_bridge_port_mcast_n_groups",
        ),
        doubts=(
            Doubt(of="link", why="links above and below change with a link, and tell it late or not"),
            Doubt(of="qdisc", match={"ifindex": "ifindex"}, why="a link's qdisc changes without a message"),
        ),
    ),
    groups=("link",),
    # Without a mask the kernel ends the dump, as if it were complete, before a link of more than 32 KiB. With
    # one it makes room first; this bit adds nothing to such a dump.
    dump=Dump(
        18,
        (_header(MRP | VF),),
        (Filter("master", 4, number=10),),
        Lean("stats64_", (_header(MRP | VF | SKIP_STATS),)),
    ),
    header=HEADER,
    prefix="IFLA_",
    entries=(
        Attr("IFLA_ADDRESS", 1, LLADDR),
        Attr("IFLA_BROADCAST", 2, LLADDR),
        Attr("IFLA_IFNAME", 3, TEXT),
        Attr("IFLA_MTU", 4, U32, "bytes"),
        Attr("IFLA_LINK", 5, IFINDEX),
        Attr("IFLA_QDISC", 6, TEXT),
        Attr("IFLA_MASTER", 10, IFINDEX),
        Attr("IFLA_TXQLEN", 13, U32, "packets"),
        Attr("IFLA_OPERSTATE", 16, U8, enum=OPERSTATES),
        Attr("IFLA_LINKMODE", 17, U8, enum=LINK_MODES),
        Nest(
            "IFLA_LINKINFO",
            18,
            "IFLA_INFO_",
            (
                Attr("IFLA_INFO_KIND", 1, TEXT, selects=True),
                Select("IFLA_INFO_DATA", 2, KINDS),
                Attr("IFLA_INFO_SLAVE_KIND", 4, TEXT, selects=True),
                Select("IFLA_INFO_SLAVE_DATA", 5, PORT_KINDS),
                *ignored("IFLA_INFO_", XSTATS=3),
            ),
        ),
        Attr("IFLA_IFALIAS", 20, TEXT),
        Attr("IFLA_NUM_VF", 21, U32),
        Nests("IFLA_VFINFO_LIST", 22, "IFLA_VF_", VIRTUAL_FUNCTION, column="vf"),
        Struct("IFLA_STATS64", 23, STATS64, min_size=OLDEST_STATS64),
        Nest(
            "IFLA_AF_SPEC",
            26,
            "AF_",
            (
                Nest("AF_INET", 2, "IFLA_INET_", (List("IFLA_INET_CONF", 1, S32),)),
                Nest("AF_INET6", 10, "IFLA_INET6_", INET6),
                Nest("AF_MCTP", 45, "IFLA_MCTP_", (Attr("IFLA_MCTP_NET", 1, U32),)),
            ),
        ),
        Attr("IFLA_GROUP", 27, U32),
        Attr("IFLA_PROMISCUITY", 30, U32),
        Attr("IFLA_NUM_TX_QUEUES", 31, U32),
        Attr("IFLA_NUM_RX_QUEUES", 32, U32),
        Attr("IFLA_CARRIER", 33, U8),
        Attr("IFLA_PHYS_PORT_ID", 34, BYTES, display="hex"),
        Attr("IFLA_CARRIER_CHANGES", 35, U32),
        Attr("IFLA_PHYS_SWITCH_ID", 36, BYTES, display="hex"),
        Attr("IFLA_LINK_NETNSID", 37, S32),
        Attr("IFLA_PHYS_PORT_NAME", 38, TEXT),
        Attr("IFLA_PROTO_DOWN", 39, U8),
        Attr("IFLA_GSO_MAX_SEGS", 40, U32),
        Attr("IFLA_GSO_MAX_SIZE", 41, U32, "bytes"),
        Nest(
            "IFLA_XDP",
            43,
            "IFLA_XDP_",
            (
                Attr("IFLA_XDP_ATTACHED", 2, U8, enum=XDP_ATTACHED),
                Attr("IFLA_XDP_PROG_ID", 4, U32),
                Attr("IFLA_XDP_DRV_PROG_ID", 5, U32),
                Attr("IFLA_XDP_SKB_PROG_ID", 6, U32),
                Attr("IFLA_XDP_HW_PROG_ID", 7, U32),
            ),
        ),
        Attr("IFLA_EVENT", 44, U32, enum=LINK_EVENTS),
        Attr("IFLA_NEW_NETNSID", 45, S32),
        Attr("IFLA_TARGET_NETNSID", 46, S32),
        Attr("IFLA_CARRIER_UP_COUNT", 47, U32),
        Attr("IFLA_CARRIER_DOWN_COUNT", 48, U32),
        Attr("IFLA_NEW_IFINDEX", 49, IFINDEX),
        Attr("IFLA_MIN_MTU", 50, U32, "bytes"),
        Attr("IFLA_MAX_MTU", 51, U32, "bytes"),
        Nest("IFLA_PROP_LIST", 52, "IFLA_", (List("IFLA_ALT_IFNAME", 53, TEXT, repeated=True),), column="-"),
        Attr("IFLA_PERM_ADDRESS", 54, LLADDR),
        Nest(
            "IFLA_PROTO_DOWN_REASON",
            55,
            "IFLA_PROTO_DOWN_REASON_",
            (
                Attr("IFLA_PROTO_DOWN_REASON_MASK", 1, U32, display="hex"),
                Attr("IFLA_PROTO_DOWN_REASON_VALUE", 2, U32, display="hex"),
            ),
        ),
        Attr("IFLA_PARENT_DEV_NAME", 56, TEXT),
        Attr("IFLA_PARENT_DEV_BUS_NAME", 57, TEXT),
        Attr("IFLA_GRO_MAX_SIZE", 58, U32, "bytes"),
        Attr("IFLA_TSO_MAX_SIZE", 59, U32, "bytes"),
        Attr("IFLA_TSO_MAX_SEGS", 60, U32),
        Attr("IFLA_ALLMULTI", 61, U32),
        Attr("IFLA_GSO_IPV4_MAX_SIZE", 63, U32, "bytes"),
        Attr("IFLA_GRO_IPV4_MAX_SIZE", 64, U32, "bytes"),
        Attr("IFLA_MAX_PACING_OFFLOAD_HORIZON", 66, UINT, "ns"),
        Attr("IFLA_NETNS_IMMUTABLE", 67, U8),
        Attr("IFLA_HEADROOM", 68, U16, "bytes"),
        Attr("IFLA_TAILROOM", 69, U16, "bytes"),
        # STATS is STATS64 cut to 32 bits; MAP is of the ISA bus; VF_PORTS is a list of nests.
        *ignored("IFLA_", STATS=7, WIRELESS=11, MAP=14, PAD=42, DEVLINK_PORT=62, DPLL_PIN=65),
        *ignored("IFLA_", VF_PORTS=24, PORT_SELF=25),
    ),
)

COMMON: tuple[Entry, ...] = (
    Attr("IFLA_ADDRESS", 1, LLADDR),
    Attr("IFLA_IFNAME", 3, TEXT),
    Attr("IFLA_MTU", 4, U32, "bytes"),
    Attr("IFLA_LINK", 5, IFINDEX),
    Attr("IFLA_MASTER", 10, IFINDEX),
    Attr("IFLA_OPERSTATE", 16, U8, enum=OPERSTATES),
)

BRPORT = Schema(
    words={"dev": "ifname", "name": "ifname", "state": "protinfo_state"},
    name="brport",
    about="ports of bridges",
    ops=ops(NEW_LINK),
    selector=(0, 1, 7),  # AF_BRIDGE
    key=("ifindex",),
    manners=Manners(
        partial=(Partial(lacks="protinfo_state"),),
        volatile=("change", "protinfo_*_timer", "protinfo_mcast_n_groups"),
        doubts=(Doubt(of="link", why="the state of a port changes after its link, and with other ports"),),
    ),
    groups=("link",),
    dump=Dump(18, (b"\x07" + bytes(15),)),
    header=HEADER,
    prefix="IFLA_",
    entries=(
        *COMMON,
        Nest("IFLA_PROTINFO", 12, "IFLA_BRPORT_", BRIDGE_PORT),
        *ignored("IFLA_", AF_SPEC=26, EVENT=44),  # the VLANs: table `vlan` has them one by one
    ),
)

IPV6_IFINFO = Schema(
    words={"dev": "ifname", "name": "ifname", "state": "operstate"},
    name="ipv6_ifinfo",
    about="IPv6 of network interfaces",
    ops=ops(NEW_LINK),
    selector=(0, 1, 10),  # AF_INET6
    key=("ifindex",),
    manners=Manners(
        silent=("protinfo_conf", "protinfo_flags"),  # settings by sysctl
        volatile=("change", "protinfo_cacheinfo_*"),
        doubts=(
            Doubt(of="link", why="IPv6 comes and goes with its link, mostly without a message"),
            Doubt(of="addr", why="the flags of IPv6 change with addresses and routers"),
            Doubt(of="netconf", why="settings by sysctl have no message of this kind"),
        ),
    ),
    groups=("ipv6_ifinfo",),
    dump=Dump(18, (b"\x0a" + bytes(15),)),
    header=HEADER,
    prefix="IFLA_",
    entries=(*COMMON, Nest("IFLA_PROTINFO", 12, "IFLA_INET6_", INET6)),
)
