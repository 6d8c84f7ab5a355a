"""xfrm: policies added, changed, expired and deleted."""

import socket
from collections.abc import Callable

import pytest

from nlbus import KernelError, PermissionDenied, Subscriber
from nlbus.sources import find
from tests.support.sockets import NOBODY, Child, drain, heard, ip, run

Subscribe = Callable[..., Subscriber]
ACQUIRE, EXPIRE, SA, POLICY = 1, 2, 3, 4
SELECTOR = "src 10.0.0.1 dst 10.0.0.2 dir out"


@pytest.fixture(autouse=True)
def _built() -> None:
    try:
        Subscriber("xfrm").close()
    except KernelError as error:
        pytest.skip(f"this kernel has no xfrm ({find('xfrm').option}): {error}")


def names(pairs: list[tuple[int, int]]) -> list[tuple[int, str]]:
    return [(group, str(find("xfrm").type_name(kind)).removeprefix("XFRM_MSG_")) for group, kind in pairs]


def test_a_policy_is_added_changed_and_deleted(subscribe: Subscribe) -> None:
    sub = subscribe("xfrm")
    for change, name in [
        (f"add {SELECTOR} priority 7", "NEWPOLICY"),
        (f"update {SELECTOR} priority 8", "UPDPOLICY"),
        (f"del {SELECTOR}", "DELPOLICY"),
    ]:
        ip(f"xfrm policy {change}")
        assert names(heard(drain(sub, 0.02, atleast=1))) == [(POLICY, name)]
    assert sub.stats()["malformed"] == sub.stats()["untrusted"] == 0


def test_a_policy_expires(subscribe: Subscribe) -> None:
    sub = subscribe("xfrm", groups="expire")
    ip(f"xfrm policy add {SELECTOR} limit time-hard 1")
    assert names(heard(drain(sub, 0.02, atleast=1))) == [(EXPIRE, "POLEXPIRE")]


def test_states_are_flushed(subscribe: Subscribe) -> None:
    sub = subscribe("xfrm")
    ip("xfrm state allocspi src 10.0.0.1 dst 10.0.0.2 proto esp", "xfrm state flush")
    assert (SA, "FLUSHSA") in names(heard(drain(sub, 0.02, atleast=1)))


def want_keys() -> int:
    """Send a packet that must be encrypted; returns the kernel's number of states then."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"x", ("10.7.0.2", 9))
    return int(run("ip", "xfrm", "state", "count").split()[-1])


def test_by_default_a_subscriber_does_not_act_as_a_key_manager(subscribe: Subscribe) -> None:
    ip(
        "link add va type veth peer name vb",
        "link set va up",
        "link set vb up",
        "addr add 10.7.0.1/24 dev va",
    )
    ends = "src 10.7.0.1 dst 10.7.0.2"
    ip(f"xfrm policy add {ends} dir out tmpl {ends} proto esp mode transport")
    sub = subscribe("xfrm")
    assert want_keys() == 0
    assert drain(sub, 0.02) == []
    sub.join("acquire")
    assert want_keys() == 1
    assert names(heard(drain(sub, 0.02, atleast=1))) == [(ACQUIRE, "ACQUIRE")]


def test_an_ordinary_users_error_names_the_privilege(child: Callable[..., Child]) -> None:
    def work() -> str:
        with pytest.raises(PermissionDenied) as caught:
            Subscriber("xfrm")
        return str(caught.value.strerror)

    assert "CAP_NET_ADMIN" in child(work, uid=NOBODY).result()
