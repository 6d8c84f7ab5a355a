"""genl: generic netlink families by name; only the kernel knows their numbers and groups."""

from collections.abc import Callable

import pytest

from nlbus import KernelError, PermissionDenied, Subscriber, UnknownSource
from nlbus.kernel.netns import inside
from nlbus.sources import Source, find
from tests.support.sockets import NOBODY, Child, drain, heard, ip, payloads

Subscribe = Callable[..., Subscriber]
NETDEV_CMD_DEV_ADD_NTF, NETDEV_CMD_DEV_DEL_NTF = 2, 3
ETHTOOL_MSG_FEATURES_NTF = 13
VETH = "link add va type veth peer name vb"


def family(name: str) -> Source:
    try:
        return find(f"genl:{name}")
    except UnknownSource as error:
        pytest.skip(f"this kernel has no family {name}: {error}")


def test_device_events_come_by_family_and_group(subscribe: Subscribe) -> None:
    netdev = family("netdev")
    sub = subscribe("genl:netdev")
    assert set(sub.groups) == set(netdev.groups.values())
    ip(VETH)
    got = drain(sub, 0.05, atleast=2)
    [number] = netdev.types
    assert set(heard(got)) == {(netdev.groups["mgmt"], number)}
    assert [body[0] for body in payloads(got)].count(NETDEV_CMD_DEV_ADD_NTF) == 2
    ip("link del va")
    got = drain(sub, 0.05, atleast=2)
    assert [body[0] for body in payloads(got)].count(NETDEV_CMD_DEV_DEL_NTF) == 2
    assert sub.stats()["untrusted"] == sub.stats()["malformed"] == 0


def test_a_group_by_its_name(subscribe: Subscribe) -> None:
    netdev = family("netdev")
    sub = subscribe("genl:netdev", groups="page-pool")
    ip(VETH)
    assert drain(sub, 0.05) == []
    sub.join("mgmt")
    assert set(sub.groups) == {netdev.groups["page-pool"], netdev.groups["mgmt"]}
    ip("link del va")
    assert len(heard(drain(sub, 0.05, atleast=2))) >= 2


def test_ethtool_reports_feature_changes(subscribe: Subscribe) -> None:
    ethtool = family("ethtool")
    ip("link add br0 type bridge", VETH)
    sub = subscribe("genl:ethtool", groups="monitor")
    ip("link set va master br0")
    got = drain(sub, 0.05, atleast=1)
    assert {body[0] for body in payloads(got)} == {ETHTOOL_MSG_FEATURES_NTF}
    assert {group for group, _ in heard(got)} == {ethtool.groups["monitor"]}


def test_the_raw_protocol_receives_the_same_by_group_number(subscribe: Subscribe) -> None:
    netdev = family("netdev")
    raw = subscribe("raw:generic", groups=netdev.groups["mgmt"])
    sub = subscribe("genl:netdev", groups="mgmt")
    ip(VETH)
    assert payloads(drain(raw, 0.05, atleast=2)) == payloads(drain(sub, 0.05, atleast=2))


def test_groups_above_32_can_be_joined(subscribe: Subscribe) -> None:
    netdev = family("netdev")
    try:
        sub = subscribe("raw:generic", groups=(netdev.groups["mgmt"], 40))
    except KernelError as error:
        pytest.skip(f"this kernel has no such group: {error}")
    ip(VETH)
    # With NETLINK_PKTINFO on, the other groups are still reported by their numbers.
    assert {group for group, _ in heard(drain(sub, 0.05, atleast=2))} == {netdev.groups["mgmt"]}


def test_families_are_looked_up_in_the_network_namespace(subscribe: Subscribe, netns: int) -> None:
    try:
        quota = inside(netns, lambda: find("genl:VFS_DQUOT"))
    except (UnknownSource, PermissionDenied) as error:
        pytest.skip(f"no family that only the first network namespace has: {error}")
    with pytest.raises(UnknownSource, match="'VFS_DQUOT' in this network namespace"):
        subscribe("genl:VFS_DQUOT")
    assert set(subscribe("genl:VFS_DQUOT", netns=netns).groups) == set(quota.groups.values())


def test_a_family_without_groups_cannot_be_subscribed() -> None:
    with pytest.raises(UnknownSource, match="no multicast groups"):
        find("genl:tcp_metrics")


def test_a_family_may_require_a_privilege(child: Callable[..., Child]) -> None:
    family("mptcp_pm")

    def work() -> str:
        with pytest.raises(PermissionDenied) as caught:
            Subscriber("genl:mptcp_pm", groups="mptcp_pm_events")
        Subscriber("genl:mptcp_pm", groups="mptcp_pm_cmds").close()
        return str(caught.value.strerror)

    error = child(work, uid=NOBODY).result()
    assert error.startswith("joining genl:mptcp_pm (mptcp_pm_events): ")
    assert "CAP_NET_ADMIN" in error
