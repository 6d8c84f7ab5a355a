"""The structs and attributes that several messages of xfrm have, and the names of their values.

Columns have the kernel's names, with these exceptions: the addresses, SPI and protocol of a struct xfrm_id
have no `id_`, the key of an algorithm makes no column.
"""

from collections.abc import Mapping, Sequence

from nlbus.schema.naming import bits
from nlbus.schema.schema import Attr, Entry, Struct, ignored
from nlbus.schema.types import (
    BE16,
    BE32,
    BYTES,
    FLAG,
    IPV6,
    S32,
    U8,
    U16,
    U32,
    U64,
    Field,
    fixed,
    pad,
    text,
    union_address,
)

FAMILIES = {2: "inet", 10: "inet6"}  # AF_*
AF_INET6 = 10
INFINITE = -1  # XFRM_INF

PROTOCOLS: Mapping[int, str] = {
    1: "icmp", 4: "ipip", 6: "tcp", 17: "udp", 33: "dccp", 41: "ipv6", 43: "route2", 47: "gre", 50: "esp",
    51: "ah", 58: "icmpv6", 60: "hao", 89: "ospf", 108: "comp", 132: "sctp", 135: "mh", 144: "aggfrag",
    255: "any",
}  # fmt: skip
MODES = {0: "transport", 1: "tunnel", 2: "ro", 3: "in_trigger", 4: "beet", 5: "iptfs"}  # XFRM_MODE_*
SHARES = {0: "any", 1: "session", 2: "user", 3: "unique"}  # XFRM_SHARE_*
POLICY_TYPES = {0: "main", 1: "sub"}  # XFRM_POLICY_TYPE_*
SA_DIRECTIONS = {1: "in", 2: "out"}  # XFRM_SA_DIR_*
# The last three are those of single sockets.
DIRECTIONS = {0: "in", 1: "out", 2: "fwd", 3: "socket_in", 4: "socket_out", 5: "socket_fwd"}
ACTIONS = {0: "allow", 1: "block"}  # XFRM_POLICY_*
POLICY_FLAGS = bits("LOCALOK ICMP CPU_ACQUIRE")  # XFRM_POLICY_*
STATE_FLAGS = bits(  # XFRM_STATE_*
    "NOECN DECAP_DSCP NOPMTUDISC WILDRECV ICMP AF_UNSPEC ALIGN4 ESN"
)
EXTRA_FLAGS = bits("DONT_ENCAP_DSCP OSEQ_MAY_WRAP")  # XFRM_SA_XFLAG_*
OFFLOAD_FLAGS = bits("IPV6 INBOUND PACKET")  # XFRM_OFFLOAD_*
EVENT_FLAGS = bits("RTHR RVAL LVAL ETHR CR CE CU")  # XFRM_AE_*
ENCAPSULATIONS = {1: "espinudp_non_ike", 2: "espinudp", 7: "espintcp"}  # UDP_ENCAP_*, TCP_ENCAP_*


def address(name: str, by: str) -> Field:
    """A xfrm_address_t of the family that the field `by` of the same struct has."""
    return Field(name, union_address(by, ipv6=AF_INET6))


def selector(lead: str = "sel_") -> tuple[Field, ...]:
    """The fields of a struct xfrm_selector."""
    family = f"{lead}family"
    return (
        address(f"{lead}daddr", family),
        address(f"{lead}saddr", family),
        Field(f"{lead}dport", BE16),
        Field(f"{lead}dport_mask", BE16, display="hex"),
        Field(f"{lead}sport", BE16),
        Field(f"{lead}sport_mask", BE16, display="hex"),
        Field(family, U16, enum=FAMILIES, absent=0),
        Field(f"{lead}prefixlen_d", U8, "bits"),
        Field(f"{lead}prefixlen_s", U8, "bits"),
        Field(f"{lead}proto", U8, enum=PROTOCOLS, absent=0),
        pad(3),
        Field(f"{lead}ifindex", S32, absent=0, display="interface"),
        Field(f"{lead}user", U32),
    )


def ident(family: str) -> tuple[Field, ...]:
    """The fields of a struct xfrm_id."""
    return (
        address("daddr", family),
        Field("spi", BE32, absent=0, display="hex"),
        Field("proto", U8, enum=PROTOCOLS),
        pad(3),
    )


STATE_ID = (  # struct xfrm_usersa_id
    address("daddr", "family"),
    Field("spi", BE32, absent=0, display="hex"),
    Field("family", U16, enum=FAMILIES),
    Field("proto", U8, enum=PROTOCOLS),
    pad(1),
)


def lifetime(lead: str = "") -> tuple[Field, ...]:
    """The fields of a struct xfrm_lifetime_cfg: limits, absent where there is none."""
    return (
        Field(f"{lead}lft_soft_byte_limit", U64, "bytes", absent=INFINITE),
        Field(f"{lead}lft_hard_byte_limit", U64, "bytes", absent=INFINITE),
        Field(f"{lead}lft_soft_packet_limit", U64, "packets", absent=INFINITE),
        Field(f"{lead}lft_hard_packet_limit", U64, "packets", absent=INFINITE),
        Field(f"{lead}lft_soft_add_expires_seconds", U64, "s", absent=0),
        Field(f"{lead}lft_hard_add_expires_seconds", U64, "s", absent=0),
        Field(f"{lead}lft_soft_use_expires_seconds", U64, "s", absent=0),
        Field(f"{lead}lft_hard_use_expires_seconds", U64, "s", absent=0),
    )


def current(lead: str) -> tuple[Field, ...]:
    """The fields of a struct xfrm_lifetime_cur: what was used so far."""
    return (
        Field(f"{lead}bytes", U64, "bytes"),
        Field(f"{lead}packets", U64, "packets"),
        Field(f"{lead}add_time", U64, "s"),
        Field(f"{lead}use_time", U64, "s", absent=0),
    )


STATE = (  # struct xfrm_usersa_info
    *selector(),
    *ident("family"),
    address("saddr", "family"),
    *lifetime(),
    *current("curlft_"),
    Field("stats_replay_window", U32),
    Field("stats_replay", U32),
    Field("stats_integrity_failed", U32),
    Field("seq", U32, absent=0),
    Field("reqid", U32),
    Field("family", U16, enum=FAMILIES),
    Field("mode", U8, enum=MODES),
    Field("replay_window", U8, "packets"),
    Field("flags", U8, flags=STATE_FLAGS),
    pad(7),
)


def policy(lead: str = "") -> tuple[Field, ...]:
    """The fields of a struct xfrm_userpolicy_info."""
    return (
        *selector(f"{lead}sel_"),
        *lifetime(lead),
        *current(f"{lead}curlft_"),
        Field(f"{lead}priority", U32),
        Field(f"{lead}index", U32),
        Field(f"{lead}dir", U8, enum=DIRECTIONS),
        Field(f"{lead}action", U8, enum=ACTIONS),
        Field(f"{lead}flags", U8, flags=POLICY_FLAGS),
        Field(f"{lead}share", U8, enum=SHARES),
        pad(4),
    )


TEMPLATE = (  # struct xfrm_user_tmpl
    *ident("family"),
    Field("family", U16, enum=FAMILIES),
    pad(2),
    address("saddr", "family"),
    Field("reqid", U32),
    Field("mode", U8, enum=MODES),
    Field("share", U8, enum=SHARES),
    Field("optional", U8),
    pad(1),
    Field("aalgos", U32, display="hex"),
    Field("ealgos", U32, display="hex"),
    Field("calgos", U32, display="hex"),
)

# -- attributes ----------------------------------------------------------------------------------------


def _algorithm(kernel: str, number: int, column: str, *more: Field) -> Struct:
    """A struct xfrm_algo, of which the key makes no column."""
    fields = (Field("name", text(64)), Field("key_len", U32, "bits"), *more)
    return Struct(kernel, number, fields, column=column)


MARK = Struct("XFRMA_MARK", 21, (Field("v", U32, display="hex"), Field("m", U32, display="hex")))
IF_ID = Attr("XFRMA_IF_ID", 31, U32, display="hex")
SA_DIR = Attr("XFRMA_SA_DIR", 33, U8, enum=SA_DIRECTIONS)
SA_PCPU = Attr("XFRMA_SA_PCPU", 35, U32)
SEC_CTX = Attr("XFRMA_SEC_CTX", 8, BYTES)  # struct xfrm_user_sec_ctx, and the text of the context
COADDR = Attr("XFRMA_COADDR", 14, IPV6)  # of mobile IPv6
POLICY_TYPE = Struct(
    "XFRMA_POLICY_TYPE", 16, (Field("type", U8, enum=POLICY_TYPES),), column="-"
)  # struct xfrm_userpolicy_type
REPLAY: tuple[Entry, ...] = (
    Struct(
        "XFRMA_REPLAY_VAL",
        10,
        (Field("oseq", U32), Field("seq", U32), Field("bitmap", U32, display="hex")),
        column="replay",
    ),
    Struct(
        "XFRMA_REPLAY_ESN_VAL",
        23,
        (
            Field("bmp_len", U32),
            Field("oseq", U32),
            Field("seq", U32),
            Field("oseq_hi", U32),
            Field("seq_hi", U32),
            Field("window", U32, "packets"),
        ),
        column="replay_esn",
    ),
)
THRESHOLDS = (
    Attr("XFRMA_REPLAY_THRESH", 11, U32, unit="packets"),
    Attr("XFRMA_ETIMER_THRESH", 12, U32, unit="100ms"),
)
LIFETIME = Struct("XFRMA_LTIME_VAL", 9, current(""), column="curlft")
PAD = ignored("XFRMA_", PAD=27)

OF_STATE: Sequence[Entry] = (
    _algorithm("XFRMA_ALG_AEAD", 18, "alg_aead", Field("icv_len", U32, "bits")),
    _algorithm("XFRMA_ALG_AUTH", 1, "alg_auth"),
    _algorithm("XFRMA_ALG_AUTH_TRUNC", 20, "alg_auth", Field("trunc_len", U32, "bits")),
    _algorithm("XFRMA_ALG_CRYPT", 2, "alg_crypt"),
    _algorithm("XFRMA_ALG_COMP", 3, "alg_comp"),
    Struct(
        "XFRMA_ENCAP",
        4,
        (
            Field("type", U16, enum=ENCAPSULATIONS),
            Field("sport", BE16),
            Field("dport", BE16),
            pad(2),
            Field("oa", fixed(16)),
        ),
    ),  # struct xfrm_encap_tmpl
    SEC_CTX,
    LIFETIME,
    *REPLAY,
    *THRESHOLDS,
    COADDR,
    Attr("XFRMA_LASTUSED", 15, U64, unit="s"),
    MARK,
    Attr("XFRMA_TFCPAD", 22, U32, unit="bytes"),
    Attr("XFRMA_SA_EXTRA_FLAGS", 24, U32, flags=EXTRA_FLAGS),
    Struct(
        "XFRMA_OFFLOAD_DEV",
        28,
        (Field("ifindex", S32, display="interface"), Field("flags", U8, flags=OFFLOAD_FLAGS)),
        column="offload",
    ),
    Attr("XFRMA_SET_MARK", 29, U32, display="hex"),
    Attr("XFRMA_SET_MARK_MASK", 30, U32, display="hex"),
    IF_ID,
    Attr("XFRMA_MTIMER_THRESH", 32, U32, unit="s"),
    SA_DIR,
    Attr("XFRMA_NAT_KEEPALIVE_INTERVAL", 34, U32, unit="s"),
    SA_PCPU,
    Attr("XFRMA_IPTFS_DROP_TIME", 36, U32, unit="us"),
    Attr("XFRMA_IPTFS_REORDER_WINDOW", 37, U16, unit="packets"),
    Attr("XFRMA_IPTFS_DONT_FRAG", 38, FLAG),
    Attr("XFRMA_IPTFS_INIT_DELAY", 39, U32, unit="us"),
    Attr("XFRMA_IPTFS_MAX_QSIZE", 40, U32, unit="bytes"),
    Attr("XFRMA_IPTFS_PKT_SIZE", 41, U32, unit="bytes"),
    *PAD,
)
