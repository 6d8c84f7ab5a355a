"""Rows of route's tables as `ip -j -d` prints them, for comparison as a whole.

NOT_COMPARED: columns that ip does not print, or prints only for objects that these tests do not make.
All other columns are compared.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.support.ip_json_link import Names, Row, given, link, true, truth

NOT_COMPARED: Mapping[str, str] = {
    "link": """carrier carrier_up_count carrier_down_count change event new_netnsid target_netnsid
        new_ifindex num_vf netns_immutable headroom tailroom max_pacing_offload_horizon gro_ipv4_max_size
        gso_ipv4_max_size link_netnsid perm_address phys_port_id phys_port_name phys_switch_id
        parent_dev_name parent_dev_bus_name proto_down proto_down_reason_mask proto_down_reason_value
        xdp_attached xdp_prog_id xdp_drv_prog_id xdp_skb_prog_id xdp_hw_prog_id af_spec_inet_conf
        af_spec_mctp_net""",
    "addr": "anycast cacheinfo_cstamp cacheinfo_tstamp target_netnsid proto",
    "route": """iif cacheinfo_clntref cacheinfo_lastuse cacheinfo_error cacheinfo_used cacheinfo_id
        cacheinfo_ts cacheinfo_tsage mfc_stats_packets mfc_stats_bytes mfc_stats_wrong_if mark flow
        expires uid ip_proto sport dport flowlabel encap metrics_fastopen_no_cookie
        multipath_flow multipath_encap_type multipath_encap""",
    "neigh": """family type flags_ext vlan port vni dst_ifindex master link_netnsid src_vni nh_id
        fdb_ext_attrs_activity_notify fdb_ext_attrs_dont_refresh""",
    "rule": "family flow dscp flowlabel flowlabel_mask sport_mask dport_mask dscp_mask",
    "nexthop": "family encap_type encap master hw_stats_enable hw_stats_used",
    "netconf": "input bc_forwarding force_forwarding",
}

SCOPES = {"universe": "global"}


def marks(*names: str) -> dict[str, None]:
    """Keys that ip prints without a value."""
    return dict.fromkeys(names)


def seconds(value: int | None, ticks: int = 100) -> float | None:
    return None if value is None else value // ticks


# -- addr -------------------------------------------------------------------------------------------


def addr(row: Row, names: Names) -> dict[str, Any]:
    """One entry of addr_info, with its ifindex."""
    flags = set(row["flags"])
    dynamic = "permanent" not in flags
    local = row["local"] or row["address"]
    printed = given(
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
        printed.pop("metric")
    return printed | {renamed.get(flag, flag): True for flag in flags - {"permanent", "stable_privacy"}}


# -- route ------------------------------------------------------------------------------------------


def route(row: Row, names: Names) -> dict[str, Any]:
    flags = list(row["flags"])
    printed = given(
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
        printed["from"] = prefix(row["src"], row["src_len"], row["family"])
    if row["multipath_ifindex"] is not None:
        hops = zip(
            *(row[f"multipath_{name}"] for name in ("gateway", "via", "ifindex", "hops", "flags")),
            strict=True,
        )
        printed["nexthops"] = [
            given(gateway=gateway, via=via(other), dev=names.get(index), weight=weight + 1, flags=list(flags))
            for gateway, other, index, weight, flags in hops
        ]
    return printed


def prefix(address: str | None, length: int, family: str) -> str:
    if address is None:
        return "default" if length == 0 else f"0/{length}"
    return address if length == (32 if family == "inet" else 128) else f"{address}/{length}"


def via(address: str | None) -> dict[str, str] | None:
    return None if address is None else {"family": "inet6" if ":" in address else "inet", "host": address}


def metrics(row: Row) -> list[dict[str, Any]] | None:
    same = "mtu window ssthresh cwnd advmss reordering hoplimit initcwnd initrwnd quickack rto_min"
    printed = given(**{name: row[f"metrics_{name}"] for name in same.split()})
    printed |= given(
        rtt=seconds(row["metrics_rtt"], 8),
        rttvar=seconds(row["metrics_rttvar"], 4),
        congestion=row["metrics_cc_algo"],
    )
    printed |= marks(*(row["metrics_features"] or ()))
    # ip prints `lock` in text output only; it locks rto_min itself
    assert row["metrics_lock"] in (None, ["mtu", "cwnd", "rto_min"])
    return [printed] if printed else None


# -- neigh, rule, nexthop, netconf ------------------------------------------------------------------


def neigh(row: Row, names: Names) -> dict[str, Any]:
    printed = given(dst=row["dst"], dev=names[row["ifindex"]], lladdr=row["lladdr"], protocol=row["protocol"])
    if row["protocol"] == "unspec":
        printed.pop("protocol")
    renamed = {"ext_learned": "extern_learn", "offloaded": "offload"}
    printed |= marks(*(renamed.get(flag, flag) for flag in row["flags"]))
    if "proxy" in row["flags"]:
        return printed
    printed |= given(
        refcnt=row["cacheinfo_refcnt"] or None,
        used=seconds(row["cacheinfo_used"]),
        confirmed=seconds(row["cacheinfo_confirmed"]),
        updated=seconds(row["cacheinfo_updated"]),
        probes=row["probes"],
        state=[state.upper() for state in row["state"]] or ["NONE"],
    )
    return printed


def rule(row: Row, names: Names) -> dict[str, Any]:
    action = row["action"]
    printed = given(
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
            printed |= {way: start} if start == end else {f"{way}_start": start, f"{way}_end": end}
    words = {"invert": "not", "iif_detached": "iif_detached", "oif_detached": "oif_detached"}
    printed |= marks(*(words[flag] for flag in row["flags"] if flag in words))
    return printed | (marks("l3mdev") if row["l3mdev"] else {})


def length(address: str | None, bits: int) -> int | None:
    return None if address is None or bits == (128 if ":" in address else 32) else bits


def nexthop(row: Row, names: Names) -> dict[str, Any]:
    printed = given(
        id=row["id"],
        gateway=row["gateway"],
        dev=names.get(row["oif"]),
        scope=SCOPES.get(row["scope"], row["scope"]),
        protocol=row["protocol"],
        flags=list(row["flags"]),
    )
    printed |= marks(*(name for name in ("blackhole", "fdb") if row[name]))
    if row["group_id"] is not None:
        members = zip(row["group_id"], row["group_weight"], strict=True)
        printed["group"] = [given(id=id, weight=weight if weight != 1 else None) for id, weight in members]
    if row["group_type"] == "res":
        printed["type"] = "resilient"
        printed["resilient_args"] = {
            "buckets": row["res_group_buckets"],
            "idle_timer": row["res_group_idle_timer"] // 100,
            "unbalanced_timer": row["res_group_unbalanced_timer"] // 100,
            "unbalanced_time": row["res_group_unbalanced_time"] // 100,
        }
    return printed


def netconf(row: Row, names: Names) -> dict[str, Any]:
    interface = {-1: "all", -2: "default"}.get(row["ifindex"]) or names[row["ifindex"]]
    printed: dict[str, Any] = {"family": row["family"], "interface": interface}
    for name in "forwarding", "mc_forwarding", "proxy_neigh", "ignore_routes_with_linkdown":
        printed |= given(**{name: truth(row[name])})
    if row["rp_filter"] is not None:
        printed["rp_filter"] = ("off", "strict", "loose")[row["rp_filter"]]
    return printed


AS_IP: Mapping[str, Callable[[Row, Names], dict[str, Any]]] = {
    "link": link,
    "addr": addr,
    "route": route,
    "neigh": neigh,
    "rule": rule,
    "nexthop": nexthop,
    "netconf": netconf,
}


def flat(printed: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The addresses of `ip addr`, each with the index of its link."""
    return [{"ifindex": one["ifindex"], **info} for one in printed for info in one["addr_info"]]


def in_order(printed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Addresses in the kernel's dump order: family by family."""
    return sorted(printed, key=lambda one: (one["family"], one["ifindex"]))
