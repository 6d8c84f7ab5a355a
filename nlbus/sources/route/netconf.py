"""netconf: settings of protocols per link, as in /proc/sys/net/*/conf/."""

from nlbus.schema.manners import Doubt, Manners, Partial
from nlbus.schema.schema import Attr, Dump, Schema
from nlbus.schema.types import S32, U8, Field
from nlbus.sources.route.names import FAMILIES, IFINDEX, ops

NETCONF = Schema(
    words={"dev": "ifindex"},
    name="netconf",
    about="settings of the protocols of network interfaces",
    ops=ops(80),  # RTM_NEWNETCONF
    key=("family", "ifindex"),
    manners=Manners(
        partial=(Partial(),),
        silent=("bc_forwarding",),
        doubts=(
            Doubt(of="link", why="settings come and go with their link"),
            Doubt(of="netconf", match={"family": "family"}, why="`all` is copied to others, partly untold"),
        ),
    ),
    groups=("ipv4_netconf", "ipv6_netconf", "mpls_netconf"),
    dump=Dump(82, (bytes(1),)),
    header=(Field("family", U8, enum=FAMILIES),),  # struct netconfmsg
    prefix="NETCONFA_",
    entries=(
        Attr("NETCONFA_IFINDEX", 1, IFINDEX),  # -1: all, -2: default, as the files are named
        Attr("NETCONFA_FORWARDING", 2, S32),
        Attr("NETCONFA_RP_FILTER", 3, S32),
        Attr("NETCONFA_MC_FORWARDING", 4, S32),
        Attr("NETCONFA_PROXY_NEIGH", 5, S32),
        Attr("NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN", 6, S32),
        Attr("NETCONFA_INPUT", 7, S32),
        Attr("NETCONFA_BC_FORWARDING", 8, S32),
        Attr("NETCONFA_FORCE_FORWARDING", 9, S32),
    ),
)
