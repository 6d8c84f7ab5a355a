"""Sources: names and groups, and their availability on this kernel for this user."""

import ctypes
import dataclasses
import errno
import os
import pickle
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlbus.errors import SchemaError, UnknownSource
from nlbus.kernel.groups import Groups
from nlbus.sources import SOURCES, Source, find, group_names, resolve_groups, sources
from nlbus.sources.probe import absent, probe

NOBODY = 65534
CAP_NET_ADMIN = 12
CLONE_NEWUSER_NEWNET = 0x10000000 | 0x40000000
RTNETLINK_H = Path("/usr/include/linux/rtnetlink.h")


def effective(capability: int) -> bool:
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^CapEff:\s*(\w+)", status, re.MULTILINE)
    assert found is not None
    return bool(int(found[1], 16) >> capability & 1)


def in_child(uid: int, work: Callable[[], Any]) -> Any:
    """Return what `work` returns in a forked child that has become `uid`."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            become(uid)
            result = work()
        except BaseException as error:
            result = error
        os.write(write, pickle.dumps(result))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        result = pickle.load(pipe)
    os.waitpid(child, 0)
    if isinstance(result, NotMappedError):
        pytest.skip(f"needs uid {uid}, which this user namespace does not map")
    if isinstance(result, BaseException):
        raise result
    return result


class NotMappedError(Exception):
    """This user namespace does not map the user."""


def become(uid: int) -> None:
    try:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    except OSError as error:
        raise NotMappedError from error


# names


@pytest.mark.parametrize(
    ("name", "protocol", "framing"),
    [
        ("bus", 2, "bus"),
        ("route", 0, "nlmsg"),
        ("uevent", 15, "datagram"),
        ("proc", 11, "nlmsg"),
        ("conntrack", 12, "nlmsg"),
        ("nftables", 12, "nlmsg"),
        ("nflog", 12, "nlmsg"),
        ("xfrm", 6, "nlmsg"),
        ("sock_diag", 4, "nlmsg"),
        ("audit", 9, "nlmsg"),
        ("genl:nlctrl", 16, "nlmsg"),
        ("raw:2", 2, "nlmsg"),
        ("raw:usersock", 2, "nlmsg"),
        ("raw:NETLINK_GENERIC", 16, "nlmsg"),
        ("raw:31", 31, "nlmsg"),
        ("raw:inet_diag", 4, "nlmsg"),
    ],
)
def test_a_source_is_found_by_its_name(name: str, protocol: int, framing: str) -> None:
    source = find(name)
    assert (source.protocol, source.framing, source.available) == (protocol, framing, None)


def test_the_error_for_an_unknown_source_lists_sources_and_suggests_one() -> None:
    with pytest.raises(
        UnknownSource, match=r"'rout' \(did you mean 'route'\?\).*bus, route, uevent, .*genl:.* and raw:"
    ):
        find("rout")
    with pytest.raises(UnknownSource, match="did you mean 'usersock'"):
        find("raw:usersok")
    with pytest.raises(UnknownSource, match=r"'nlctl'.* \(did you mean 'nlctrl'\?\): there are nlctrl"):
        find("genl:nlctl")


@pytest.mark.parametrize(
    "name",
    [
        "genl:",
        "genl:no such",
        "genl:" + "x" * 15,
        "genl:" + "x" * 16,
        "genl:" + "x" * 70_000,
        "genl:\udc80\0",
        "genl",
        "Route",
    ],
)
def test_an_invalid_family_name_is_unknown(name: str) -> None:
    with pytest.raises(UnknownSource):
        find(name)


@pytest.mark.parametrize(
    "name", ["raw:", "raw:32", "raw:-1", "raw:" + "9" * 5000, "raw:²", "raw", "", 5, None, []]
)
def test_an_invalid_source_name_is_unknown(name: Any) -> None:
    with pytest.raises(UnknownSource):
        find(name)


def test_each_source_has_its_default_trust() -> None:
    bus, route, uevent, raw = map(find, ("bus", "route", "uevent", "raw:2"))
    assert (bus.user_groups, bus.trust_self) == (0xFFFF_FFFF, True)
    assert (route.user_groups, route.trust_self) == (0, False)
    assert (uevent.user_groups, uevent.trust_self) == (0b10, False)
    assert (raw.user_groups, raw.trust_self) == (0xFFFF_FFFF, True)


@pytest.mark.parametrize(
    "name", ["proc", "conntrack", "nftables", "nflog", "xfrm", "sock_diag", "audit", "genl:nlctrl"]
)
def test_only_the_kernel_is_trusted_on_kernel_sources(name: str) -> None:
    source = find(name)
    assert (source.user_groups, source.trust_self) == (0, False)


def test_the_kernel_reports_unbuilt_events_on_route_netfilter_and_generic() -> None:
    reporting = {name for name in SOURCES if find(name).sentinel}
    assert reporting == {"route", "conntrack", "nftables"}
    assert find("genl:nlctrl").sentinel
    assert [find(f"raw:{n}").sentinel for n in ("route", "netfilter", "generic", "audit")] == [True] * 3 + [
        False
    ]


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("route", 16, "RTM_NEWLINK"),
        ("route", 25, "RTM_DELROUTE"),
        ("route", 19, "RTM_SETLINK"),
        ("route", 120, "RTM_NEWTUNNEL"),
        ("route", 124, None),
        ("route", 15, None),
        ("raw:route", 16, "RTM_NEWLINK"),
        ("raw:netfilter", 0x102, "IPCTNL_MSG_CT_DELETE"),
        ("raw:netfilter", 0x400, "NFULNL_MSG_PACKET"),
        ("bus", 16, None),
        ("raw:usersock", 3, "NLMSG_DONE"),
        ("proc", 3, "NLMSG_DONE"),
        ("genl:nlctrl", 16, "nlctrl"),
    ],
)
def test_message_types_have_the_kernels_names(name: str, number: int, expected: str | None) -> None:
    assert find(name).type_name(number) == expected


def test_sources_compare_by_value() -> None:
    assert find("raw:2") == find("raw:2")
    assert len({find("route"), find("route")}) == 1
    for name in (*SOURCES, "genl:nlctrl"):
        assert pickle.loads(pickle.dumps(find(name))) == find(name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        find("route").protocol = 1  # type: ignore[misc]


@pytest.mark.skipif(not RTNETLINK_H.exists(), reason="no kernel headers: linux/rtnetlink.h")
def test_route_groups_are_those_of_the_kernel_header() -> None:
    body = RTNETLINK_H.read_text().partition("enum rtnetlink_groups {")[2].partition("__RTNLGRP_MAX")[0]
    members = re.findall(r"^\s*RTNLGRP_(\w+),", body, re.MULTILINE)
    assert members[:2] == ["NONE", "LINK"]
    header = {
        name.lower(): number
        for number, name in enumerate(members)
        if number and not name.startswith(("DECnet", "NOP"))
    }
    ours = dict(find("route").groups)
    known = {name: number for name, number in header.items() if number <= max(ours.values())}
    assert known == {name: number for name, number in ours.items() if number < len(members)}
    assert list(ours.values()) == sorted(ours.values())


# groups


@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [
        ("bus", 3, Groups(3)),
        ("bus", (1, 32), Groups(1, 32)),
        ("bus", "7", Groups(7)),
        ("bus", np.array([1, 7], dtype=np.uint8), Groups(1, 7)),
        ("bus", np.uint32(7), Groups(7)),
        ("bus", Groups(2), Groups(2)),
        ("route", "link", Groups(1)),
        ("route", ["link", 33, "IPV4-Route"], Groups(1, 7, 33)),
        ("route", 4000, Groups(4000)),
        ("route", None, Groups(1, 3, 5, 7, 8, 9, 11, 19, 32)),
        ("uevent", None, Groups(1)),
        ("uevent", {"kernel", "udev"}, Groups(1, 2)),
        ("raw:generic", 77, Groups(77)),
        ("conntrack", None, Groups(1, 2, 3)),
        ("conntrack", ["new", "exp-destroy"], Groups(1, 6)),
        ("nftables", "trace", Groups(9)),
        ("xfrm", None, Groups(2, 3, 4, 5, 6, 7, 8)),
        ("nflog", None, Groups(65536)),
        ("nflog", "0", Groups(65536)),
        ("nflog", ["0", "7", 65535], Groups(7, 65535, 65536)),
        ("genl:nlctrl", None, Groups(16)),
        ("genl:nlctrl", "NOTIFY", Groups(16)),
    ],
)
def test_numbers_names_and_mixtures_become_groups(name: str, wanted: Any, expected: Groups) -> None:
    assert resolve_groups(find(name), wanted) == expected


@pytest.mark.parametrize(
    ("name", "wanted", "message"),
    [
        ("bus", None, "no default"),
        ("raw:2", None, "no default"),
        ("bus", 33, "1 to 32"),
        ("bus", "33", "1 to 32"),
        ("bus", 0, "numbered from 1"),
        ("bus", "0", "numbered from 1"),
        ("route", "9" * 5000, "numbered from 1"),
        ("bus", True, "numbered from 1"),
        ("bus", 1.5, "numbered from 1"),
        ("bus", b"1", "numbered from 1"),
        ("bus", (), "empty"),
        ("route", Groups(), "empty"),
        ("nflog", 0, 'groups="0"'),
        ("nflog", (5, np.uint8(0)), 'groups="0"'),
        ("nflog", False, "numbered from 1"),
        ("nflog", 65537, "1 to 65536"),
        ("conntrack", 0, "numbered from 1"),
    ],
)
def test_an_invalid_group_is_a_schema_error(name: str, wanted: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        resolve_groups(find(name), wanted)


def test_the_error_for_an_unknown_group_lists_the_names() -> None:
    with pytest.raises(UnknownSource, match=r"'neighbor' on route \(did you mean 'neigh'\?\).*link, notify"):
        resolve_groups(find("route"), ["link", "neighbor"])
    with pytest.raises(UnknownSource, match="numbers only"):
        resolve_groups(find("bus"), "link")


def test_groups_are_shown_by_name_if_they_have_one() -> None:
    assert group_names(find("route"), Groups(1, 13, 39)) == ("link", "13", "ipv6_acaddr")
    assert group_names(find("bus"), [7, 1]) == ("7", "1")
    assert group_names(find("nflog"), [5, 65536]) == ("5", "0")


# availability


def by_name(found: list[Source]) -> dict[str, Source]:
    return {source.name: source for source in found}


def test_sources_lists_what_is_available_to_this_user() -> None:
    found = by_name(sources())
    assert list(found)[:3] == ["bus", "route", "uevent"]
    assert found["route"].available is True
    assert found["uevent"].available is True
    assert found["bus"].available is effective(CAP_NET_ADMIN)
    assert {"raw:route", "raw:usersock", "genl:nlctrl"} <= set(found)
    for source in found.values():
        assert isinstance(source.available, bool)
        assert bool(source.reason) is not source.available


def test_sources_omits_raw_protocols_that_the_kernel_lacks() -> None:
    answered = set()
    for protocol in range(32):
        try:
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol).close()
        except OSError as error:
            if error.errno == errno.EPROTONOSUPPORT:
                continue
            raise
        answered.add(protocol)
    assert {source.protocol for source in sources() if source.name.startswith("raw:")} == answered


def test_an_ordinary_user_has_route_and_uevent_and_a_reason_for_the_bus() -> None:
    found = by_name(in_child(NOBODY, sources))
    assert found["route"].available is True
    assert found["uevent"].available is True
    for name in ("bus", "raw:usersock"):
        assert found[name].available is False
        assert "CAP_NET_ADMIN" in found[name].reason
        assert "unshare -Urn" in found[name].reason


def test_the_advice_for_the_bus_works_for_an_ordinary_user() -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def unshared() -> list[Source] | int:
        if libc.unshare(CLONE_NEWUSER_NEWNET) != 0:
            return ctypes.get_errno()
        return sources()

    found = in_child(NOBODY, unshared)
    if isinstance(found, int):
        pytest.skip(f"this machine gives ordinary users no user namespaces: {os.strerror(found)}")
    assert by_name(found)["bus"].available is True


def test_sources_leaks_no_socket() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    sources()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_reason_for_a_missing_protocol_names_the_kernel_option() -> None:
    gone = absent(find("bus"))
    assert (gone.available, gone.reason) == (False, "this kernel has no NETLINK_USERSOCK (CONFIG_NET)")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EACCES, "security policy"),
        (errno.EAFNOSUPPORT, "CONFIG_NET"),
        (errno.EMFILE, "ulimit"),
        (errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
)
def test_a_refused_socket_has_its_reason(number: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "socket", refuse)
    tried = probe(find("route"))
    assert tried is not None
    assert tried.available is False
    assert message in tried.reason


def test_a_group_that_the_kernel_lacks_makes_the_source_unavailable() -> None:
    tried = probe(dataclasses.replace(find("route"), probe=Groups(1, 100_000)))
    assert tried is not None
    assert tried.available is False
    assert "group 100000" in tried.reason
    assert os.strerror(errno.EINVAL) in tried.reason
