"""Rows of route's tables as `ip -j -d` prints them, so that the two can be compared as a whole.

UNTOLD: the columns that ip does not tell, or only of what these tests do not make. All others are looked at.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]
Names = Mapping[int, str]  # of links, by index

# Kinds whose data is not compared, as the kernel that these tests were written on has none of them.
UNSEEN = (
    "geneve", "bond", "vlan", "ipvlan", "ipip", "sit", "ip6tnl", "gre", "gretap", "ip6gre", "ip6gretap",
    "vrf", "netkit",
)  # fmt: skip

UNTOLD: Mapping[str, str] = {
    "link": """carrier carrier_up_count carrier_down_count change event new_netnsid target_netnsid
        new_ifindex num_vf netns_immutable headroom tailroom max_pacing_offload_horizon gro_ipv4_max_size
        gso_ipv4_max_size link_netnsid perm_address phys_port_id phys_port_name phys_switch_id
        parent_dev_name parent_dev_bus_name proto_down proto_down_reason_mask proto_down_reason_value
        xdp_attached xdp_prog_id xdp_drv_prog_id xdp_skb_prog_id xdp_hw_prog_id af_spec_inet_conf
        af_spec_mctp_net""",
    "addr": "anycast cacheinfo_cstamp cacheinfo_tstamp target_netnsid proto",
    "route": """iif cacheinfo_clntref cacheinfo_lastuse cacheinfo_error cacheinfo_used cacheinfo_id
        cacheinfo_ts cacheinfo_tsage mfc_stats_packets mfc_stats_bytes mfc_stats_wrong_if mark flow newdst
        expires uid ttl_propagate ip_proto sport dport flowlabel encap metrics_fastopen_no_cookie
        multipath_flow multipath_newdst multipath_encap_type multipath_encap""",
    "neigh": """family type flags_ext vlan port vni dst_ifindex master link_netnsid src_vni nh_id
        fdb_ext_attrs_activity_notify fdb_ext_attrs_dont_refresh""",
    "rule": "family flow dscp flowlabel flowlabel_mask sport_mask dport_mask dscp_mask",
    "nexthop": "family encap_type encap master hw_stats_enable hw_stats_used",
    "netconf": "input bc_forwarding force_forwarding",
}

SCOPES = {"universe": "global"}
LINK_TYPES = {"tunnel": "ipip", "ipgre": "gre", "ip6gre": "gre6"}
VLAN_PROTOCOLS = {"8021q": "802.1Q", "8021ad": "802.1ad"}
STP_ROUTER = {"disabled": 0, "temp_query": 1, "perm": 2, "temp": 3}


def given(**values: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def marks(*names: str) -> dict[str, None]:
    """What ip prints as a name with no value."""
    return dict.fromkeys(names)


def truth(value: Any) -> bool | None:
    return None if value is None else bool(value)


def true(value: Any) -> bool | None:
    """True, or None: what ip prints only where it is so."""
    return True if value else None


def seconds(value: int | None, ticks: int = 100) -> float | None:
    return None if value is None else value // ticks


# -- link -------------------------------------------------------------------------------------------


def link(row: Row, names: Names) -> dict[str, Any]:
    flags = {flag.upper() for flag in row["flags"]} - {"RUNNING"}
    if "up" in row["flags"] and "running" not in row["flags"]:
        flags.add("NO-CARRIER")
    kind = row["linkinfo_kind"]
    info = given(info_kind=kind, info_slave_kind=row["linkinfo_slave_kind"])
    if kind in INFO:
        info["info_data"] = INFO[kind](row, names)
    if row["linkinfo_slave_kind"] == "bridge":
        info["info_slave_data"] = bridge_port(lambda name: row[f"linkinfo_bridge_port_{name}"], names)
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
    """As `ip -s -s` has them."""
    rx = """bytes packets errors dropped over_errors length_errors crc_errors frame_errors fifo_errors
        missed_errors"""
    tx = """bytes packets errors dropped carrier_errors aborted_errors fifo_errors window_errors
        heartbeat_errors"""
    told: dict[str, Any] = {
        "rx": {name: row[f"stats64_rx_{name}"] for name in rx.split()},
        "tx": {name: row[f"stats64_tx_{name}"] for name in tx.split()},
    }
    told["rx"]["multicast"] = row["stats64_multicast"]
    told["tx"]["collisions"] = row["stats64_collisions"]
    told["tx"]["carrier_changes"] = row["carrier_changes"]
    for way in "rx", "tx":
        if row[f"stats64_{way}_compressed"]:
            told[way]["compressed"] = row[f"stats64_{way}_compressed"]
    if row["stats64_rx_nohandler"]:
        told["rx"]["nohandler"] = row["stats64_rx_nohandler"]
    if row["stats64_rx_otherhost_dropped"]:
        told["rx"]["otherhost_dropped"] = row["stats64_rx_otherhost_dropped"]
    return told


def vxlan(row: Row, names: Names) -> dict[str, Any]:
    def of(name: str) -> Any:
        return row[f"linkinfo_vxlan_{name}"]

    told = given(
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
            told[word + ("6" if ":" in value else "")] = value
    return told


def macvlan(kind: str) -> Callable[[Row, Names], dict[str, Any]]:
    def told(row: Row, names: Names) -> dict[str, Any]:
        def of(name: str) -> Any:
            return row[f"linkinfo_{kind}_{name}"]

        return given(
            mode=of("mode"),
            nopromisc=true("nopromisc" in of("flags")),
            nodst=true("nodst" in of("flags")),
            bcqueuelen=of("bc_queue_len"),
            usedbcqueuelen=of("bc_queue_len_used"),
            macaddr_count=of("macaddr_count") or None,
            macaddr_data=of("macaddr"),
        )

    return told


def tun(row: Row, names: Names) -> dict[str, Any]:
    def of(name: str) -> Any:
        return row[f"linkinfo_tun_{name}"]

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
    def of(name: str) -> Any:
        return row[f"linkinfo_bridge_{name}"]

    same = """forward_delay hello_time max_age ageing_time stp_state priority vlan_filtering root_port
        root_path_cost topology_change topology_change_detected group_addr mcast_snooping
        mcast_query_use_ifaddr mcast_querier mcast_hash_elasticity mcast_hash_max mcast_last_member_cnt
        mcast_startup_query_cnt mcast_last_member_intvl mcast_membership_intvl mcast_querier_intvl
        mcast_query_intvl mcast_query_response_intvl mcast_startup_query_intvl mcast_stats_enabled
        mcast_igmp_version mcast_mld_version nf_call_iptables nf_call_ip6tables nf_call_arptables"""
    told = given(**{name: of(name) for name in same.split()})
    for name in "hello_timer", "tcn_timer", "topology_change_timer", "gc_timer":
        told[name] = of(name) / 100
    return told | {
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
    told = given(**{name: of(name) for name in same.split()})
    told |= given(**{name: truth(of(column)) for name, column in truths.items()})
    for name in "hold_timer", "message_age_timer", "forward_delay_timer":
        told[name] = of(name) / 100
    mask = of("group_fwd_mask")
    told |= given(backup_port=names.get(of("backup_port")))
    return told | {
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

# -- addr -------------------------------------------------------------------------------------------


def addr(row: Row, names: Names) -> dict[str, Any]:
    """One of addr_info, and the ifindex beside it."""
    flags = set(row["flags"])
    dynamic = "permanent" not in flags
    local = row["local"] or row["address"]
    told = given(
        ifindex=row["ifindex"],
        family=row["family"],
        local=local,
        address=row["address"] if row["address"] != local else None,
        prefixlen=row["prefixlen"],
        metric=row["rt_priority"],
        broadcast=row["broadcast"],
        scope=SCOPES.get(row["scope"], row["scope"]),
        dynamic=true(dynamic),
        label=row["label"],
        valid_life_time=row["cacheinfo_valid"],
        preferred_life_time=row["cacheinfo_prefered"],
    )
    words = {"secondary": "temporary"} if row["family"] == "inet6" else {}
    renamed = {"managetempaddr": "mngtmpaddr", "homeaddress": "home", "mcautojoin": "autojoin"} | words
    if row["family"] == "inet6" and row["rt_priority"] == 0:
        told.pop("metric")
    return told | {renamed.get(flag, flag): True for flag in flags - {"permanent", "stable_privacy"}}


# -- route ------------------------------------------------------------------------------------------


def route(row: Row, names: Names) -> dict[str, Any]:
    flags = list(row["flags"])
    told = given(
        type=row["type"],
        dst=prefix(row["dst"], row["dst_len"], row["family"]),
        nhid=row["nh_id"],
        tos=f"{row['tos']:#04x}" if row["tos"] else None,
        encap=row["encap_type"],
        gateway=row["gateway"],
        via=via(row["via"]),
        dev=names.get(row["oif"]),
        table=str(row["table"]),
        protocol=row["protocol"],
        scope=SCOPES.get(row["scope"], row["scope"]),
        prefsrc=row["prefsrc"],
        metric=row["priority"],
        flags=flags,
        metrics=metrics(row),
        expires=seconds(row["cacheinfo_expires"] or None),
        pref=row["pref"],
    )
    if row["src_len"]:
        told["from"] = prefix(row["src"], row["src_len"], row["family"])
    if row["multipath_ifindex"] is not None:
        hops = zip(
            *(row[f"multipath_{name}"] for name in ("gateway", "via", "ifindex", "hops", "flags")),
            strict=True,
        )
        told["nexthops"] = [
            given(gateway=gateway, via=via(other), dev=names.get(index), weight=weight + 1, flags=list(flags))
            for gateway, other, index, weight, flags in hops
        ]
    return told


def prefix(address: str | None, length: int, family: str) -> str:
    if address is None:
        return "default" if length == 0 else f"0/{length}"
    return address if length == (32 if family == "inet" else 128) else f"{address}/{length}"


def via(address: str | None) -> dict[str, str] | None:
    return None if address is None else {"family": "inet6" if ":" in address else "inet", "host": address}


def metrics(row: Row) -> list[dict[str, Any]] | None:
    same = "mtu window ssthresh cwnd advmss reordering hoplimit initcwnd initrwnd quickack rto_min"
    told = given(**{name: row[f"metrics_{name}"] for name in same.split()})
    told |= given(
        rtt=seconds(row["metrics_rtt"], 8),
        rttvar=seconds(row["metrics_rttvar"], 4),
        congestion=row["metrics_cc_algo"],
    )
    told |= marks(*(row["metrics_features"] or ()))
    # ip says `lock` for people only; it locks rto_min itself
    assert row["metrics_lock"] in (None, ["mtu", "cwnd", "rto_min"])
    return [told] if told else None


# -- neigh, rule, nexthop, netconf ------------------------------------------------------------------


def neigh(row: Row, names: Names) -> dict[str, Any]:
    told = given(dst=row["dst"], dev=names[row["ifindex"]], lladdr=row["lladdr"], protocol=row["protocol"])
    if row["protocol"] == "unspec":
        told.pop("protocol")
    renamed = {"ext_learned": "extern_learn", "offloaded": "offload"}
    told |= marks(*(renamed.get(flag, flag) for flag in row["flags"]))
    if "proxy" in row["flags"]:
        return told
    told |= given(
        refcnt=row["cacheinfo_refcnt"] or None,
        used=seconds(row["cacheinfo_used"]),
        confirmed=seconds(row["cacheinfo_confirmed"]),
        updated=seconds(row["cacheinfo_updated"]),
        probes=row["probes"],
        state=[state.upper() for state in row["state"]] or ["NONE"],
    )
    return told


def rule(row: Row, names: Names) -> dict[str, Any]:
    action = row["action"]
    told = given(
        priority=row["priority"] or 0,
        src=row["src"] or "all",
        srclen=length(row["src"], row["src_len"]),
        dst=row["dst"],
        dstlen=length(row["dst"], row["dst_len"]),
        tos=f"{row['tos']:#04x}" if row["tos"] else None,
        fwmark=hex(row["fwmark"]) if row["fwmark"] else None,
        fwmask=hex(row["fwmask"]) if row["fwmark"] and row["fwmask"] != 0xFFFF_FFFF else None,
        iif=row["iifname"],
        oif=row["oifname"],
        uid_start=row["uid_range_start"],
        uid_end=row["uid_range_end"],
        ipproto=row["ip_proto"],
        tun_id=row["tun_id"],
        table=str(row["table"]) if row["table"] != "unspec" and action == "to_tbl" else None,
        suppress_prefixlen=row["suppress_prefixlen"],
        suppress_ifgroup=None if row["suppress_ifgroup"] is None else str(row["suppress_ifgroup"]),
        goto=row["goto"],
        action=action if action not in ("to_tbl", "goto") else None,
        protocol=row["protocol"],
    )
    for way in "sport", "dport":
        start, end = row[f"{way}_range_start"], row[f"{way}_range_end"]
        if start is not None:
            told |= {way: start} if start == end else {f"{way}_start": start, f"{way}_end": end}
    words = {"invert": "not", "iif_detached": "iif_detached", "oif_detached": "oif_detached"}
    told |= marks(*(words[flag] for flag in row["flags"] if flag in words))
    return told | (marks("l3mdev") if row["l3mdev"] else {})


def length(address: str | None, bits: int) -> int | None:
    return None if address is None or bits == (128 if ":" in address else 32) else bits


def nexthop(row: Row, names: Names) -> dict[str, Any]:
    told = given(
        id=row["id"],
        gateway=row["gateway"],
        dev=names.get(row["oif"]),
        scope=SCOPES.get(row["scope"], row["scope"]),
        protocol=row["protocol"],
        flags=list(row["flags"]),
    )
    told |= marks(*(name for name in ("blackhole", "fdb") if row[name]))
    if row["group"] is not None:
        told["group"] = [group_member(bytes.fromhex(one)) for one in row["group"]]
    if row["group_type"] == "res":
        told["type"] = "resilient"
        told["resilient_args"] = {
            "buckets": row["res_group_buckets"],
            "idle_timer": row["res_group_idle_timer"] // 100,
            "unbalanced_timer": row["res_group_unbalanced_timer"] // 100,
            "unbalanced_time": row["res_group_unbalanced_time"] // 100,
        }
    return told


def group_member(data: bytes) -> dict[str, int]:
    weight = data[4] + 1
    return {"id": int.from_bytes(data[:4], "little")} | ({"weight": weight} if weight != 1 else {})


def netconf(row: Row, names: Names) -> dict[str, Any]:
    interface = {-1: "all", -2: "default"}.get(row["ifindex"]) or names[row["ifindex"]]
    told: dict[str, Any] = {"family": row["family"], "interface": interface}
    for name in "forwarding", "mc_forwarding", "proxy_neigh", "ignore_routes_with_linkdown":
        told |= given(**{name: truth(row[name])})
    if row["rp_filter"] is not None:
        told["rp_filter"] = ("off", "strict", "loose")[row["rp_filter"]]
    return told


AS_IP: Mapping[str, Callable[[Row, Names], dict[str, Any]]] = {
    "link": link,
    "addr": addr,
    "route": route,
    "neigh": neigh,
    "rule": rule,
    "nexthop": nexthop,
    "netconf": netconf,
}


def flat(told: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The addresses of `ip addr`, each with the index of its link."""
    return [{"ifindex": one["ifindex"], **info} for one in told for info in one["addr_info"]]


def in_order(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same, as the kernel dumps them: the families one by one."""
    return sorted(told, key=lambda one: (one["family"], one["ifindex"]))
