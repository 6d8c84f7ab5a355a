"""Kinds of operations on the kernel's objects: each makes a line of `ip`, `bridge`, `tc`, `conntrack` ...

Names, addresses and prefixes come from small pools, so that operations of a sequence meet their like.
Many fail, as a user's do; the harness counts which kinds succeed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Operation(NamedTuple):
    """A line for a tool, and the kind that made it."""

    kind: str
    tool: str
    line: str

    def __str__(self) -> str:
        return f"{self.tool} {self.line}"


Choices = Mapping[str, tuple[str, ...]]

POOLS: Choices = {
    "dev": ("v0", "v1", "v2", "v3", "br0", "vx0", "mv0", "tun0", "ifb0"),
    "near": ("v0", "v2"),
    "port": ("v1", "v3", "vx0"),
    "p4": ("10.9.0.0/24", "10.9.1.0/24", "10.9.0.0/16", "default"),
    "p6": ("fd09::/64", "fd09:1::/64", "fd09::/48", "default"),
    "gw4": ("10.0.0.2 dev v0", "10.0.0.3 dev v0", "10.0.1.2 dev v2"),
    "gw6": ("fd00::2 dev v0", "fd00::3 dev v0", "fd01::2 dev v2", "fe80::9 dev v0", "fe80::9 dev v2"),
    "a4": ("10.0.0.1/24", "10.0.1.1/24", "10.0.0.7/24", "10.0.2.1/16", "10.3.0.1/32"),
    "a6": ("fd00::1/64", "fd01::1/64", "fd00::7/64", "fd02::1/128"),
    "src4": ("10.0.0.1", "10.0.1.1", "10.0.0.7"),
    "src6": ("fd00::1", "fd01::1", "fd00::7"),
    "metric": ("", "", "metric 5", "metric 1024"),
    "table": ("", "", "", "table 100", "table 1000"),
    "tos": ("", "", "", "tos 0x10"),
    "verb": ("add", "add", "replace", "replace", "change", "append", "prepend", "del", "del"),
    "refusal": ("blackhole", "unreachable", "prohibit", "throw"),
    "weight": ("", "weight 2", "weight 7"),
    "extra": ("", "", "mtu 1400", "mtu lock 1300 advmss 1200", "initcwnd 12", "rto_min 300ms", "onlink"),
    "proto": ("", "", "proto static", "proto bgp"),
    "nh": ("1", "2", "3", "4"),
    "nhg": ("10", "11"),
    "members": ("1", "1/2", "2/3", "1,3/2,5", "1/2/3", "4/3"),
    "mac": ("02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"),
    "vid": ("1", "5", "7"),
    "n4": ("10.0.0.2", "10.0.0.3", "10.0.1.2"),
    "n6": ("fd00::2", "fd01::2", "fe80::9"),
    "nud": ("permanent", "reachable", "stale", "noarp"),
    "pref": ("100", "101", "102"),
    "grp": ("239.1.1.1", "239.1.1.2", "ff0e::1"),
    "onoff": ("on", "off"),
    "bit": ("0", "1"),
    "number": ("1", "2", "3"),
    "mtu": ("1500", "1400", "1280", "1200"),
}

# name, tool, line. A {word} is one of its pool; "{word*}" may be several lines' worth of hops.
LINES: tuple[tuple[str, str, str], ...] = (
    # IPv4 and IPv6 routes
    ("route4 via", "ip", "route {verb} {p4} via {gw4} {metric} {table} {tos} {proto}"),
    ("route4 dev", "ip", "route {verb} {p4} dev {dev} {metric} {table}"),
    ("route4 src", "ip", "route {verb} {p4} via {gw4} src {src4} {metric}"),
    ("route4 metrics", "ip", "route {verb} {p4} via {gw4} {extra}"),
    ("route4 multipath", "ip", "route {verb} {p4} {metric} nexthop via {gw4} {weight} nexthop via "
     "{gw4} {weight}"),
    ("route4 via inet6", "ip", "route {verb} {p4} via inet6 {gw6}"),
    ("route4 refusal", "ip", "route {verb} {refusal} {p4} {metric} {table}"),
    ("route4 del", "ip", "route del {p4} {metric} {table}"),
    ("route4 flush", "ip", "route flush table 100"),
    ("route6 via", "ip -6", "route {verb} {p6} via {gw6} {metric} {table} {proto}"),
    ("route6 dev", "ip -6", "route {verb} {p6} dev {dev} {metric} {table}"),
    ("route6 src", "ip -6", "route {verb} {p6} via {gw6} src {src6} {metric}"),
    ("route6 metrics", "ip -6", "route {verb} {p6} via {gw6} {extra}"),
    ("route6 multipath", "ip -6", "route {verb} {p6} {metric} nexthop via {gw6} {weight} nexthop via {gw6}"),
    ("route6 refusal", "ip -6", "route {verb} {refusal} {p6} {metric} {table}"),
    ("route6 del one hop", "ip -6", "route del {p6} via {gw6} {metric}"),
    ("route6 del", "ip -6", "route del {p6} {metric} {table}"),
    ("route6 from", "ip -6", "route {verb} {p6} from fd05::/64 via {gw6}"),
    ("route6 expires", "ip -6", "route {verb} {p6} dev {near} expires 500"),
    ("route6 link-local", "ip -6", "route {verb} fe80::/64 dev {dev} {metric}"),
    # next hop objects
    ("nexthop via", "ip", "nexthop add id {nh} via {gw4}"),
    ("nexthop via6", "ip", "nexthop replace id {nh} via {gw6}"),
    ("nexthop replace", "ip", "nexthop replace id {nh} via {gw4}"),
    ("nexthop dev", "ip", "nexthop replace id {nh} dev {near}"),
    ("nexthop blackhole", "ip", "nexthop add id {nh} blackhole"),
    ("nexthop fdb", "ip", "nexthop add id {nh} via 10.0.0.2 fdb"),
    ("nexthop group", "ip", "nexthop replace id {nhg} group {members}"),
    ("nexthop resilient", "ip", "nexthop replace id {nhg} group {members} type resilient buckets 4"),
    ("nexthop del", "ip", "nexthop del id {nh}"),
    ("nexthop del group", "ip", "nexthop del id {nhg}"),
    ("nexthop route4", "ip", "route {verb} {p4} nhid {nh} {metric}"),
    ("nexthop route4 group", "ip", "route {verb} {p4} nhid {nhg}"),
    ("nexthop route6", "ip -6", "route {verb} {p6} nhid {nh}"),
    ("nexthop route6 group", "ip -6", "route {verb} {p6} nhid {nhg}"),
    # addresses
    ("addr add", "ip", "addr add {a4} dev {dev}"),
    ("addr add6", "ip", "addr add {a6} dev {dev} nodad"),
    ("addr add brd", "ip", "addr add {a4} brd + dev {near} metric 77 noprefixroute"),
    ("addr peer", "ip", "addr add 10.4.0.1 peer 10.4.0.{number}/32 dev {near} scope link"),
    ("addr peer6", "ip", "addr replace fd04::1 peer fd04::2/128 dev {near} nodad"),
    ("addr lifetime", "ip", "addr replace {a4} dev {near} valid_lft 500 preferred_lft 400"),
    ("addr lifetime6", "ip", "addr replace {a6} dev {near} nodad valid_lft 500 preferred_lft 400"),
    ("addr deprecated", "ip", "addr change {a6} dev {near} preferred_lft 0"),
    ("addr expires", "ip", "addr add 10.5.0.{number}/24 dev {near} valid_lft 1 preferred_lft 1"),
    ("addr secondary", "ip", "addr add 10.0.0.2{number}/24 dev {near}"),
    ("addr label", "ip", "addr add 10.6.0.{number}/24 dev v0 label v0:{number}"),
    ("addr anycast", "sysctl", "net.ipv6.conf.all.forwarding={bit}"),
    ("addr del", "ip", "addr del {a4} dev {dev}"),
    ("addr del6", "ip", "addr del {a6} dev {dev}"),
    ("addr flush", "ip", "addr flush dev {dev}"),
    # links
    ("link veth", "ip", "link add {near} type veth peer name {port}"),
    ("link bridge", "ip", "link add br0 type bridge"),
    ("link vxlan", "ip", "link add vx0 type vxlan id {number} dstport 4789 local 10.0.0.1"),
    ("link vxlan external", "ip", "link add vx0 type vxlan external dstport 4789"),
    ("link macvlan", "ip", "link add mv0 link {near} type macvlan mode bridge"),
    ("link ifb", "ip", "link add ifb0 type ifb"),
    ("link tun", "ip", "tuntap add tun0 mode tun"),
    ("link tap", "ip", "tuntap add tun0 mode tap"),
    ("link tuntap del", "ip", "tuntap del tun0 mode tun"),
    ("link del", "ip", "link del {dev}"),
    ("link up", "ip", "link set {dev} up"),
    ("link down", "ip", "link set {dev} down"),
    ("link mtu", "ip", "link set {dev} mtu {mtu}"),
    ("link address", "ip", "link set {dev} address {mac}"),
    ("link txqlen", "ip", "link set {dev} txqueuelen {number}00"),
    ("link alias", "ip", "link set {dev} alias text{number}"),
    ("link altname", "ip", "link property add dev {dev} altname alt{number}{dev}"),
    ("link altname del", "ip", "link property del dev {dev} altname alt{number}{dev}"),
    ("link group", "ip", "link set {dev} group {number}"),
    ("link rename", "ip", "link set {dev} name {dev}"),
    ("link rename far", "ip", "link set {dev} name other{number}"),
    ("link rename back", "ip", "link set other{number} name {dev}"),
    ("link promisc", "ip", "link set {dev} promisc {onoff}"),
    ("link allmulti", "ip", "link set {dev} allmulticast {onoff}"),
    ("link arp", "ip", "link set {dev} arp {onoff}"),
    ("link multicast", "ip", "link set {dev} multicast {onoff}"),
    ("link dormant", "ip", "link set {near} mode dormant"),
    ("link carrier", "ip", "link set {near} carrier {onoff}"),
    ("link operstate", "ip", "link set {near} state down"),
    ("link protodown", "ip", "link set vx0 protodown {onoff}"),
    ("link addrgenmode", "ip", "link set {dev} addrgenmode none"),
    ("link token", "ip", "token set ::{number} dev {near}"),
    ("link gso", "ip", "link set {dev} gso_max_size 3{number}000"),
    ("link maddr", "ip", "maddr add 33:33:00:00:00:0{number} dev {dev}"),
    ("link master", "ip", "link set {port} master br0"),
    ("link nomaster", "ip", "link set {port} nomaster"),
    ("link netns", "ip", "link set {dev} netns OTHER"),
    ("link netns both", "ip", "link set {near} netns OTHER"),
    ("link in other", "ip-other", "link set {port} up"),
    ("link from other", "ip-other", "link set {dev} netns HOME"),
    ("link other del", "ip-other", "link del {dev}"),
    ("link other gone", "forget", "OTHER"),
    ("link vxlan change", "ip", "link set vx0 type vxlan ageing 7{number}"),
    # bridges
    ("bridge up", "ip", "link set br0 up"),
    ("bridge change", "ip", "link set br0 type bridge ageing_time {number}0000"),
    ("bridge filtering", "ip", "link set br0 type bridge vlan_filtering {bit}"),
    ("bridge stp", "ip", "link set br0 type bridge stp_state {bit}"),
    ("bridge snooping", "ip", "link set br0 type bridge mcast_snooping {bit}"),
    ("bridge querier", "ip", "link set br0 type bridge mcast_querier {bit}"),
    ("bridge master", "ip", "link set {port} master br0"),
    ("bridge leave", "ip", "link set {port} nomaster"),
    ("bridge port up", "ip", "link set {port} up"),
    ("bridge port down", "ip", "link set {port} down"),
    ("bridge port mac", "ip", "link set {port} address {mac}"),
    ("bridge port option", "bridge", "link set dev {port} cost {number}7 learning {onoff} isolated {onoff}"),
    ("bridge port state", "bridge", "link set dev {port} state {number}"),
    ("bridge vlan add", "bridge", "vlan add dev {port} vid {vid}"),
    ("bridge vlan pvid", "bridge", "vlan add dev {port} vid {vid} pvid untagged"),
    ("bridge vlan del", "bridge", "vlan del dev {port} vid {vid}"),
    ("bridge vlan self", "bridge", "vlan add dev br0 vid {vid} self"),
    ("bridge vlan state", "bridge", "vlan set dev {port} vid {vid} state {number}"),
    ("fdb add", "bridge", "fdb add {mac} dev {port} master static"),
    ("fdb add vlan", "bridge", "fdb add {mac} dev {port} master vlan {vid}"),
    ("fdb replace", "bridge", "fdb replace {mac} dev {port} master static"),
    ("fdb dynamic", "bridge", "fdb replace {mac} dev {port} master dynamic"),
    ("fdb self", "bridge", "fdb add {mac} dev {dev} self"),
    ("fdb local", "bridge", "fdb add {mac} dev br0 self local"),
    ("fdb del", "bridge", "fdb del {mac} dev {port} master"),
    ("fdb del self", "bridge", "fdb del {mac} dev {port} self"),
    ("fdb vxlan", "bridge", "fdb append {mac} dev vx0 dst {n4} self"),
    ("fdb vxlan replace", "bridge", "fdb replace {mac} dev vx0 dst {n4} vni {number} self"),
    ("fdb vxlan nexthop", "bridge", "fdb add {mac} dev vx0 nhid {nhg} self"),
    ("fdb vxlan del", "bridge", "fdb del {mac} dev vx0 dst {n4} self"),
    ("fdb flush", "bridge", "fdb flush dev br0"),
    ("mdb add", "bridge", "mdb add dev br0 port {port} grp {grp} permanent"),
    ("mdb temp", "bridge", "mdb add dev br0 port {port} grp {grp} temp"),
    ("mdb vlan", "bridge", "mdb add dev br0 port {port} grp {grp} permanent vid {vid}"),
    ("mdb self", "bridge", "mdb add dev br0 port br0 grp {grp}"),
    ("mdb del", "bridge", "mdb del dev br0 port {port} grp {grp}"),
    # neighbours
    ("neigh add", "ip", "neigh add {n4} lladdr {mac} dev {dev} nud {nud}"),
    ("neigh add6", "ip", "neigh add {n6} lladdr {mac} dev {dev} nud {nud}"),
    ("neigh replace", "ip", "neigh replace {n4} lladdr {mac} dev {near} nud {nud}"),
    ("neigh replace6", "ip", "neigh replace {n6} lladdr {mac} dev {near} nud {nud} router"),
    ("neigh change", "ip", "neigh change {n4} lladdr {mac} dev {near} extern_learn"),
    ("neigh use", "ip", "neigh replace {n4} dev {near} use"),
    ("neigh del", "ip", "neigh del {n4} dev {near}"),
    ("neigh del6", "ip", "neigh del {n6} dev {near}"),
    ("neigh proxy", "ip", "neigh add proxy {n4} dev {dev}"),
    ("neigh proxy6", "ip", "neigh add proxy {n6} dev {dev}"),
    ("neigh proxy del", "ip", "neigh del proxy {n4} dev {dev}"),
    ("neigh proxy del6", "ip", "neigh del proxy {n6} dev {dev}"),
    ("neigh flush", "ip", "neigh flush dev {near}"),
    ("neigh table", "ip", "ntable change name arp_cache dev {near} queue {number}"),
    # rules
    ("rule from", "ip", "rule add pref {pref} from 10.{number}.0.0/16 lookup 100"),
    ("rule from6", "ip -6", "rule add pref {pref} from fd0{number}::/16 lookup 100"),
    ("rule mark", "ip", "rule add pref {pref} fwmark {number}/0x{number}f lookup 100"),
    ("rule iif", "ip", "rule add pref {pref} iif {dev} lookup {number}00"),
    ("rule oif", "ip", "rule add pref {pref} oif {dev} lookup 100"),
    ("rule suppress", "ip", "rule add pref {pref} lookup main suppress_prefixlength {number}"),
    ("rule suppress group", "ip", "rule add pref {pref} lookup main suppress_ifgroup {number}"),
    ("rule dport", "ip", "rule add pref {pref} dport 10-2{number} lookup 100"),
    ("rule sport", "ip", "rule add pref {pref} ipproto udp sport {number}-9 lookup 100"),
    ("rule uid", "ip", "rule add pref {pref} uidrange {number}-9 lookup 100"),
    ("rule tos", "ip", "rule add pref {pref} tos 0x10 lookup 100"),
    ("rule not", "ip", "rule add pref {pref} not from 10.{number}.0.0/16 blackhole"),
    ("rule goto", "ip", "rule add pref {pref} from 10.{number}.0.0/16 goto 102"),
    ("rule del", "ip", "rule del pref {pref}"),
    ("rule del6", "ip -6", "rule del pref {pref}"),
    ("rule flush", "ip", "rule flush"),
    # settings
    ("netconf forwarding", "sysctl", "net.ipv4.conf.{near}.forwarding={bit}"),
    ("netconf forwarding6", "sysctl", "net.ipv6.conf.{near}.forwarding={bit}"),
    ("netconf all", "sysctl", "net.ipv4.ip_forward={bit}"),
    ("netconf all6", "sysctl", "net.ipv6.conf.all.forwarding={bit}"),
    ("netconf default", "sysctl", "net.ipv4.conf.default.rp_filter={number}"),
    ("netconf default6", "sysctl", "net.ipv6.conf.default.forwarding={bit}"),
    ("netconf rp_filter", "sysctl", "net.ipv4.conf.{near}.rp_filter={bit}"),
    ("netconf proxy_arp", "sysctl", "net.ipv4.conf.{near}.proxy_arp={bit}"),
    ("netconf proxy_ndp", "sysctl", "net.ipv6.conf.{near}.proxy_ndp={bit}"),
    ("netconf mc", "sysctl", "net.ipv4.conf.{near}.bc_forwarding={bit}"),
    ("netconf linkdown", "sysctl", "net.ipv4.conf.{near}.ignore_routes_with_linkdown={bit}"),
    ("netconf linkdown6", "sysctl", "net.ipv6.conf.all.ignore_routes_with_linkdown={bit}"),
    ("netconf all rp", "sysctl", "net.ipv4.conf.all.rp_filter={bit}"),
    ("netconf disable6", "sysctl", "net.ipv6.conf.{near}.disable_ipv6={bit}"),
    ("netconf disable all", "sysctl", "net.ipv6.conf.all.disable_ipv6={bit}"),
    ("netconf other", "sysctl", "net.ipv4.conf.{near}.arp_announce={bit}"),
    ("netconf mtu6", "sysctl", "net.ipv6.conf.{near}.mtu=1280"),
    ("netconf hops6", "sysctl", "net.ipv6.conf.{near}.hop_limit=6{number}"),
    # traffic control
    ("qdisc tbf", "tc", "qdisc {qverb} dev {near} root handle {number}: tbf rate {number}mbit "
     "burst 10k limit 10k"),
    ("qdisc htb", "tc", "qdisc {qverb} dev {near} root handle 1: htb default {number}"),
    ("qdisc fifo", "tc", "qdisc {qverb} dev {near} root handle {number}: pfifo limit {number}00"),
    ("qdisc child", "tc", "qdisc {qverb} dev {near} parent 1:{number} handle 1{number}: bfifo "
     "limit 1000{number}"),
    ("qdisc ingress", "tc", "qdisc add dev {near} ingress"),
    ("qdisc clsact", "tc", "qdisc add dev {dev} clsact"),
    ("qdisc del", "tc", "qdisc del dev {near} root"),
    ("qdisc del ingress", "tc", "qdisc del dev {near} ingress"),
    ("qdisc up", "ip", "link set {near} up"),
    ("qdisc down", "ip", "link set {near} down"),
    ("class add", "tc", "class {qverb} dev {near} parent 1: classid 1:{number} htb rate {number}mbit"),
    ("class change", "tc", "class change dev {near} parent 1: classid 1:{number} htb rate 5mbit"),
    ("class del", "tc", "class del dev {near} classid 1:{number}"),
    ("filter u32", "tc", "filter add dev {near} parent 1: protocol ip prio {number} u32 match "
     "ip dst {n4}/32 flowid 1:1"),
    ("filter ingress", "tc", "filter {qverb} dev {near} ingress protocol ip prio {number} u32 match u32 0 0 "
     "action mirred egress redirect dev {dev}"),
    ("filter del", "tc", "filter del dev {near} parent 1: prio {number}"),
    ("filter del all", "tc", "filter del dev {near} ingress"),
    ("filter chain", "tc", "filter add dev {near} ingress chain {number} protocol ip prio 1 u32 "
     "match u32 0 0 flowid 1:1"),
    ("chain add", "tc", "chain add dev {near} ingress chain {number}"),
    ("chain del", "tc", "chain del dev {near} ingress chain {number}"),
    # membership of sockets
    ("multicast join", "join", "{grp} {near}"),
    ("multicast leave", "leave", "{grp} {near}"),
    # connections
    ("conntrack add", "conntrack", "-I -p udp -s 10.7.0.{number} -d 10.7.0.9 --sport 1{number} --dport 53 "
     "-t 500"),
    ("conntrack short", "conntrack", "-I -p udp -s 10.7.0.{number} -d 10.7.1.9 --sport 1{number} --dport 53 "
     "-t 1"),
    ("conntrack mark", "conntrack", "-U -p udp -s 10.7.0.{number} -m {number}"),
    ("conntrack status", "conntrack", "-U -p udp -s 10.7.0.{number} -u ASSURED -t 600"),
    ("conntrack del", "conntrack", "-D -p udp -s 10.7.0.{number}"),
    ("conntrack flush", "conntrack", "-F"),
)  # fmt: skip
MORE_POOLS: Choices = {"qverb": ("add", "replace", "replace", "change")}

# Sequences of one subject meet more of each other's objects than those of everything.
SUBJECTS: Mapping[str, tuple[str, ...]] = {
    "routes": ("route4", "addr", "link up", "link down", "link del"),
    "routes6": ("route6", "addr", "link up", "link down", "link del"),
    "nexthops": ("nexthop", "nexthop", "link up", "link down", "addr del"),
    "links": ("link",),
    "addresses": ("addr", "route4 src", "route6 src", "link"),
    "bridges": ("bridge", "fdb", "mdb", "link bridge", "link veth", "link vxlan"),
    "neighbours": ("neigh", "link"),
    "rules": ("rule", "link"),
    "settings": ("netconf", "link"),
    "traffic": ("qdisc", "class", "filter", "chain", "link del", "link veth"),
    "multicast": ("multicast", "mdb", "bridge", "link up", "link down"),
    "connections": ("conntrack",),
}


def _maker(kind: str, tool: str, template: str) -> Callable[[random.Random], Operation]:
    pools = {**POOLS, **MORE_POOLS}

    def make(rng: random.Random) -> Operation:
        text = template
        while "{" in text:
            before, _, rest = text.partition("{")
            word, _, after = rest.partition("}")
            text = f"{before}{rng.choice(pools[word])}{after}"
        return Operation(kind, tool, " ".join(text.split()))

    return make


KINDS = {kind: _maker(kind, tool, template) for kind, tool, template in LINES}


def of_subject(subject: str) -> list[str]:
    """The kinds of a subject, those it stresses more than once."""
    return [kind for prefix in SUBJECTS[subject] for kind in KINDS if kind.startswith(prefix)]
