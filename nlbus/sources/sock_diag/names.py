"""Names of values that socket tables share."""

from nlbus.schema.naming import bits, numbered

FAMILIES = {1: "unix", 2: "inet", 10: "inet6", 16: "netlink", 17: "packet", 40: "vsock", 44: "xdp"}  # AF_*
TYPES = {1: "stream", 2: "dgram", 3: "raw", 4: "rdm", 5: "seqpacket", 6: "dccp", 10: "packet"}  # SOCK_*
# TCP_*, which sockets of other families use, too.
STATES = numbered(
    "established syn_sent syn_recv fin_wait1 fin_wait2 time_wait close close_wait last_ack listen closing "
    "new_syn_recv bound_inactive",
    1,
)
TIMERS = numbered("off on keepalive timewait persist")  # as ss names them
SHUTDOWNS = bits("receive send")  # RCV_SHUTDOWN, SEND_SHUTDOWN
CA_STATES = numbered("open disorder cwr recovery loss")  # TCP_CA_*
TCP_OPTIONS = bits("ts sack wscale ecn ecn_seen syn_data usec_ts tfo_child")  # TCPI_OPT_*
RATE_LIMITS = bits("delivery_rate_app_limited fastopen_cookie_unavailable fastopen_syn_unacked")
SOCKET_OPTIONS = bits("recverr is_icsk freebind hdrincl mc_loop transparent mc_all nodefrag")
MORE_SOCKET_OPTIONS = bits("bind_address_no_port recverr_rfc4884 defer_connect")
NETLINK_PROTOCOLS = numbered(  # NETLINK_*
    "route unused usersock firewall sock_diag nflog xfrm selinux iscsi audit fib_lookup connector netfilter "
    "ip6_fw dnrtmsg uevent generic dm scsitransport ecryptfs rdma crypto smc"
)
NETLINK_FLAGS = bits(  # NDIAG_FLAG_*
    "cb_running pktinfo broadcast_error no_enobufs listen_all_nsid cap_ack ext_ack strict_chk"
)
PACKET_FLAGS = bits("running auxdata origdev vnethdr loss")  # PDI_*
UMEM_FLAGS = bits("zerocopy")  # XDP_DU_F_*
