"""Tables of rtnetlink that need what the kernels of few machines have: VLANs of bridges, VNIs, filters."""

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nlbus import snapshot
from tests.guest.packet_scene import run


def modprobe(*names: str) -> None:
    for name in names:
        if subprocess.run(["modprobe", name], capture_output=True, check=False).returncode:
            pytest.skip(f"no module {name}")


def theirs(command: str) -> Any:
    return json.loads(run(command))


def rows(table: str, **wanted: object) -> list[dict[str, Any]]:
    found = snapshot("route", table)
    assert (found.unknown, found.malformed) == (0, 0)
    every = found.iter_rows(absent=False)
    return [row for row in every if all(row.get(name) == value for name, value in wanted.items())]


def index(name: str) -> int:
    (found,) = [row["ifindex"] for row in snapshot("route", "link").iter_rows() if row["ifname"] == name]
    return int(found)


@pytest.fixture
def bridge(netns: int) -> None:
    """br0, which knows VLANs, with the port d0."""
    modprobe("bridge", "dummy")
    run("ip link add br0 type bridge vlan_filtering 1 mcast_snooping 1")
    run("ip link add d0 type dummy")
    run("ip link set d0 master br0")
    run("ip link set br0 up")
    run("ip link set d0 up")


def test_vlans_are_those_of_bridge(bridge: None) -> None:
    run("bridge vlan add vid 10-14 dev d0")
    run("bridge vlan add vid 20 dev d0 pvid untagged")
    ours = {(row["ifindex"], row["vid"]) for row in rows("vlan")}
    expected = {
        (index(each["ifname"]), vid)
        for each in theirs("bridge -j vlan show")
        for one in each["vlans"]
        for vid in range(one["vlan"], one.get("vlanEnd", one["vlan"]) + 1)
    }
    assert ours == expected
    (native,) = rows("vlan", ifindex=index("d0"), vid=20)
    assert native["flags"] == ["pvid", "untagged"]
    assert native["state"] == "forwarding"


def test_layer_2_groups_have_their_hardware_address(bridge: None) -> None:
    run("bridge mdb add dev br0 port d0 grp 239.1.1.1 permanent vid 1")
    run("bridge mdb add dev br0 port d0 grp 01:00:5e:00:00:07 permanent vid 1")
    ours = {
        row.get("group", row.get("group_mac")) for row in rows("mdb", ifindex=index("br0"), state="permanent")
    }
    assert ours == {"239.1.1.1", "01:00:5e:00:00:07"}


def test_filters_have_the_statistics_of_their_actions(netns: int) -> None:
    modprobe("dummy", "cls_matchall", "act_gact", "sch_ingress", "cls_flower")
    run("ip link add d0 type dummy")
    run("ip link set d0 up")
    run("tc qdisc add dev d0 clsact")
    run("tc filter add dev d0 egress prio 1 matchall action pass")
    run("tc filter add dev d0 ingress prio 2 protocol ip flower dst_ip 10.0.0.0/8 action drop")
    run("ip addr add 10.0.0.1/24 dev d0")
    run("ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:01 dev d0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(bytes(100), ("10.0.0.9", 9))
    (ours,) = rows("tfilter", kind="matchall", parent=0xFFFF_FFF3)[-1:]
    assert ours["matchall_act_kind"] == ["gact"]
    assert ours["matchall_act_packets"][0] >= 1
    assert ours["matchall_act_bytes"][0] >= 100
    (other,) = [row for row in rows("tfilter", kind="flower") if "flower_act_kind" in row]
    assert other["flower_act_packets"] == [0]
    assert {row["chain"] for row in rows("chain")} <= {0}


def test_options_of_queueing_disciplines_are_those_of_tc(netns: int) -> None:
    modprobe("dummy", "sch_fq_codel", "sch_tbf", "sch_fq")
    for number, options in enumerate(
        (
            "fq_codel limit 500 flows 64 quantum 300 target 7ms interval 90ms noecn",
            "tbf rate 8mbit burst 4k limit 9000",
            "fq limit 700 flow_limit 30",
        )
    ):
        run(f"ip link add d{number} type dummy")
        run(f"tc qdisc add dev d{number} root {options}")
    (codel,) = rows("qdisc", kind="fq_codel")
    assert (codel["fq_codel_limit"], codel["fq_codel_flows"], codel["fq_codel_quantum"]) == (500, 64, 300)
    assert abs(codel["fq_codel_target"] - 7000) < 3
    assert codel["fq_codel_ecn"] == 0
    (tbf,) = rows("qdisc", kind="tbf")
    assert (tbf["tbf_rate"], tbf["tbf_limit"]) == (1_000_000, 9000)
    (fq,) = rows("qdisc", kind="fq")
    assert (fq["fq_plimit"], fq["fq_flow_plimit"]) == (700, 30)


def test_vnis_of_a_tunnel(netns: int) -> None:
    modprobe("vxlan")
    run("ip link add vx0 type vxlan dstport 4789 external vnifilter")
    run("bridge vni add vni 10-12 dev vx0")
    run("bridge vni add vni 20 remote 10.0.0.9 dev vx0")
    run("ip link set vx0 up")
    assert {row["start"] for row in rows("tunnel")} == {10, 11, 12, 20}
    assert [row["group"] for row in rows("tunnel", start=20)] == ["10.0.0.9"]


def test_virtual_functions_are_those_of_ip(netns: int) -> None:
    modprobe("netdevsim")
    Path("/sys/bus/netdevsim/new_device").write_text("77 1")
    try:
        Path("/sys/bus/netdevsim/devices/netdevsim77/sriov_numvfs").write_text("2")
        (link,) = (each for each in Path("/sys/bus/netdevsim/devices/netdevsim77/net").iterdir())
        run(f"ip link set {link.name} vf 1 mac 02:00:00:00:00:09 vlan 7 qos 3")
        run(f"ip link set {link.name} vf 0 max_tx_rate 500 min_tx_rate 100")
        (ours,) = rows("link", ifname=link.name)
        (ip,) = theirs(f"ip -j link show {link.name}")
        assert ours["num_vf"] == len(ip["vfinfo_list"]) == 2
        assert ours["vf_number"] == [each["vf"] for each in ip["vfinfo_list"]]
        assert ours["vf_mac"] == [each["address"] for each in ip["vfinfo_list"]]
        assert ours["vf_vlan"] == [0, 7]
        assert ours["vf_vlan_qos"] == [0, 3]
        assert (ours["vf_min_tx_rate"], ours["vf_max_tx_rate"]) == ([100, 0], [500, 0])
    finally:
        Path("/sys/bus/netdevsim/del_device").write_text("77")
