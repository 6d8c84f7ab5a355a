"""Links, addresses, routes, rules, neighbours and next hops, of every kind that this kernel supports."""

import json
import subprocess
from typing import Any

from tests.support.monitors import tool, unsanitized

# Kinds that a kernel may lack.
LINKS = {
    "dummy": ("link add d0 type dummy",),
    "vlan": ("link add va.5 link va type vlan id 5 gvrp on",),
    "vxlan": (
        "link add vx0 type vxlan id 7 dstport 4789 local 10.1.0.1 group 239.1.1.1 dev va ttl 9 tos 4 "
        "srcport 4000 5000 ageing 77 maxaddress 100 udpcsum noudp6zerocsumtx l2miss",
        "link add vx6 type vxlan id 8 dstport 4790 local fd00::1 remote fd00::2 noudpcsum gbp",
    ),
    "geneve": ("link add gn0 type geneve id 5 remote 10.1.0.2 ttl 8",),
    "bridge": (
        "link add br0 type bridge ageing_time 20000 forward_delay 400 mcast_snooping 0",
        "link add vc type veth peer name vd",
        "link set vc master br0",
        "link set vc up",
        "link set vc type bridge_slave cost 77 hairpin on",
    ),
    "bridge of VLANs": ("link add br1 type bridge vlan_filtering 1 vlan_protocol 802.1ad mcast_router 2",),
    "bond": ("link add bond0 type bond mode active-backup miimon 100",),
    "macvlan": (
        "link add mv0 link va type macvlan mode source macaddr set 02:00:00:00:00:01 02:00:00:00:00:02",
        "link add mv1 link va type macvlan mode bridge nodst",
    ),
    "macvtap": ("link add mt0 link vb type macvtap mode private",),
    "ipvlan": ("link add iv0 link vb type ipvlan mode l3",),
    "ipip": ("link add ipip1 type ipip local 10.1.0.1 remote 10.1.0.2 ttl 7",),
    "sit": ("link add sit1 type sit local 10.1.0.1 remote 10.1.0.2",),
    "ip6tnl": ("link add it6 type ip6tnl local fd00::1 remote fd00::2 mode any",),
    "gre": ("link add gre1 type gre local 10.1.0.1 remote 10.1.0.2 key 9",),
    "gretap": ("link add gt1 type gretap local 10.1.0.1 remote 10.1.0.2",),
    "ip6gre": ("link add g61 type ip6gre local fd00::1 remote fd00::2",),
    "ip6gretap": ("link add gt6 type ip6gretap local fd00::1 remote fd00::2",),
    "tun": ("tuntap add tap0 mode tap user 65534 multi_queue",),
    "vrf": ("link add vrf0 type vrf table 10",),
    "netkit": ("link add nk0 type netkit",),
    "ifb": ("link add ifb0 type ifb",),
}
ADDRESSES = (
    "addr add 10.1.0.1/24 brd + dev va",
    "addr add 10.1.0.9/24 dev va metric 77 noprefixroute",
    "addr add 10.2.0.1 peer 10.2.0.2/32 dev vb label vb:p",
    "addr add 10.3.0.1/24 dev va valid_lft 5000 preferred_lft 4000",
    "-6 addr add fd00::1/64 dev va nodad",
    "-6 addr add fd00::9 peer fd00::a/128 dev va nodad",
    "-6 addr add fd01::1/64 dev vb nodad valid_lft 5000 preferred_lft 4000",
)
ROUTES = (
    "route add 10.10.0.0/16 via 10.1.0.2 dev va src 10.1.0.1 metric 5 proto static",
    "route add 10.11.0.0/16 nexthop via 10.1.0.2 dev va weight 3 nexthop via 10.2.0.2 dev vb weight 200",
    "route add 10.12.0.0/16 dev va mtu lock 1400 window 5000 rtt 80ms rttvar 40ms ssthresh 9 cwnd lock 8 "
    "advmss 1300 reordering 4 hoplimit 33 initcwnd 12 initrwnd 14 quickack 1 rto_min 300ms features ecn "
    "congctl reno",
    "route add 10.13.0.0/16 via inet6 fd00::2 dev va proto bgp",
    "route add 10.14.0.0/16 nexthop via inet6 fd00::2 dev va nexthop via 10.2.0.2 dev vb",
    "route add blackhole 10.15.0.0/16 metric 9",
    "route add unreachable 10.16.0.0/16",
    "route add prohibit 10.17.0.0/16 table 1000",
    "route add 10.18.0.0/16 nhid 1",
    "route add 10.19.0.0/16 nhid 30",
    "route add 10.20.0.0/16 tos 8 via 10.1.0.2 dev va onlink",
    "-6 route add fd10::/64 via fd00::2 dev va metric 7 pref high mtu 1400",
    "-6 route add fd11::/64 nexthop via fd00::2 dev va weight 2 nexthop via fd01::2 dev vb",
    "-6 route add blackhole fd12::/64",
    "-6 route add fd13::/64 dev va expires 500",
    "-6 route add fd14::/64 from fd00::/64 via fd00::2 dev va",
)
ENCAPSULATED = (
    "route add 10.21.0.0/16 encap ip id 5 dst 10.2.2.2 via 10.1.0.2",
    "route add 10.22.0.0/16 encap mpls 100 via 10.1.0.2",
    "-6 route add fd20::/64 encap seg6 mode encap segs fd00::5 dev va",
)
NEXTHOPS = (
    "nexthop add id 1 via 10.1.0.2 dev va",
    "nexthop add id 2 via 10.2.0.2 dev vb protocol bgp",
    "-6 nexthop add id 3 via fd00::2 dev va",
    "nexthop add id 4 blackhole",
    "nexthop add id 30 group 1,3/2,9",
    "nexthop add id 31 group 1/2 type resilient buckets 8 idle_timer 50 unbalanced_timer 70",
    "nexthop add id 5 via 10.1.0.7 fdb",
)
RULES = (
    "rule add pref 77 from 10.1.0.0/24 to 10.9.0.0/16 tos 8 iif va oif vb table 1000",
    "rule add pref 78 fwmark 0x10/0xff table 7 ipproto tcp sport 1000-2000 dport 80",
    "rule add pref 86 table 7 uidrange 5-9",
    "rule add pref 79 not from all lookup main suppress_prefixlength 3 suppress_ifgroup 4",
    "rule add pref 80 from 10.8.0.1 blackhole protocol bgp",
    "rule add pref 81 goto 32766",
    "rule add pref 82 tun_id 1234 lookup main",
    "rule add pref 83 l3mdev",
    "-6 rule add pref 84 from fd00::/64 prohibit",
    "-6 rule add pref 85 iif nowhere table 9",
)
NEIGHBOURS = (
    "neigh add 10.1.0.3 lladdr 02:00:00:00:00:03 dev va",
    "neigh add 10.1.0.4 lladdr 02:00:00:00:00:04 dev va nud stale protocol bgp",
    "neigh add 10.1.0.5 dev va nud failed",
    "neigh add proxy 10.1.0.6 dev va",
    "-6 neigh add fd00::3 lladdr 02:00:00:00:00:05 dev va router nud reachable",
    "neigh add 10.1.0.7 lladdr 02:00:00:00:00:07 dev va extern_learn",
)


class Scene:
    """The network of a private namespace."""

    def __init__(self) -> None:
        self.tool = tool("ip", "iproute2")
        self.lacking: dict[str, str] = {}  # unsupported kind: the error text

    def build(self) -> None:
        self.must("link set lo up", "link add va mtu 1480 txqueuelen 77 type veth peer name vb")
        self.must("link set va alias outer", "link set va group 5 allmulticast on")
        self.must("link property add dev va altname va-alt1", "link property add dev va altname va-alt2")
        self.must("link set va up", "link set vb up")
        for kind, commands in LINKS.items():
            self.may(kind, *commands)
        self.must(*ADDRESSES)
        for command in (*NEXTHOPS, *ROUTES, *ENCAPSULATED, *RULES, *NEIGHBOURS):
            self.may(command, command)

    def must(self, *commands: str) -> None:
        for command in commands:
            done = self.run(*command.split())
            assert done.returncode == 0, f"ip {command}: {done.stderr}"

    def may(self, what: str, *commands: str) -> None:
        for command in commands:
            done = self.run(*command.split())
            if done.returncode:
                self.lacking[what] = done.stderr.strip()
                return

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [self.tool, *words]
        return subprocess.run(command, check=False, capture_output=True, text=True, env=unsanitized())

    def ip_json(self, *words: str) -> list[dict[str, Any]]:
        """The output of `ip -j` as JSON, without the empty objects that ip prints for hidden entries."""
        done = self.run("-j", "-d", *words)
        assert done.returncode == 0, f"ip {words}: {done.stderr}"
        return [one for one in json.loads(done.stdout or "[]") if one]
