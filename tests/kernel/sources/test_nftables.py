"""nftables: rule changes and packet traces."""

import socket
from collections.abc import Callable

import pytest

from nlbus import PermissionDenied, Subscriber
from nlbus.sources import find
from tests.support.sockets import NOBODY, Child, drain, heard, ip, run

Subscribe = Callable[..., Subscriber]


def names(pairs: list[tuple[int, int]]) -> list[str]:
    found = [find("nftables").type_name(kind) for _, kind in pairs]
    return [str(name).removeprefix("NFT_MSG_") for name in found]


def test_each_change_comes_with_its_type_and_a_new_generation(subscribe: Subscribe) -> None:
    sub = subscribe("nftables")
    for change, expected in [
        ("add table ip t", ["NEWTABLE", "NEWGEN"]),
        ("add chain ip t c { type filter hook output priority 0; }", ["NEWCHAIN", "NEWGEN"]),
        ("add rule ip t c udp dport 9 drop", ["NEWRULE", "NEWGEN"]),
        ("add set ip t s { type ipv4_addr; }", ["NEWSET", "NEWGEN"]),
        ("add element ip t s { 10.0.0.1 }", ["NEWSETELEM", "NEWGEN"]),
        ("add counter ip t n", ["NEWOBJ", "NEWGEN"]),
        ("flush chain ip t c", ["DELRULE", "NEWGEN"]),
        ("delete set ip t s", ["DELSET", "NEWGEN"]),
    ]:
        run("nft", change)
        got = heard(drain(sub, 0.02, atleast=len(expected)))
        assert names(got) == expected, change
        assert {group for group, _ in got} == {7}
    run("nft", "delete table ip t")
    assert set(names(heard(drain(sub, 0.05)))) == {"DELCHAIN", "DELOBJ", "DELTABLE", "NEWGEN"}
    assert sub.stats()["untrusted"] == sub.stats()["malformed"] == 0


def test_packets_are_traced(subscribe: Subscribe) -> None:
    ip("link set lo up")
    run("nft", "add table ip t; add chain ip t c { type filter hook output priority 0; }")
    run("nft", "add rule ip t c udp dport 9 meta nftrace set 1 accept")
    sub = subscribe("nftables", groups="trace")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"x", ("127.0.0.1", 10))
        udp.sendto(b"x", ("127.0.0.1", 9))
    got = heard(drain(sub, 0.05, atleast=1))
    assert set(names(got)) == {"TRACE"}
    assert {group for group, _ in got} == {9}


def test_an_ordinary_users_error_names_the_privilege(child: Callable[..., Child]) -> None:
    def work() -> str:
        with pytest.raises(PermissionDenied) as caught:
            Subscriber("nftables")
        return str(caught.value.strerror)

    assert "CAP_NET_ADMIN" in child(work, uid=NOBODY).result()
