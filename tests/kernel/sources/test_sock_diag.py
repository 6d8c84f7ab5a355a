"""sock_diag: destroy events of sockets over lo."""

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from nlbus import Subscriber
from tests.support.sockets import NOBODY, Child, drain, heard, ip, payloads

Subscribe = Callable[..., Subscriber]
SOCK_DIAG_BY_FAMILY = 20


@pytest.fixture(autouse=True)
def _lo_up() -> None:
    ip("link set lo up")


def bound(family: int, kind: int) -> int:
    """Bind and close a socket; returns its port."""
    with closing(socket.socket(family, kind)) as one:
        one.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        return int(one.getsockname()[1])


def ports(bodies: list[bytes]) -> Iterator[int]:
    """The local ports in struct inet_diag_msg."""
    return (struct.unpack_from(">H", body, 4)[0] for body in bodies)


@pytest.mark.parametrize(
    ("group", "family", "kind"),
    [
        (2, socket.AF_INET, socket.SOCK_DGRAM),
        (4, socket.AF_INET6, socket.SOCK_DGRAM),
    ],
)
def test_a_udp_socket_is_destroyed(subscribe: Subscribe, group: int, family: int, kind: int) -> None:
    sub = subscribe("sock_diag")
    port = bound(family, kind)
    got = drain(sub, 0.05, atleast=1)
    assert heard(got) == [(group, SOCK_DIAG_BY_FAMILY)]
    assert list(ports(payloads(got))) == [port]


@pytest.mark.parametrize(("group", "address"), [(1, "127.0.0.1"), (3, "::1")])
def test_both_ends_of_a_tcp_connection_are_destroyed(subscribe: Subscribe, group: int, address: str) -> None:
    sub = subscribe("sock_diag", groups=group)
    family = socket.AF_INET if group == 1 else socket.AF_INET6
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
        with socket.create_connection((address, port)) as client:
            mine = client.getsockname()[1]
            # Reset the connection, or one end waits a minute for stray segments.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted = server.accept()[0]
        accepted.close()
    got = drain(sub, 0.05, atleast=3)
    assert set(heard(got)) == {(group, SOCK_DIAG_BY_FAMILY)}
    assert sorted(ports(payloads(got))) == sorted([mine, port, port])


def test_an_ordinary_user_receives_them_too(child: Callable[..., Child]) -> None:
    def work() -> list[tuple[int, int]]:
        with Subscriber("sock_diag") as sub:
            bound(socket.AF_INET, socket.SOCK_DGRAM)
            return heard(drain(sub, 0.05, atleast=1))

    assert child(work, uid=NOBODY).result() == [(2, SOCK_DIAG_BY_FAMILY)]
