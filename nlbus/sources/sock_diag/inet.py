"""Sockets of IPv4 and IPv6: a table per protocol, in its columns alike."""

import struct

from nlbus.kernel.requests import attribute
from nlbus.schema.schema import Attr, Dump, Entry, Filter, Nest, Op, Schema, Struct, ignored
from nlbus.schema.types import BE16, TEXT, U8, U16, U32, U64, Field, Type, union_address
from nlbus.sources.sock_diag.names import (
    CA_STATES,
    FAMILIES,
    MORE_SOCKET_OPTIONS,
    RATE_LIMITS,
    SHUTDOWNS,
    SOCKET_OPTIONS,
    STATES,
    TCP_OPTIONS,
    TIMERS,
)

SOCK_DIAG_BY_FAMILY = 20
AF_INET, AF_INET6 = 2, 10
EVERYTHING = 0xFF  # bits of idiag_ext, and ...
EVERY_STATE = 0xFFFF_FFFF  # ... of idiag_states: also sockets that are bound, no more
REQ_PROTOCOL = 3  # INET_DIAG_REQ_PROTOCOL
INFINITE = 0x7FFF_FFFF  # slow start threshold at the beginning

# struct inet_diag_msg
HEADER = (
    Field("family", U8, enum=FAMILIES),
    Field("state", U8, enum=STATES),
    Field("timer", U8, enum=TIMERS),
    Field("retrans", U8),
    Field("sport", BE16),
    Field("dport", BE16),
    Field("src", union_address("family", "family")),
    Field("dst", union_address("family", "family")),
    Field("ifindex", U32, absent=0, display="interface"),
    Field("cookie", U64),
    Field("expires", U32, "ms"),
    Field("rqueue", U32),
    Field("wqueue", U32, absent=-1),  # of a UDP socket that ends
    Field("uid", U32),
    Field("inode", U32, absent=0),  # of TIME_WAIT, SYN_RECV, or not accepted yet
)

# struct tcp_info: it grows; an older kernel sends less.
TCP_INFO = (
    Field("state", U8, enum=STATES),
    Field("ca_state", U8, enum=CA_STATES),
    Field("retransmits", U8),
    Field("probes", U8),
    Field("backoff", U8),
    Field("options", U8, flags=TCP_OPTIONS),
    Field("wscale", U8, display="hex"),  # the sender's in the lower four bits, the receiver's in the higher
    Field("limits", U8, flags=RATE_LIMITS),
    Field("rto", U32, "us"),
    Field("ato", U32, "us"),
    Field("snd_mss", U32, "bytes"),
    Field("rcv_mss", U32, "bytes"),
    Field("unacked", U32, "packets"),
    Field("sacked", U32, "packets"),
    Field("lost", U32, "packets"),
    Field("retrans", U32, "packets"),
    Field("fackets", U32, "packets"),
    Field("last_data_sent", U32, "ms"),
    Field("last_ack_sent", U32, "ms"),
    Field("last_data_recv", U32, "ms"),
    Field("last_ack_recv", U32, "ms"),
    Field("pmtu", U32, "bytes"),
    Field("rcv_ssthresh", U32, "bytes"),
    Field("rtt", U32, "us"),
    Field("rttvar", U32, "us"),
    Field("snd_ssthresh", U32, "packets", absent=INFINITE),
    Field("snd_cwnd", U32, "packets"),
    Field("advmss", U32, "bytes"),
    Field("reordering", U32, "packets"),
    Field("rcv_rtt", U32, "us"),
    Field("rcv_space", U32, "bytes"),
    Field("total_retrans", U32, "packets"),
    Field("pacing_rate", U64, "bytes/s", absent=-1),
    Field("max_pacing_rate", U64, "bytes/s", absent=-1),
    Field("bytes_acked", U64, "bytes"),
    Field("bytes_received", U64, "bytes"),
    Field("segs_out", U32, "packets"),
    Field("segs_in", U32, "packets"),
    Field("notsent_bytes", U32, "bytes"),
    Field("min_rtt", U32, "us", absent=-1),
    Field("data_segs_in", U32, "packets"),
    Field("data_segs_out", U32, "packets"),
    Field("delivery_rate", U64, "bytes/s"),
    Field("busy_time", U64, "us"),
    Field("rwnd_limited", U64, "us"),
    Field("sndbuf_limited", U64, "us"),
    Field("delivered", U32, "packets"),
    Field("delivered_ce", U32, "packets"),
    Field("bytes_sent", U64, "bytes"),
    Field("bytes_retrans", U64, "bytes"),
    Field("dsack_dups", U32, "packets"),
    Field("reord_seen", U32),
    Field("rcv_ooopack", U32, "packets"),
    Field("snd_wnd", U32, "bytes"),
    Field("rcv_wnd", U32, "bytes"),
    Field("rehash", U32),
    Field("total_rto", U16),
    Field("total_rto_recoveries", U16),
    Field("total_rto_time", U32, "ms"),
    Field("received_ce", U32, "packets"),
    Field("delivered_e1_bytes", U32, "bytes"),
    Field("delivered_e0_bytes", U32, "bytes"),
    Field("delivered_ce_bytes", U32, "bytes"),
    Field("received_e1_bytes", U32, "bytes"),
    Field("received_e0_bytes", U32, "bytes"),
    Field("received_ce_bytes", U32, "bytes"),
    Field("accecn_fail_mode", U16),
    Field("accecn_opt_seen", U16),
)

# struct mptcp_info
MPTCP_INFO = (
    Field("subflows", U8),
    Field("add_addr_signal", U8),
    Field("add_addr_accepted", U8),
    Field("subflows_max", U8),
    Field("add_addr_signal_max", U8),
    Field("add_addr_accepted_max", U8),
    Field("", U16),
    Field("flags", U32, flags={1: "fallback", 2: "remote_key_received"}),
    Field("token", U32, display="hex"),
    Field("write_seq", U64),
    Field("snd_una", U64),
    Field("rcv_nxt", U64),
    Field("local_addr_used", U8),
    Field("local_addr_max", U8),
    Field("csum_enabled", U8),
    Field("", U8),
    Field("retransmits", U32),
    Field("bytes_retrans", U64, "bytes"),
    Field("bytes_sent", U64, "bytes"),
    Field("bytes_received", U64, "bytes"),
    Field("bytes_acked", U64, "bytes"),
)

MEMORY = ("rmem_alloc", "rcvbuf", "wmem_alloc", "sndbuf", "fwd_alloc", "wmem_queued", "optmem", "backlog")
SKMEMINFO = (*(Field(name, U32, "bytes") for name in MEMORY), Field("drops", U32, "packets"))  # SK_MEMINFO_*


def skmeminfo(kernel: str, number: int) -> Struct:
    """The memory of a socket; kernels before 4.7 lack the last field."""
    return Struct(kernel, number, SKMEMINFO, column="mem", min_size=32)


def _entries(info: tuple[Entry, ...]) -> tuple[Entry, ...]:
    return (
        *ignored("INET_DIAG_", MEMINFO=1),  # the same as in SKMEMINFO, less exact
        *info,
        Struct("INET_DIAG_VEGASINFO", 3, _words("enabled rttcnt rtt minrtt"), column="vegas"),
        Attr("INET_DIAG_CONG", 4, TEXT),
        Attr("INET_DIAG_TOS", 5, U8, display="hex"),
        Attr("INET_DIAG_TCLASS", 6, U8, display="hex"),
        skmeminfo("INET_DIAG_SKMEMINFO", 7),
        Attr("INET_DIAG_SHUTDOWN", 8, U8, flags=SHUTDOWNS),
        Struct(
            "INET_DIAG_DCTCPINFO",
            9,
            (Field("enabled", U16), Field("ce_state", U16), *_words("alpha ab_ecn ab_tot")),
            column="dctcp",
        ),
        Attr("INET_DIAG_PROTOCOL", 10, U8),
        Attr("INET_DIAG_SKV6ONLY", 11, U8),
        Attr("INET_DIAG_MARK", 15, U32, display="hex"),
        Struct(
            "INET_DIAG_BBRINFO",
            16,
            (Field("bw", U64, "bytes/s"), *_words("min_rtt pacing_gain cwnd_gain")),
            column="bbr",
        ),
        Attr("INET_DIAG_CLASS_ID", 17, U32, display="hex"),
        Attr("INET_DIAG_CGROUP_ID", 21, U64),
        Struct(
            "INET_DIAG_SOCKOPT",
            22,
            (
                Field("sockopt", U8, flags=SOCKET_OPTIONS),
                Field("sockopt_more", U8, flags=MORE_SOCKET_OPTIONS),
            ),
            column="-",
        ),
        Nest(
            "INET_DIAG_ULP_INFO",
            19,
            "INET_ULP_INFO_",
            (Attr("INET_ULP_INFO_NAME", 1, TEXT), *ignored("INET_ULP_INFO_", TLS=2, MPTCP=3)),
            column="ulp",
        ),
        *ignored("INET_DIAG_", LOCALS=12, PEERS=13, PAD=14, MD5SIG=18, SK_BPF_STORAGES=20),
    )


def _words(names: str, type: Type = U32) -> tuple[Field, ...]:
    return tuple(Field(name, type) for name in names.split())


IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_RAW, IPPROTO_MPTCP = 6, 17, 136, 255, 262


def _requests(protocol: int) -> tuple[bytes, ...]:
    """struct inet_diag_req_v2 of both families; a protocol beyond 8 bits is an attribute."""
    byte, more = (
        (protocol, b"") if protocol < 256 else (0, attribute(REQ_PROTOCOL, struct.pack("=I", protocol)))
    )
    return tuple(
        struct.pack("=4BI48x", family, byte, EVERYTHING, 0, EVERY_STATE) + more
        for family in (AF_INET, AF_INET6)
    )


def _table(
    name: str,
    about: str,
    protocol: int,
    *,
    info: tuple[Entry, ...] = (),
    destroy: dict[str, int] | None = None,
    option: str = "CONFIG_INET_DIAG",
) -> Schema:
    """The sockets of a protocol; `destroy`: the groups that report the end of its sockets.

    The kernel's answer to a dump does not say what protocol its sockets have: the number of the request does.
    """
    ends = destroy or {}
    return Schema(
        name=name,
        about=about,
        ops=(
            Op(SOCK_DIAG_BY_FAMILY, "new", seq=protocol),
            *(Op(SOCK_DIAG_BY_FAMILY, "del", group=group) for group in ends.values()),
        ),
        key=("cookie",),
        words={"dev": "ifindex", "recv_q": "rqueue", "send_q": "wqueue", "ino": "inode", "sk": "cookie"},
        groups=tuple(ends),
        dump=Dump(
            SOCK_DIAG_BY_FAMILY,
            _requests(protocol),
            (
                Filter("sport", 2, at=8, big_endian=True, unless=(0,)),
                Filter("dport", 2, at=10, big_endian=True, unless=(0,)),
            ),
            seq=protocol,
            option=option,
        ),
        header=HEADER,
        prefix="INET_DIAG_",
        entries=_entries(info),
    )


TCP = _table(
    "tcp",
    "TCP sockets",
    IPPROTO_TCP,
    info=(Struct("INET_DIAG_INFO", 2, TCP_INFO, column="tcpi", min_size=104),),
    destroy={"inet_tcp_destroy": 1, "inet6_tcp_destroy": 3},
)
UDP = _table(
    "udp",
    "UDP sockets",
    IPPROTO_UDP,
    info=ignored("INET_DIAG_", INFO=2),
    option="CONFIG_INET_UDP_DIAG",
    destroy={"inet_udp_destroy": 2, "inet6_udp_destroy": 4},
)
UDPLITE = _table(
    "udplite",
    "UDP-Lite sockets",
    IPPROTO_UDPLITE,
    info=ignored("INET_DIAG_", INFO=2),
    option="CONFIG_INET_UDP_DIAG",
)
RAW = _table(
    "raw",
    "raw IP sockets",
    IPPROTO_RAW,
    info=ignored("INET_DIAG_", INFO=2),
    option="CONFIG_INET_RAW_DIAG",
)
MPTCP = _table(
    "mptcp",
    "MPTCP sockets",
    IPPROTO_MPTCP,
    info=(Struct("INET_DIAG_INFO", 2, MPTCP_INFO, column="mptcpi", min_size=48),),
    option="CONFIG_INET_MPTCP_DIAG",
)
