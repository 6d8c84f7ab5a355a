"""The reason for a source's unavailability, and its remedy."""

import ctypes
import dataclasses
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlbus.sources import Source, find, sources
from nlbus.sources.probe import absent, probe
from tests.support.sockets import NOBODY, Child, NotPermitted

CLONE_NEWNET, CLONE_NEWUSER, CLONE_NEWPID = 0x4000_0000, 0x1000_0000, 0x2000_0000
probing = sys.modules["nlbus.sources.probe"]
NETFILTER = ("conntrack", "nftables", "nflog")


def tried(source: Source) -> Source:
    found = probe(source)
    assert found is not None
    return found


def unshared(flags: int, work: Callable[[], Any]) -> Any:
    """The result of `work` in a child in new namespaces; for a pid namespace, in the child's child."""

    def inside() -> Any:
        if ctypes.CDLL(None, use_errno=True).unshare(flags) != 0:
            raise NotPermitted(f"other namespaces: unshare: {os.strerror(ctypes.get_errno())}")
        return Child(work).result() if flags & CLONE_NEWPID else work()

    return Child(inside).result()


def by_name() -> dict[str, Source]:
    return {source.name: source for source in sources()}


def may_ask_netfilter() -> None:
    if "joining needs" in tried(find("conntrack")).reason:
        pytest.skip("asking netfilter needs CAP_NET_ADMIN")


def test_an_ordinary_users_reasons_name_the_privileges() -> None:
    found = Child(by_name, uid=NOBODY).result()
    for name in (*NETFILTER, "xfrm"):
        assert found[name].available is False
        assert "CAP_NET_ADMIN" in found[name].reason
    assert "CAP_AUDIT_READ" in found["audit"].reason or "first network" in found["audit"].reason
    assert found["sock_diag"].available is True
    assert found["genl:nlctrl"].available is True


def test_the_reason_for_a_refused_group_names_it() -> None:
    found = Child(by_name, uid=NOBODY).result()
    if "genl:mptcp_pm" not in found:
        pytest.skip("this kernel has no mptcp_pm (CONFIG_MPTCP)")
    assert found["genl:mptcp_pm"].available is False
    assert "group mptcp_pm_events: joining needs CAP_NET_ADMIN" in found["genl:mptcp_pm"].reason


@pytest.mark.parametrize("name", ["proc", "audit"])
def test_in_another_network_namespace_the_reason_names_the_first_one(name: str) -> None:
    if not probing._in_first("net"):
        assert "first network" in tried(find(name)).reason
        return
    found = unshared(CLONE_NEWNET, lambda: tried(find(name)))
    assert found.available is False
    assert found.reason.startswith("only the first network namespace hears it")
    assert "netns=1" in found.reason


def test_in_a_container_procs_reason_names_it() -> None:
    found = unshared(CLONE_NEWUSER | CLONE_NEWPID, lambda: tried(find("proc")))
    assert found.available is False
    assert "pid and user namespace hears it" in found.reason
    assert "outside of any container" in found.reason


@pytest.mark.parametrize("name", NETFILTER)
def test_a_subsystem_that_does_not_reply_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    may_ask_netfilter()
    monkeypatch.setattr(probing, "_config", lambda: "")
    source = find(name)
    assert source.ask is not None
    nobody = dataclasses.replace(source, ask=(63 << 8, source.ask[1]))
    assert (
        tried(nobody).reason == f"this kernel has no {name} ({source.option}): try `modprobe {source.module}`"
    )


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("", "(CONFIG_XFRM_USER): try `modprobe xfrm_user`"),
        ("CONFIG_XFRM_USER=m\n", "(CONFIG_XFRM_USER): try `modprobe xfrm_user`"),
        ("# CONFIG_XFRM_USER is not set\n", "(CONFIG_XFRM_USER is not set)"),
    ],
)
def test_the_kernels_configuration_decides_whether_a_module_is_suggested(
    config: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "_config", lambda: config)
    assert absent(find("xfrm")).reason == f"this kernel has no NETLINK_XFRM {reason}"


def test_a_source_not_built_into_the_kernel_is_missing_although_its_protocol_exists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probing, "_config", lambda: "CONFIG_NET=y\n# CONFIG_INET_DIAG is not set\n")
    assert tried(find("sock_diag")).reason == "this kernel has no sock_diag (CONFIG_INET_DIAG is not set)"
    assert tried(find("route")).available is True


def test_an_unreadable_configuration_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(errno.EACCES, "no")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(Path, "read_text", refuse)
    assert probing._config.__wrapped__() == ""
