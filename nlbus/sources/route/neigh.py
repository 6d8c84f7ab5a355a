"""neigh: hardware addresses of neighbours; fdb: hardware addresses behind the ports of a bridge."""

from dataclasses import replace

from nlbus.schema.manners import Doubt, Manners
from nlbus.schema.schema import Attr, Dump, Filter, Nest, Schema, Struct, ignored
from nlbus.schema.types import ADDRESS, BE16, FLAG, LLADDR, S32, U8, U16, U32, Field, pad
from nlbus.sources.route.names import (
    CLOCK,
    FAMILIES,
    IFINDEX,
    NEIGH_FLAGS,
    NEIGH_FLAGS_EXT,
    NEIGH_STATES,
    NEW_NEIGH,
    ROUTE_PROTOCOLS,
    ROUTE_TYPES,
    ops,
)

NTF_PROXY = 8

NEIGH = Schema(
    words={"dev": "ifindex", "nud": "state", "proto": "protocol"},
    name="neigh",
    about="neighbours",
    unless=(0, 1, 7),  # AF_BRIDGE: of fdb
    ops=ops(NEW_NEIGH),  # the group also has requests for a resolver, RTM_GETNEIGH: no table
    key=("ifindex", "family", "dst"),
    groups=("neigh",),
    manners=Manners(
        beside=("flags",),
        masks={"flags": NTF_PROXY},  # a proxy and a neighbour may have the same address
        volatile=("cacheinfo_*", "probes", "state"),
        doubts=(
            Doubt(
                of="link", match={"ifindex": "ifindex"}, why="proxies go with their link, without a message"
            ),
        ),
        unheard="proxies that come or go alone; neighbours that the kernel makes itself when it sends to a "
        "multicast or broadcast address",
    ),
    dump=Dump(
        30,
        (bytes(10) + bytes([NTF_PROXY, 0]), bytes(12)),
        (Filter("family", 1, at=0), Filter("ifindex", 4, number=8)),
    ),
    header=(  # struct ndmsg
        Field("family", U8, enum=FAMILIES),
        pad(3),
        Field("ifindex", IFINDEX),
        Field("state", U16, flags=NEIGH_STATES),
        Field("flags", U8, flags=NEIGH_FLAGS),
        Field("type", U8, enum=ROUTE_TYPES),
    ),
    prefix="NDA_",
    entries=(
        Attr("NDA_DST", 1, ADDRESS),
        Attr("NDA_LLADDR", 2, LLADDR),
        Struct(
            "NDA_CACHEINFO",
            3,
            (
                Field("confirmed", U32, CLOCK),  # the time since
                Field("used", U32, CLOCK),
                Field("updated", U32, CLOCK),
                Field("refcnt", U32),
            ),
        ),
        Attr("NDA_PROBES", 4, U32),
        Attr("NDA_VLAN", 5, U16),
        Attr("NDA_PORT", 6, BE16),
        Attr("NDA_VNI", 7, U32),
        Attr(
            "NDA_IFINDEX", 8, IFINDEX, column="dst_ifindex"
        ),  # the interface to dst; ndm_ifindex is the device itself
        Attr("NDA_MASTER", 9, IFINDEX),
        Attr("NDA_LINK_NETNSID", 10, S32),
        Attr("NDA_SRC_VNI", 11, U32),
        Attr("NDA_PROTOCOL", 12, U8, enum=ROUTE_PROTOCOLS),
        Attr("NDA_NH_ID", 13, U32),
        Nest(
            "NDA_FDB_EXT_ATTRS",
            14,
            "NFEA_",
            (Attr("NFEA_ACTIVITY_NOTIFY", 1, U8), Attr("NFEA_DONT_REFRESH", 2, FLAG)),
        ),
        Attr("NDA_FLAGS_EXT", 15, U32, flags=NEIGH_FLAGS_EXT),
        *ignored("NDA_", NDM_STATE_MASK=16, NDM_FLAGS_MASK=17),
    ),
)

FDB = replace(
    NEIGH,
    name="fdb",
    about="forwarding databases of bridges and tunnels",
    selector=(0, 1, 7),  # AF_BRIDGE
    unless=None,
    dump=Dump(30, (b"\x07" + bytes(11),)),
    key=("master", "ifindex", "lladdr", "vlan", "dst", "port", "vni", "src_vni", "dst_ifindex", "nh_id"),
    manners=Manners(
        # An address behind a bridge moves from port to port, without the end of its old place.
        unless={"ifindex": "master"},
        volatile=("cacheinfo_*", "probes"),
        doubts=(
            Doubt(of="link", why="entries come and go with their link, and with its addresses"),
            Doubt(of="addr", why="a device's own list holds the groups of its addresses, without a message"),
            Doubt(of="multicast", why="and those that sockets join"),
            Doubt(of="fdb", ops=("del",), why="the kernel deletes one of several, and names the bridge"),
            Doubt(
                of="fdb",
                lacking="master",
                ops=("new", "change"),
                match={"ifindex": "ifindex"},
                why="a message about a device's own list has another state than a dump",
            ),
        ),
        unheard="multicast addresses of a device's own list, as of `ip maddr add`",
    ),
)
