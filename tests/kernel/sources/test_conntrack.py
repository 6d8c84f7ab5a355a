"""conntrack: connections over lo that netfilter tracks."""

import socket
from collections.abc import Callable

import pytest

from nlbus import PermissionDenied, Subscriber
from tests.support.sockets import NOBODY, Child, drain, heard, ip, payloads, run, track_connections

Subscribe = Callable[..., Subscriber]
CT_NEW, CT_DELETE, EXP_NEW, EXP_DELETE = 0x100, 0x102, 0x200, 0x202
NEW, UPDATE, DESTROY, EXPECTED, EXPECTATION_GONE = 1, 2, 3, 4, 6


def datagram(port: int = 9) -> None:
    """One UDP datagram over lo, which netfilter tracks as a connection."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"x", ("127.0.0.1", port))


def test_a_connection_is_created_updated_and_destroyed(subscribe: Subscribe) -> None:
    track_connections()
    sub = subscribe("conntrack")
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        one.sendto(b"question", other.getsockname())
        assert heard(drain(sub, 0.05)) == [(NEW, CT_NEW)]
        other.sendto(b"answer", one.getsockname())
        assert heard(drain(sub, 0.05)) == [(UPDATE, CT_NEW)]
    run("conntrack", "-D", "-p", "udp")
    got = drain(sub, 0.05)
    assert heard(got) == [(DESTROY, CT_DELETE)]
    assert all(batch.messages["portid"].tolist() == [0] for batch in got)
    # AF_INET, version 0, resource 0
    assert all(body[:4] == b"\2\0\0\0" for body in payloads(got))
    assert sub.stats()["malformed"] == 0


def test_only_the_requested_groups_are_received(subscribe: Subscribe) -> None:
    track_connections()
    sub = subscribe("conntrack", groups="destroy")
    datagram()
    run("conntrack", "-D", "-p", "udp")
    assert heard(drain(sub, 0.05)) == [(DESTROY, CT_DELETE)]


def test_nothing_is_received_until_a_rule_tracks_connections(subscribe: Subscribe) -> None:
    ip("link set lo up")
    sub = subscribe("conntrack")
    datagram()
    assert drain(sub, 0.05) == []
    track_connections()
    datagram()
    assert heard(drain(sub, 0.05)) == [(NEW, CT_NEW)]


def test_connections_older_than_the_first_listener_end_without_an_event(subscribe: Subscribe) -> None:
    track_connections()
    datagram()
    sub = subscribe("conntrack")
    datagram(10)
    run("conntrack", "-D", "-p", "udp")
    assert heard(drain(sub, 0.05)) == [(NEW, CT_NEW), (DESTROY, CT_DELETE)]


def test_an_expected_connection(subscribe: Subscribe) -> None:
    """FTP: the client announces its data port, and netfilter expects that connection."""
    track_connections()
    run("nft", "-f", "-", text='table ip track { ct helper ftp { type "ftp" protocol tcp; }; }')
    run("nft", 'add rule ip track out tcp dport 21 ct helper set "ftp"')
    sub = subscribe("conntrack", groups=("exp_new", "exp_destroy"))
    with socket.create_server(("127.0.0.1", 21)), socket.socket() as client:
        client.connect(("127.0.0.1", 21))
        # netfilter inspects a line only after a previous one.
        client.send(b"USER nobody\r\n")
        client.send(b"PORT 127,0,0,1,20,20\r\n")
    # lo shows it twice, leaving and arriving.
    got = heard(drain(sub, 0.05))
    assert got[0] == got[-1] == (EXPECTED, EXP_NEW)
    run("conntrack", "-F", "expect")
    assert heard(drain(sub, 0.05)) == [(EXPECTATION_GONE, EXP_DELETE)]


def test_an_ordinary_users_error_names_the_privilege(child: Callable[..., Child]) -> None:
    def work() -> str:
        with pytest.raises(PermissionDenied) as caught:
            Subscriber("conntrack")
        return str(caught.value.strerror)

    error = child(work, uid=NOBODY).result()
    assert error.startswith("joining conntrack (new, update, destroy): ")
    assert "CAP_NET_ADMIN" in error
