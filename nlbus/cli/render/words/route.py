"""Rows of the source route in the words of `ip`. Each function removes from the row what it shows."""

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from nlbus.cli.render.holes import Hole, actual
from nlbus.cli.render.interface_names import InterfaceNames
from nlbus.cli.render.words.encap import encapsulation
from nlbus.cli.render.words.traffic import WORDS as TRAFFIC

Row = dict[str, Any]

MULTICAST_ROUTING = ("ipmr", "ip6mr")
FOREVER = 0xFFFF_FFFF
BITS = {"inet": 32, "inet6": 128, "mpls": 20}
MS_PARTS = {"rtt": 8, "rttvar": 4, "rto_min": 1}  # fractions of a millisecond that these metrics count
# A rule's mask when all bits matter; newer kernels always send it.
WHOLE = {"sport_mask": 0xFFFF, "dport_mask": 0xFFFF, "dscp_mask": 0x3F, "flowlabel_mask": 0xF_FFFF}

# Columns shown for the kinds of links that have many.
KIND_DATA = (
    "vlan_id", "vlan_protocol", "vxlan_id", "vxlan_group", "vxlan_local", "vxlan_port", "geneve_id",
    "geneve_remote", "bridge_stp_state", "bridge_vlan_filtering", "bond_mode", "bond_active_slave",
    "macvlan_mode", "macvtap_mode", "ipvlan_mode", "vrf_table", "tun_type", "netkit_mode", "*_local",
    "*_remote",
)  # fmt: skip
ONLY = {
    "link": (
        "ifindex", "ifname", "link", "link_netnsid", "flags", "mtu", "qdisc", "operstate", "master", "type",
        "address", "linkinfo_kind", "ifalias", "alt_ifname", "event", "new_netnsid", "new_ifindex",
        *(f"linkinfo_{name}" for name in KIND_DATA),
    ),
    "brport": ("ifindex", "ifname", "flags", "mtu", "master", "operstate", "protinfo_state"),
}  # fmt: skip
HIDDEN = (
    "cacheinfo_clntref", "cacheinfo_lastuse", "cacheinfo_error", "cacheinfo_used", "cacheinfo_id",
    "cacheinfo_ts", "cacheinfo_tsage", "cacheinfo_?stamp", "cacheinfo_confirmed", "cacheinfo_updated",
    "cacheinfo_refcnt", "change", "broadcast", "protinfo_conf", "protinfo_cacheinfo_*", "hw_stats_*",
)  # fmt: skip


def _link(row: Row, names: InterfaceNames) -> Iterator[str]:
    yield _interface(row, names)
    if flags := row.pop("flags", None):
        yield f"<{','.join(flags)}>"
    for word, column in (("mtu", "mtu"), ("qdisc", "qdisc")):
        if column in row:
            yield f"{word} {row.pop(column)}"
    if "master" in row:
        yield f"master {_device(row, 'master', names)}"
    if "operstate" in row:
        yield f"state {row.pop('operstate')}"
    if kind := row.pop("linkinfo_kind", ""):
        yield f"kind {kind}"
        yield from _of_kind(kind, row)
    hardware = row.pop("type", None)
    if "address" in row:
        yield f"link/{hardware} {row.pop('address') or '-'}"
    for word, column in (
        ("alias", "ifalias"),
        ("new-netnsid", "new_netnsid"),
        ("new-ifindex", "new_ifindex"),
    ):
        if column in row:
            yield f"{word} {row.pop(column)}"
    for name in row.pop("alt_ifname", ()):
        yield f"altname {name}"
    if row.get("event") == "none":
        del row["event"]


def _of_kind(kind: str, row: Row) -> Iterator[str]:
    prefix = f"linkinfo_{actual(kind)}_"
    for column in [name for name in row if name.startswith(prefix)]:
        if any(fnmatchcase(column.removeprefix("linkinfo_"), pattern) for pattern in KIND_DATA):
            yield f"{column.removeprefix(prefix)} {_plain(row.pop(column))}"


def _interface(row: Row, names: InterfaceNames) -> str:
    """3: va@vb, as `ip` has it; the lower device may be in another namespace."""
    index = row.pop("ifindex")
    name = row.pop("ifname", None) or names.name(index, _nsid(row))
    below = row.pop("link", 0)
    elsewhere = "link_netnsid" in row
    row.pop("link_netnsid", None)
    if not below:
        return f"{index}: {name}"
    return f"{index}: {name}@{f'if{below}' if elsewhere else names.name(below, _nsid(row))}"


def _brport(row: Row, names: InterfaceNames) -> Iterator[str]:
    yield _interface(row, names)
    if flags := row.pop("flags", None):
        yield f"<{','.join(flags)}>"
    if "mtu" in row:
        yield f"mtu {row.pop('mtu')}"
    if "master" in row:
        yield f"master {_device(row, 'master', names)}"
    if "operstate" in row:
        yield f"operstate {row.pop('operstate')}"
    if "protinfo_state" in row:
        yield f"state {row.pop('protinfo_state')}"


def _addr(row: Row, names: InterfaceNames) -> Iterator[str]:
    family = row.pop("family", None)
    local, address = row.pop("local", None), row.pop("address", None)
    if local and address and local != address:
        yield f"{local} peer {address}/{row.pop('prefixlen')}"
    else:
        yield f"{local or address or family}/{row.pop('prefixlen')}"
    device = _device(row, "ifindex", names)
    yield f"dev {device}"
    yield f"scope {_scope(row.pop('scope'))}"
    if row.get("label") == device:
        del row["label"]
    yield from row.pop("flags", None) or ()
    for word, column in (("valid_lft", "cacheinfo_valid"), ("preferred_lft", "cacheinfo_prefered")):
        if (left := row.pop(column, FOREVER)) != FOREVER:
            yield f"{word} {left}s"


def _member(row: Row, names: InterfaceNames) -> Iterator[str]:
    """A member of a multicast or anycast group."""
    row.pop("family", None)
    yield str(row.pop("multicast", None) or row.pop("anycast", None))
    yield f"dev {_device(row, 'ifindex', names)}"
    row.pop("prefixlen", None)
    yield f"scope {_scope(row.pop('scope'))}"
    for column in [name for name in row if name.startswith("cacheinfo_")]:
        del row[column]


def _route(row: Row, names: InterfaceNames) -> Iterator[str]:
    family = row.pop("family")
    if (kind := row.pop("type")) != "unicast":
        yield str(kind)
    length = row.pop("dst_len")
    yield _prefix(row.pop("dst", None), length, family)
    if source := row.pop("src_len"):
        yield f"from {_prefix(row.pop('src', None), source, family)}"
    yield from _encap(row)
    for word, column in (("as", "newdst"), ("nhid", "nh_id"), ("via", "gateway"), ("via", "via")):
        if column in row:
            yield f"{word} {row.pop(column)}"
    for word, column in (("dev", "oif"), ("iif", "iif")):
        if column in row:
            yield f"{word} {_device(row, column, names)}"
    if (table := row.pop("table")) != "main":
        yield f"table {table}"
    if (protocol := row.pop("protocol")) != "unspec":
        yield f"proto {protocol}"
    if (scope := row.pop("scope")) != "universe":
        yield f"scope {scope}"
    for word, column in (("src", "prefsrc"), ("metric", "priority")):
        if value := row.pop(column, None):
            yield f"{word} {value}"
    yield from _tos_and_realms(row)
    yield from row.pop("flags", ())
    yield from _metrics(row)
    if expires := row.pop("cacheinfo_expires", 0):
        yield f"expires {expires / 100:g}s"
    if (preference := row.pop("pref", "medium")) != "medium":
        yield f"pref {preference}"
    yield from _hops(row, names, family in MULTICAST_ROUTING)


def _tos_and_realms(row: Row, alone: str = "realm") -> Iterator[str]:
    if tos := row.pop("tos", 0):
        yield f"tos {tos:#04x}"
    if flow := row.pop("flow", 0):
        yield _realms(flow, alone)


def _realms(flow: int, alone: str = "realm") -> str:
    """Both realms; the destination alone gets the word `alone`."""
    source, to = flow >> 16, flow & 0xFFFF
    return f"realms {source}/{to}" if source else f"{alone} {to}"


def _encap(row: Row) -> Iterator[str]:
    if "encap_type" in row and "encap" in row:
        yield encapsulation(str(row.pop("encap_type")), bytes.fromhex(actual(row.pop("encap"))))


def _metrics(row: Row) -> Iterator[str]:
    locked = row.pop("metrics_lock", ())
    for column in [name for name in row if name.startswith("metrics_")]:
        name, value = column.removeprefix("metrics_"), row.pop(column)
        if name in MS_PARTS:
            value = f"{value / MS_PARTS[name]:g}ms"
        word = "congctl" if name == "cc_algo" else name
        yield f"{word} lock {_plain(value)}" if name in locked else f"{word} {_plain(value)}"


def _hops(row: Row, names: InterfaceNames, multicast: bool) -> Iterator[str]:
    """The next hops of a multipath route; columns that are not shown stay in the row."""
    indexes = row.pop("multipath_ifindex", ())
    shown = ("hops", "gateway", "via", "flags", "newdst", "flow", "encap_type", "encap")
    columns = [row.pop(f"multipath_{name}", None) or [] for name in shown]
    for i, index in enumerate(indexes):
        hops, gateway, via, flags, labels, flow, kind, data = (
            column[i] if i < len(column) else None for column in columns
        )
        yield "nexthop"
        if kind is not None:
            yield encapsulation(str(kind), bytes.fromhex(data or ""))
        if labels:
            yield f"as {labels}"
        if gateway or via:
            yield f"via {gateway or via}"
        if index:
            yield f"dev {names.name(index, _nsid(row))}"
        # A multicast route has the TTL threshold of its interface here.
        yield f"ttl {hops}" if multicast else f"weight {(hops or 0) + 1}"
        if flow:
            yield _realms(flow)
        yield from flags or ()
    for column in [name for name in row if name.startswith("multipath_")]:
        if not any(value is not None for value in row[column]):
            del row[column]


def _neigh(row: Row, names: InterfaceNames) -> Iterator[str]:
    family = row.pop("family", None)
    if "dst" in row:
        yield str(row.pop("dst"))
    elif family != "bridge":
        yield str(family)
    if family == "bridge" and "lladdr" in row:
        yield str(row.pop("lladdr"))
    yield f"dev {_device(row, 'ifindex', names)}"
    if "lladdr" in row:
        yield f"lladdr {row.pop('lladdr') or '-'}"
    if "vlan" in row:
        yield f"vlan {row.pop('vlan')}"
    if "master" in row:
        yield f"master {_device(row, 'master', names)}"
    yield from row.pop("flags", ())
    yield from row.pop("state", ())
    for column in ("type", "probes", "cacheinfo_used"):
        row.pop(column, None)


def _rule(row: Row, names: InterfaceNames) -> Iterator[str]:
    family = row.pop("family")
    yield f"{row.pop('priority', 0)}:"
    if family != "inet":
        yield str(family)
    flags = row.pop("flags", [])
    if "invert" in flags:
        yield "not"
    source, to = row.pop("src_len"), row.pop("dst_len")
    yield f"from {_prefix(row.pop('src', None), source, family) if source else 'all'}"
    if to:
        yield f"to {_prefix(row.pop('dst', None), to, family)}"
    yield from _tos_and_realms(row, alone="realms")
    mark, mask = row.pop("fwmark", 0), row.pop("fwmask", FOREVER)
    if mark or mask not in (0, FOREVER):
        yield f"fwmark {mark:#x}" + (f"/{mask:#x}" if mask != FOREVER else "")
    for word, column in (
        ("iif", "iifname"),
        ("oif", "oifname"),
        ("ipproto", "ip_proto"),
        ("tun_id", "tun_id"),
    ):
        if column in row:
            yield f"{word} {row.pop(column)}"
    for column, every in WHOLE.items():
        if row.get(column) == every:
            del row[column]
    for word, column in (("uidrange", "uid_range"), ("sport", "sport_range"), ("dport", "dport_range")):
        if f"{column}_start" in row:
            start, end = row.pop(f"{column}_start"), row.pop(f"{column}_end")
            text = f"{word} {start}" if start == end and word != "uidrange" else f"{word} {start}-{end}"
            mask = row.pop(f"{word}_mask", None)
            yield text if mask is None else f"{text}/{mask:#x}"
    action, table = row.pop("action"), row.pop("table")
    if action == "to_tbl":
        yield f"lookup {table}" if not row.pop("l3mdev", 0) else "lookup [l3mdev-table]"
    elif action == "goto":
        yield f"goto {row.pop('goto', '?')}"
    else:
        yield str(action)
    for column in ("suppress_prefixlen", "suppress_ifgroup"):
        if column in row:
            yield f"{column.replace('prefixlen', 'prefixlength')} {row.pop(column)}"
    if (protocol := row.pop("protocol", "unspec")) != "unspec":
        yield f"proto {protocol}"
    yield from (flag for flag in flags if flag not in ("invert", "permanent"))


def _nexthop(row: Row, names: InterfaceNames) -> Iterator[str]:
    yield f"id {row.pop('id', '?')}"
    row.pop("family", None)
    if group := row.pop("group_id", None):
        members = zip(group, row.pop("group_weight"), strict=True)
        yield "group " + "/".join(f"{each},{weight}" if weight > 1 else str(each) for each, weight in members)
        if (kind := row.pop("group_type", "mpath")) != "mpath":
            yield f"type {'resilient' if kind == 'res' else kind}"
        for column in [name for name in row if name.startswith("res_group_")]:
            word, value = column.removeprefix("res_group_"), row.pop(column)
            yield f"{word} {value}" if word == "buckets" else f"{word} {value / 100:g}s"
    row.pop("group_type", None)
    yield from _encap(row)
    if row.pop("blackhole", False):
        yield "blackhole"
    if "gateway" in row:
        yield f"via {row.pop('gateway')}"
    for word, column in (("dev", "oif"), ("master", "master")):
        if column in row:
            yield f"{word} {_device(row, column, names)}"
    if (scope := row.pop("scope", "universe")) != "universe":
        yield f"scope {scope}"
    if (protocol := row.pop("protocol", "unspec")) != "unspec":
        yield f"proto {protocol}"
    yield from row.pop("flags", ())
    if row.pop("fdb", False):
        yield "fdb"


def _other(row: Row, names: InterfaceNames) -> Iterator[str]:
    """Any other row that has a family or an interface."""
    if "ifname" in row:
        yield _interface(row, names)
    elif "ifindex" in row:
        yield f"dev {_device(row, 'ifindex', names)}"
    if "family" in row:
        yield f"family {row.pop('family')}"


WORDS: Mapping[str, Callable[[Row, InterfaceNames], Iterator[str]]] = {
    "link": _link,
    "brport": _brport,
    "addr": _addr,
    "multicast": _member,
    "anycast": _member,
    **dict.fromkeys(("route", "mpls_route"), _route),
    "neigh": _neigh,
    "fdb": _neigh,
    "rule": _rule,
    "nexthop": _nexthop,
    **TRAFFIC,
    **dict.fromkeys(("netconf", "ipv6_ifinfo", "prefix", "nduseropt", "stats"), _other),
}


def _device(row: Row, column: str, names: InterfaceNames) -> str | Hole:
    return names.device(row.pop(column), _nsid(row))


def _nsid(row: Row) -> int:
    return int(row.get("nl_nsid", -1))


def _prefix(address: object, length: int, family: str) -> str:
    """As `ip` writes a network: no length for a host, and a word for the default route."""
    if not length:
        return "default" if family == "inet" else f"{family} default"
    return f"{address}" if length == BITS.get(family) else f"{address}/{length}"


def _scope(scope: str) -> str:
    return "global" if scope == "universe" else scope


def _plain(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
