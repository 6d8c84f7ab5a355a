"""mdb, vlan, tunnel: multicast groups and VLANs of bridges, VNIs of tunnels. Several objects per message."""

import struct
import sys

from nlbus.kernel.requests import attribute
from nlbus.schema.manners import Doubt, Manners
from nlbus.schema.naming import bits, numbered
from nlbus.schema.schema import Attr, Dump, Each, Filter, List, Nest, Op, Schema, Struct, ignored
from nlbus.schema.types import ADDRESS, BE16, U8, U16, U32, U64, Field, pad, union_address, union_mac
from nlbus.sources.route.names import FAMILIES, IFINDEX, ROUTE_PROTOCOLS, ops

AF_BRIDGE = 7
FAMILY = Field("family", U8, enum=FAMILIES)
NEW_MDB, NEW_VLAN, NEW_TUNNEL = 84, 112, 120  # RTM_NEW*
ETH_P_IP, ETH_P_IPV6 = (int.from_bytes(each, sys.byteorder) for each in (b"\x08\x00", b"\x86\xdd"))
ONE_BY_ONE = struct.pack("=I", 1)  # with statistics, a dump has no ranges


MDB = Schema(
    words={"dev": "ifindex", "grp": "group"},
    name="mdb",
    about="multicast groups of bridges",
    ops=(*ops(NEW_MDB), Op(NEW_MDB + 2, "new")),  # rows of a dump have RTM_GETMDB
    each=Each(
        path=(1, 1, 1),  # MDBA_MDB, MDBA_MDB_ENTRY, MDBA_MDB_ENTRY_INFO
        fields=(  # struct br_mdb_entry
            Field("port", IFINDEX),
            Field("state", U8, enum=numbered("temp permanent")),
            Field("flags", U8, flags=bits("offload fast_leave star_excl blocked")),
            Field("vid", U16, absent=0),
            Field("group", union_address("proto", ipv4=ETH_P_IP, ipv6=ETH_P_IPV6)),
            Field("group_mac", union_mac("proto", 0)),
            Field("proto", BE16, enum={0: "l2", 0x800: "ip", 0x86DD: "ipv6"}),
            pad(2),
        ),
        ignored=(2,),  # MDBA_ROUTER
    ),
    key=("ifindex", "port", "vid", "group", "group_mac", "src", "src_vni"),
    manners=Manners(
        volatile=("timer", "src_list_timer", "flags"),
        doubts=(Doubt(of="link", why="groups go with their port, and with a bridge that goes down"),),
    ),
    groups=("mdb",),
    dump=Dump(NEW_MDB + 2, (bytes([AF_BRIDGE]) + bytes(7),)),
    header=(pad(4), Field("ifindex", IFINDEX)),  # struct br_port_msg
    prefix="MDBA_MDB_EATTR_",
    entries=(
        Attr("MDBA_MDB_EATTR_TIMER", 1, U32, "10ms"),
        Nest(
            "MDBA_MDB_EATTR_SRC_LIST",
            2,
            "MDBA_MDB_SRCLIST_",
            (
                Nest(
                    "MDBA_MDB_SRCLIST_ENTRY",
                    1,
                    "MDBA_MDB_SRCATTR_",
                    (
                        List("MDBA_MDB_SRCATTR_ADDRESS", 1, ADDRESS, repeated=True),
                        List("MDBA_MDB_SRCATTR_TIMER", 2, U32, repeated=True, unit="10ms"),
                    ),
                    column="-",
                ),
            ),
        ),
        Attr("MDBA_MDB_EATTR_GROUP_MODE", 3, U8, enum=numbered("exclude include")),  # MCAST_*
        Attr("MDBA_MDB_EATTR_SOURCE", 4, ADDRESS, column="src"),
        Attr("MDBA_MDB_EATTR_RTPROT", 5, U8, enum=ROUTE_PROTOCOLS, column="protocol"),
        Attr("MDBA_MDB_EATTR_DST", 6, ADDRESS),
        Attr("MDBA_MDB_EATTR_DST_PORT", 7, U16),
        Attr("MDBA_MDB_EATTR_VNI", 8, U32),
        Attr("MDBA_MDB_EATTR_IFINDEX", 9, IFINDEX, column="dst_ifindex"),
        Attr("MDBA_MDB_EATTR_SRC_VNI", 10, U32),
    ),
)

VLAN = Schema(
    words={"dev": "ifindex"},
    name="vlan",
    about="VLANs of bridges and their ports",
    ops=ops(NEW_VLAN),
    each=Each(path=(1,), ignored=(2,)),  # BRIDGE_VLANDB_ENTRY; BRIDGE_VLANDB_GLOBAL_OPTIONS
    key=("ifindex", "vid"),
    manners=Manners(
        volatile=("stats_*", "mcast_n_groups"),
        doubts=(
            Doubt(of="vlan", match={"ifindex": "ifindex"}, why="a message may stand for a range of VLANs"),
            Doubt(of="link", why="VLANs come and go with their port"),
        ),
    ),
    groups=("brvlan",),
    dump=Dump(
        NEW_VLAN + 2,
        (bytes([AF_BRIDGE]) + bytes(7) + attribute(1, ONE_BY_ONE),),  # BRIDGE_VLANDB_DUMP_FLAGS
        (Filter("ifindex", 4, at=4),),
    ),
    header=(FAMILY, pad(3), Field("ifindex", IFINDEX)),  # struct br_vlan_msg
    prefix="BRIDGE_VLANDB_ENTRY_",
    entries=(
        Struct(
            "BRIDGE_VLANDB_ENTRY_INFO",
            1,  # struct bridge_vlan_info
            (
                Field(
                    "flags",
                    U16,
                    flags=bits("master pvid untagged range_begin range_end brentry only_opts"),
                ),
                Field("vid", U16),
            ),
            column="-",
        ),
        Attr("BRIDGE_VLANDB_ENTRY_RANGE", 2, U16),
        Attr(
            "BRIDGE_VLANDB_ENTRY_STATE", 3, U8,
            enum=numbered("disabled listening learning forwarding blocking"),
        ),
        Nest(
            "BRIDGE_VLANDB_ENTRY_TUNNEL_INFO",
            4,
            "BRIDGE_VLANDB_TINFO_",
            (Attr("BRIDGE_VLANDB_TINFO_ID", 1, U32), *ignored("BRIDGE_VLANDB_TINFO_", CMD=2)),
            column="tunnel",
        ),
        Nest(
            "BRIDGE_VLANDB_ENTRY_STATS",
            5,
            "BRIDGE_VLANDB_STATS_",
            (
                Attr("BRIDGE_VLANDB_STATS_RX_BYTES", 1, U64, "bytes"),
                Attr("BRIDGE_VLANDB_STATS_RX_PACKETS", 2, U64, "packets"),
                Attr("BRIDGE_VLANDB_STATS_TX_BYTES", 3, U64, "bytes"),
                Attr("BRIDGE_VLANDB_STATS_TX_PACKETS", 4, U64, "packets"),
                *ignored("BRIDGE_VLANDB_STATS_", PAD=5),
            ),
        ),
        Attr("BRIDGE_VLANDB_ENTRY_MCAST_ROUTER", 6, U8),
        Attr("BRIDGE_VLANDB_ENTRY_MCAST_N_GROUPS", 7, U32),
        Attr("BRIDGE_VLANDB_ENTRY_MCAST_MAX_GROUPS", 8, U32),
        Attr("BRIDGE_VLANDB_ENTRY_NEIGH_SUPPRESS", 9, U8),
    ),
)  # fmt: skip

TUNNEL = Schema(
    words={"dev": "ifindex", "vni": "start"},
    name="tunnel",
    about="VNI filters of tunnels",
    ops=ops(NEW_TUNNEL),
    each=Each(path=(1,)),  # VXLAN_VNIFILTER_ENTRY
    key=("ifindex", "start"),
    manners=Manners(
        volatile=("stats_*",),
        doubts=(
            Doubt(of="tunnel", match={"ifindex": "ifindex"}, why="a message may stand for a range of VNIs"),
            Doubt(of="link", why="VNIs go with their tunnel"),
        ),
    ),
    groups=("tunnel",),
    dump=Dump(
        NEW_TUNNEL + 2,
        (bytes([AF_BRIDGE, 1]) + bytes(6),),  # TUNNEL_MSG_FLAG_STATS
        (Filter("ifindex", 4, at=4),),
    ),
    header=(FAMILY, Field("flags", U8), pad(2), Field("ifindex", IFINDEX)),  # struct tunnel_msg
    prefix="VXLAN_VNIFILTER_ENTRY_",
    entries=(
        Attr("VXLAN_VNIFILTER_ENTRY_START", 1, U32),
        Attr("VXLAN_VNIFILTER_ENTRY_END", 2, U32),
        Attr("VXLAN_VNIFILTER_ENTRY_GROUP", 3, ADDRESS),
        Attr("VXLAN_VNIFILTER_ENTRY_GROUP6", 4, ADDRESS, column="group"),
        Nest(
            "VXLAN_VNIFILTER_ENTRY_STATS",
            5,
            "VNIFILTER_ENTRY_STATS_",
            (
                Attr("VNIFILTER_ENTRY_STATS_RX_BYTES", 1, U64, "bytes"),
                Attr("VNIFILTER_ENTRY_STATS_RX_PKTS", 2, U64, "packets"),
                Attr("VNIFILTER_ENTRY_STATS_RX_DROPS", 3, U64, "packets"),
                Attr("VNIFILTER_ENTRY_STATS_RX_ERRORS", 4, U64, "packets"),
                Attr("VNIFILTER_ENTRY_STATS_TX_BYTES", 5, U64, "bytes"),
                Attr("VNIFILTER_ENTRY_STATS_TX_PKTS", 6, U64, "packets"),
                Attr("VNIFILTER_ENTRY_STATS_TX_DROPS", 7, U64, "packets"),
                Attr("VNIFILTER_ENTRY_STATS_TX_ERRORS", 8, U64, "packets"),
                *ignored("VNIFILTER_ENTRY_STATS_", PAD=9),
            ),
        ),
    ),
)
