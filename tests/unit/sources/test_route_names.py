"""Attributes and numbers in route's schemas, compared with the kernel's headers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

import nlbus
from nlbus.schema.schema import Elements, Entry, Nest, Schema, Select, walk
from nlbus.sources import find
from nlbus.sources.route import link, linkinfo, names, tunnels
from tests.support import columns_reference

INCLUDE = Path("/usr/include/linux")
HEADERS = """if_link.h if_addr.h if_arp.h if.h rtnetlink.h neighbour.h fib_rules.h nexthop.h netconf.h
    pkt_sched.h pkt_cls.h gen_stats.h if_tunnel.h if_bridge.h if_bonding.h lwtunnel.h net_namespace.h mroute.h
    icmpv6.h if_vlan.h in.h
    netfilter/nfnetlink_conntrack.h"""
# Added after kernel 6.1: a machine's headers may lack them, so these tests do not require them.
NEWER = """IFLA_DEVLINK_PORT IFLA_GSO_IPV4_MAX_SIZE IFLA_GRO_IPV4_MAX_SIZE IFLA_DPLL_PIN
    IFLA_MAX_PACING_OFFLOAD_HORIZON IFLA_NETNS_IMMUTABLE IFLA_HEADROOM IFLA_TAILROOM IFLA_VXLAN_LOCALBYPASS
    IFLA_VXLAN_LABEL_POLICY IFLA_VXLAN_RESERVED_BITS IFLA_VXLAN_MC_ROUTE IFLA_GENEVE_PORT_RANGE
    IFLA_BR_FDB_N_LEARNED IFLA_BR_FDB_MAX_LEARNED IFLA_BRPORT_MAB IFLA_BRPORT_MCAST_N_GROUPS
    IFLA_BRPORT_MCAST_MAX_GROUPS IFLA_BRPORT_NEIGH_VLAN_SUPPRESS IFLA_BRPORT_BACKUP_NHID
    IFLA_GENEVE_GRO_HINT IFLA_GENEVE_LOCAL IFLA_GENEVE_LOCAL6 IFLA_BR_STP_MODE IFLA_BRPORT_NEIGH_FORWARD_GRAT
    IFLA_BOND_LACP_STRICT IFLA_BOND_SLAVE_AD_CHURN_ACTOR_STATE IFLA_BOND_SLAVE_AD_CHURN_PARTNER_STATE
    IFLA_OVPN_MODE
    IFLA_BOND_COUPLED_CONTROL IFLA_BOND_BROADCAST_NEIGH IFLA_BOND_SLAVE_ACTOR_PORT_PRIO IFLA_MACVLAN_BC_CUTOFF
    RTA_FLOWLABEL FRA_DSCP FRA_FLOWLABEL FRA_FLOWLABEL_MASK FRA_SPORT_MASK FRA_DPORT_MASK FRA_DSCP_MASK
    BRIDGE_VLANDB_ENTRY_MCAST_MAX_GROUPS BRIDGE_VLANDB_ENTRY_MCAST_N_GROUPS BRIDGE_VLANDB_ENTRY_NEIGH_SUPPRESS
    MDBA_MDB_EATTR_DST MDBA_MDB_EATTR_DST_PORT MDBA_MDB_EATTR_IFINDEX MDBA_MDB_EATTR_SRC_VNI
    MDBA_MDB_EATTR_VNI
    TCA_FQ_OFFLOAD_HORIZON TCA_FQ_PRIOMAP TCA_FQ_WEIGHTS
    NHA_OP_FLAGS NHA_GROUP_STATS NHA_HW_STATS_ENABLE NHA_HW_STATS_USED NETCONFA_FORCE_FORWARDING"""


DEFINED = re.compile(
    r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+\(?(0[xX][0-9a-fA-F]+|\d+)U?\)?[ \t]*$", re.MULTILINE
)
BIT = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+\(1U?\s*<<\s*(\d+)\)[ \t]*$", re.MULTILINE)


def constants(text: str) -> Iterator[tuple[str, int]]:
    """Enum members, and macros defined as a number or a bit."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*|\\\n", "", text, flags=re.DOTALL)
    yield from ((name, int(number, 0)) for name, number in DEFINED.findall(text))
    yield from ((name, 1 << int(bit)) for name, bit in BIT.findall(text))
    text = re.sub(r"^[ \t]*#.*$", "", text, flags=re.MULTILINE)
    known: dict[str, int] = {}
    for body in re.findall(r"\benum\b[^{;]*\{(.*?)\}", text, re.DOTALL):
        number = -1
        for member in filter(None, map(str.strip, body.split(","))):
            name, _, value = (part.strip() for part in member.partition("="))
            try:
                number = eval(value, {"__builtins__": {}}, known) if value else number + 1
            except (NameError, SyntaxError, TypeError):
                break
            known[name] = number
            yield name, number


@pytest.fixture(scope="module")
def kernel() -> Mapping[str, int]:
    if not (INCLUDE / "rtnetlink.h").exists():
        pytest.skip("no kernel headers: linux/rtnetlink.h")
    return {
        name: number for file in HEADERS.split() for name, number in constants((INCLUDE / file).read_text())
    }


def schemas() -> list[Schema]:
    return [each for each in find("route").schemas if isinstance(each, Schema)]


def test_attributes_have_the_kernels_numbers(kernel: Mapping[str, int]) -> None:
    ours = {
        entry.kernel: entry.number
        for each in schemas()
        for entry in reversed([*walk(each.entries)])  # attributes in a nest may have the nest's name
        if not entry.kernel.rpartition("_")[2].isdigit()  # stands for several
        if not entry.kernel.startswith(("AF_", "IFLA_NETKIT_"))
    }
    assert len(ours) > 400
    assert {name: kernel[name] for name in ours.keys() & kernel.keys()} == {
        name: ours[name] for name in ours.keys() & kernel.keys()
    }
    assert ours.keys() - kernel.keys() <= set(NEWER.split())


def levels(prefix: str, entries: Sequence[Entry]) -> Iterator[tuple[str, set[int]]]:
    """The prefix of each attribute set, and its numbers in the schema."""
    yield prefix, {entry.number for entry in entries}
    for entry in entries:
        if isinstance(entry, Nest | Elements):
            yield from levels(entry.prefix, entry.entries)
        elif isinstance(entry, Select):
            for inner, cases in entry.cases.values():
                yield from levels(inner, cases)


def test_padding_is_known(kernel: Mapping[str, int]) -> None:
    found = [
        (prefix, kernel[f"{prefix}PAD"], numbers)
        for source in ("route", "conntrack")
        for each in find(source).schemas
        if isinstance(each, Schema) and each.entries
        for prefix, numbers in levels(each.prefix, each.entries)
        if f"{prefix}PAD" in kernel
    ]
    assert {prefix for prefix, number, numbers in found if number not in numbers} <= {"IFLA_", "RTA_"}
    assert {"NHA_RES_GROUP_", "CTA_COUNTERS_", "IFLA_BR_"} <= {prefix for prefix, _, _ in found}


def test_message_types_have_the_kernels_names() -> None:
    types = find("route").types
    others = {"fdb": "NEIGH", "brport": "LINK", "ipv6_ifinfo": "LINK", "mpls_route": "ROUTE"}
    for each in schemas():
        kind = others.get(each.name) or each.name.replace("_", "").upper()
        assert {types[op.type] for op in each.ops} <= {
            f"RTM_{verb}{kind}" for verb in ("NEW", "DEL", "GET", "SET")
        }
        assert all(types[op.type].startswith("RTM_DEL") == (op.op == "del") for op in each.ops)


@pytest.mark.parametrize(
    ("prefix", "ours"),
    [
        ("IFF_", names.LINK_FLAGS),
        ("IF_OPER_", names.OPERSTATES),
        ("IF_LINK_MODE_", names.LINK_MODES),
        ("IFLA_EVENT_", names.LINK_EVENTS),
        ("XDP_ATTACHED_", names.XDP_ATTACHED),
        ("IN6_ADDR_GEN_MODE_", names.ADDR_GEN_MODES),
        ("ARPHRD_", names.LINK_TYPES),
        ("IFA_F_", names.ADDR_FLAGS),
        ("IFAPROT_", names.ADDR_PROTOCOLS),
        ("RTN_", names.ROUTE_TYPES),
        ("RTPROT_", names.ROUTE_PROTOCOLS),
        ("RT_SCOPE_", names.SCOPES),
        ("RT_TABLE_", names.TABLES),
        ("RTNH_F_", names.HOP_FLAGS),
        ("RTM_F_", {bit: name for bit, name in names.ROUTE_FLAGS.items() if bit >= 0x100}),
        ("ICMPV6_ROUTER_PREF_", names.ROUTER_PREFERENCES),
        ("LWTUNNEL_ENCAP_", names.ENCAPSULATIONS),
        ("RTAX_FEATURE_", names.FEATURES),
        ("NEXTHOP_GRP_TYPE_", names.NEXTHOP_GROUPS),
        ("FR_ACT_", names.RULE_ACTIONS),
        ("FIB_RULE_", names.RULE_FLAGS),
        ("IPPROTO_", names.IP_PROTOCOLS),
        ("NUD_", names.NEIGH_STATES),
        ("NTF_", names.NEIGH_FLAGS),
        ("NTF_EXT_", names.NEIGH_FLAGS_EXT),
        ("TUNNEL_ENCAP_", tunnels.ENCAPSULATIONS),
        ("TUNNEL_ENCAP_FLAG_", tunnels.ENCAPSULATION_FLAGS),
        ("VXLAN_DF_", linkinfo.DONT_FRAGMENT),
        ("MDB_RTR_TYPE_", linkinfo.MULTICAST_ROUTER),
    ],
)
def test_numbers_have_the_kernels_names(
    prefix: str, ours: Mapping[int, str], kernel: Mapping[str, int]
) -> None:
    theirs = {name.removeprefix(prefix).lower(): n for name, n in kernel.items() if name.startswith(prefix)}
    mine = {name: number for number, name in ours.items()}
    shared = mine.keys() & theirs.keys()
    assert {name: theirs[name] for name in shared} == {name: mine[name] for name in shared}
    assert len(shared) >= len(mine) - 7


def test_metrics_that_are_locked_have_the_kernels_names(kernel: Mapping[str, int]) -> None:
    for bit, name in names.METRICS.items():
        assert 1 << kernel[f"RTAX_{name.upper()}"] == bit


def test_statistics_are_the_kernels_struct() -> None:
    if not (INCLUDE / "if_link.h").exists():
        pytest.skip("no kernel headers: linux/if_link.h")
    text = re.sub(r"/\*.*?\*/", "", (INCLUDE / "if_link.h").read_text(), flags=re.DOTALL)
    body = text.partition("struct rtnl_link_stats64 {")[2].partition("}")[0]
    theirs = re.findall(r"__u64\s+(\w+);", body)
    assert [field.name for field in link.STATS64][: len(theirs)] == theirs


def test_targets_of_bonds_have_the_attributes_name() -> None:
    columns = nlbus.schema("route", "link")
    for name in "arp_ip_target", "ns_ip6_target":
        assert columns[f"linkinfo_bond_{name}"].attribute == f"IFLA_BOND_{name.upper()}"


def test_column_names_are_unique_unless_shared_on_purpose(kernel: Mapping[str, int]) -> None:
    """A header field and an attribute with the same name share a column, as do addresses of both families."""
    meant = {
        "flags",
        "table",
        "family",
        "group",
        "tbf_rate",
        "tbf_peakrate",
        "htb_rate",
        "htb_ceil",
        "stats_packets",
    }
    meant |= {"stats_rate_est_bps", "stats_rate_est_pps"}  # in 32 bits, and in 64
    for each in schemas():
        found = list(columns_reference.columns_of(each))
        twice = {name for name in found if found.count(name) > 1}
        assert {
            name
            for name in twice
            if not name.endswith(("_group", "_local", "_remote", "_target")) and "_act_" not in name
        } <= meant


def test_every_table_has_existing_keys_and_groups() -> None:
    groups = find("route").groups
    for each in schemas():
        columns = {column.name for column in nlbus.schema("route", each.name).columns}
        assert columns >= set(each.key), each.name
        assert groups.keys() >= set(each.groups), each.name
        assert each.groups, each.name
        assert each.about, each.name
    covered = {group for each in schemas() for group in each.groups}
    assert groups.keys() - covered == {"notify"}  # the kernel sends nothing there
