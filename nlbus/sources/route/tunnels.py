"""Attributes of the older kinds of tunnels, which share them."""

from nlbus.schema.naming import bits, numbered
from nlbus.schema.schema import Attr
from nlbus.schema.types import ADDRESS, BE16, BE32, FLAG, IPV6, U8, U16, U32, Type
from nlbus.sources.route.names import IFINDEX

ENCAPSULATIONS = numbered("none fou gue mpls")  # TUNNEL_ENCAP_*
ENCAPSULATION_FLAGS = bits("csum csum6 remcsum")  # TUNNEL_ENCAP_FLAG_*


def _iptun(address: Type) -> tuple[Attr, ...]:
    return (
        Attr("IFLA_IPTUN_LINK", 1, IFINDEX),
        Attr("IFLA_IPTUN_LOCAL", 2, address),
        Attr("IFLA_IPTUN_REMOTE", 3, address),
        Attr("IFLA_IPTUN_TTL", 4, U8),
        Attr("IFLA_IPTUN_TOS", 5, U8),
        Attr("IFLA_IPTUN_PROTO", 9, U8),
        Attr("IFLA_IPTUN_PMTUDISC", 10, U8),
        Attr("IFLA_IPTUN_ENCAP_TYPE", 15, U16, enum=ENCAPSULATIONS),
        Attr("IFLA_IPTUN_ENCAP_FLAGS", 16, U16, flags=ENCAPSULATION_FLAGS),
        Attr("IFLA_IPTUN_ENCAP_SPORT", 17, BE16),
        Attr("IFLA_IPTUN_ENCAP_DPORT", 18, BE16),
        Attr("IFLA_IPTUN_COLLECT_METADATA", 19, FLAG),
        Attr("IFLA_IPTUN_FWMARK", 20, U32, display="hex"),
    )


def _gre(address: Type) -> tuple[Attr, ...]:
    return (
        Attr("IFLA_GRE_LINK", 1, IFINDEX),
        Attr("IFLA_GRE_IFLAGS", 2, BE16, display="hex"),
        Attr("IFLA_GRE_OFLAGS", 3, BE16, display="hex"),
        Attr("IFLA_GRE_IKEY", 4, BE32),
        Attr("IFLA_GRE_OKEY", 5, BE32),
        Attr("IFLA_GRE_LOCAL", 6, address),
        Attr("IFLA_GRE_REMOTE", 7, address),
        Attr("IFLA_GRE_TTL", 8, U8),
        Attr("IFLA_GRE_TOS", 9, U8),
        Attr("IFLA_GRE_PMTUDISC", 10, U8),
        Attr("IFLA_GRE_ENCAP_TYPE", 14, U16, enum=ENCAPSULATIONS),
        Attr("IFLA_GRE_ENCAP_FLAGS", 15, U16, flags=ENCAPSULATION_FLAGS),
        Attr("IFLA_GRE_ENCAP_SPORT", 16, BE16),
        Attr("IFLA_GRE_ENCAP_DPORT", 17, BE16),
        Attr("IFLA_GRE_COLLECT_METADATA", 18, FLAG),
        Attr("IFLA_GRE_IGNORE_DF", 19, U8),
        Attr("IFLA_GRE_FWMARK", 20, U32, display="hex"),
    )


IPIP = _iptun(ADDRESS)

SIT = (
    *_iptun(ADDRESS),
    Attr("IFLA_IPTUN_FLAGS", 8, BE16, display="hex"),
    Attr("IFLA_IPTUN_6RD_PREFIX", 11, IPV6),
    Attr("IFLA_IPTUN_6RD_RELAY_PREFIX", 12, ADDRESS),
    Attr("IFLA_IPTUN_6RD_PREFIXLEN", 13, U16),
    Attr("IFLA_IPTUN_6RD_RELAY_PREFIXLEN", 14, U16),
)

IP6TNL = (
    *_iptun(IPV6),
    Attr("IFLA_IPTUN_ENCAP_LIMIT", 6, U8),
    Attr("IFLA_IPTUN_FLOWINFO", 7, BE32, display="hex"),
    Attr("IFLA_IPTUN_FLAGS", 8, U32, display="hex"),
)

GRE = _gre(ADDRESS)

GRE6 = (
    *_gre(IPV6),
    Attr("IFLA_GRE_ENCAP_LIMIT", 11, U8),
    Attr("IFLA_GRE_FLOWINFO", 12, BE32, display="hex"),
    Attr("IFLA_GRE_FLAGS", 13, U32, display="hex"),
)
