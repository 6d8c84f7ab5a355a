"""Rows of the link table as `ip -j -d -s -s link` prints them."""

from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]
Names = Mapping[int, str]  # link names by index

# Kinds whose data is not compared: the kernel that these tests were written on lacks them.
UNSEEN = (
    "geneve", "bond", "vlan", "ipvlan", "ipip", "sit", "ip6tnl", "gre", "gretap", "ip6gre", "ip6gretap",
    "vrf", "netkit", "ovpn",
)  # fmt: skip

LINK_TYPES = {"tunnel": "ipip", "ipgre": "gre", "ip6gre": "gre6"}
STP_ROUTER = {"disabled": 0, "temp_query": 1, "perm": 2, "temp": 3}


def given(**values: Any) -> dict[str, Any]:
    """The values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def truth(value: Any) -> bool | None:
    return None if value is None else bool(value)


def true(value: Any) -> bool | None:
    """True or None, for keys that ip prints only when true."""
    return True if value else None


def columns(row: Row, prefix: str) -> Callable[[str], Any]:
    """Values of the row's columns by their names without the prefix."""
    return lambda name: row[prefix + name]


def link(row: Row, names: Names) -> dict[str, Any]:
    flags = {flag.upper() for flag in row["flags"]} - {"RUNNING"}
    if "up" in row["flags"] and "running" not in row["flags"]:
        flags.add("NO-CARRIER")
    kind = row["linkinfo_kind"]
    info = given(info_kind=kind, info_slave_kind=row["linkinfo_slave_kind"])
    if kind in INFO:
        info["info_data"] = INFO[kind](row, names)
    if row["linkinfo_slave_kind"] == "bridge":
        info["info_slave_data"] = bridge_port(columns(row, "linkinfo_bridge_port_"), names)
    return given(
        ifindex=row["ifindex"],
        link=names.get(row["link"]),
        ifname=row["ifname"],
        flags=flags,
        mtu=row["mtu"],
        qdisc=row["qdisc"],
        master=names.get(row["master"]),
        operstate=row["operstate"].upper(),
        linkmode=row["linkmode"].upper(),
        group="default" if row["group"] == 0 else str(row["group"]),
        txqlen=row["txqlen"],
        link_type=LINK_TYPES.get(row["type"], row["type"]),
        address=row["address"],
        broadcast=row["broadcast"],
        promiscuity=row["promiscuity"],
        allmulti=row["allmulti"],
        min_mtu=row["min_mtu"],
        max_mtu=row["max_mtu"],
        linkinfo=info or None,
        inet6_addr_gen_mode=row["af_spec_inet6_addr_gen_mode"],
        num_tx_queues=row["num_tx_queues"],
        num_rx_queues=row["num_rx_queues"],
        gso_max_size=row["gso_max_size"],
        gso_max_segs=row["gso_max_segs"],
        tso_max_size=row["tso_max_size"],
        tso_max_segs=row["tso_max_segs"],
        gro_max_size=row["gro_max_size"],
        ifalias=row["ifalias"],
        altnames=row["alt_ifname"],
        stats64=statistics(row),
    )


def statistics(row: Row) -> dict[str, Any]:
    """Counters as `ip -s -s` prints them."""
    rx = """bytes packets errors dropped over_errors length_errors crc_errors frame_errors fifo_errors
        missed_errors"""
    tx = """bytes packets errors dropped carrier_errors aborted_errors fifo_errors window_errors
        heartbeat_errors"""
    printed: dict[str, Any] = {
        "rx": {name: row[f"stats64_rx_{name}"] for name in rx.split()},
        "tx": {name: row[f"stats64_tx_{name}"] for name in tx.split()},
    }
    printed["rx"]["multicast"] = row["stats64_multicast"]
    printed["tx"]["collisions"] = row["stats64_collisions"]
    printed["tx"]["carrier_changes"] = row["carrier_changes"]
    for way in "rx", "tx":
        if row[f"stats64_{way}_compressed"]:
            printed[way]["compressed"] = row[f"stats64_{way}_compressed"]
    if row["stats64_rx_nohandler"]:
        printed["rx"]["nohandler"] = row["stats64_rx_nohandler"]
    if row["stats64_rx_otherhost_dropped"]:
        printed["rx"]["otherhost_dropped"] = row["stats64_rx_otherhost_dropped"]
    return printed


def vxlan(row: Row, names: Names) -> dict[str, Any]:
    of = columns(row, "linkinfo_vxlan_")
    printed = given(
        id=of("id"),
        link=names.get(of("link")),
        port_range={"low": of("port_range_low"), "high": of("port_range_high")},
        port=of("port"),
        learning=truth(of("learning")),
        proxy=true(of("proxy")),
        rsc=true(of("rsc")),
        l2miss=true(of("l2miss")),
        l3miss=true(of("l3miss")),
        tos=hex(of("tos")) if of("tos") else None,
        ttl=of("ttl"),
        df=of("df"),
        ageing=of("ageing"),
        limit=of("limit") or None,
        udp_csum=truth(of("udp_csum")),
        udp_zero_csum6_tx=truth(of("udp_zero_csum6_tx")),
        udp_zero_csum6_rx=truth(of("udp_zero_csum6_rx")),
        remcsum_tx=true(of("remcsum_tx")),
        remcsum_rx=true(of("remcsum_rx")),
        gbp=true(of("gbp")),
        gpe=true(of("gpe")),
        label=hex(of("label")) if of("label") else None,
    )
    for name, plain in ("group", "group"), ("local", "local"):
        value = of(name)
        if value is not None:
            multicast = value.startswith(("ff", *(f"{first}." for first in range(224, 240))))
            word = "remote" if plain == "group" and not multicast else plain
            printed[word + ("6" if ":" in value else "")] = value
    return printed


def macvlan(kind: str) -> Callable[[Row, Names], dict[str, Any]]:
    def info(row: Row, names: Names) -> dict[str, Any]:
        of = columns(row, f"linkinfo_{kind}_")
        return given(
            mode=of("mode"),
            nopromisc=true("nopromisc" in of("flags")),
            nodst=true("nodst" in of("flags")),
            bcqueuelen=of("bc_queue_len"),
            usedbcqueuelen=of("bc_queue_len_used"),
            macaddr_count=of("macaddr_count") or None,
            macaddr_data=of("macaddr"),
        )

    return info


def tun(row: Row, names: Names) -> dict[str, Any]:
    of = columns(row, "linkinfo_tun_")
    several = of("multi_queue")
    return given(
        type=of("type"),
        pi=truth(of("pi")),
        vnet_hdr=truth(of("vnet_hdr")),
        multi_queue=truth(several),
        numqueues=of("num_queues") if several else None,
        numdisabled=of("num_disabled_queues") if several else None,
        persist=truth(of("persist")),
        user=of("owner"),
        group=of("group"),
    )


def bridge(row: Row, names: Names) -> dict[str, Any]:
    of = columns(row, "linkinfo_bridge_")
    same = """forward_delay hello_time max_age ageing_time stp_state priority vlan_filtering root_port
        root_path_cost topology_change topology_change_detected group_addr mcast_snooping
        mcast_query_use_ifaddr mcast_querier mcast_hash_elasticity mcast_hash_max mcast_last_member_cnt
        mcast_startup_query_cnt mcast_last_member_intvl mcast_membership_intvl mcast_querier_intvl
        mcast_query_intvl mcast_query_response_intvl mcast_startup_query_intvl mcast_stats_enabled
        mcast_igmp_version mcast_mld_version nf_call_iptables nf_call_ip6tables nf_call_arptables"""
    printed = given(**{name: of(name) for name in same.split()})
    for name in "hello_timer", "tcn_timer", "topology_change_timer", "gc_timer":
        printed[name] = of(name) / 100
    return printed | {
        "bridge_id": bridge_id(of, "bridge_id"),
        "root_id": bridge_id(of, "root_id"),
        "group_fwd_mask": f"{of('group_fwd_mask'):#x}".replace("0x0", "0"),
        "mcast_router": STP_ROUTER[of("mcast_router")],
        "no_linklocal_learn": of("multi_boolopt_optval") & 1,
        "mcast_vlan_snooping": of("multi_boolopt_optval") >> 1 & 1,
    }


def bridge_id(of: Callable[[str], Any], name: str) -> str:
    address = ":".join(f"{int(byte, 16):x}" for byte in of(f"{name}_addr").split(":"))
    return f"{of(f'{name}_prio'):04x}.{address}"


def bridge_port(of: Callable[[str], Any], names: Names) -> dict[str, Any]:
    truths = {
        "hairpin": "mode",
        "guard": "guard",
        "root_block": "protect",
        "fastleave": "fast_leave",
        "learning": "learning",
        "flood": "unicast_flood",
        "proxy_arp": "proxyarp",
        "proxy_arp_wifi": "proxyarp_wifi",
        "mcast_flood": "mcast_flood",
        "bcast_flood": "bcast_flood",
        "mcast_to_unicast": "mcast_to_ucast",
        "neigh_suppress": "neigh_suppress",
        "vlan_tunnel": "vlan_tunnel",
        "isolated": "isolated",
        "locked": "locked",
    }
    same = "state priority cost designated_port designated_cost topology_change_ack config_pending"
    printed = given(**{name: of(name) for name in same.split()})
    printed |= given(**{name: truth(of(column)) for name, column in truths.items()})
    for name in "hold_timer", "message_age_timer", "forward_delay_timer":
        printed[name] = of(name) / 100
    mask = of("group_fwd_mask")
    printed |= given(backup_port=names.get(of("backup_port")))
    return printed | {
        "id": hex(of("id")),
        "no": hex(of("no")),
        "bridge_id": bridge_id(of, "bridge_id"),
        "root_id": bridge_id(of, "root_id"),
        "multicast_router": STP_ROUTER[of("multicast_router")],
        "group_fwd_mask": f"{mask:#x}".replace("0x0", "0"),
        "group_fwd_mask_str": hex(mask),
    }


INFO: Mapping[str, Callable[[Row, Names], dict[str, Any]]] = {
    "vxlan": vxlan,
    "macvlan": macvlan("macvlan"),
    "macvtap": macvlan("macvtap"),
    "tun": tun,
    "bridge": bridge,
}
