"""Objects that fill or exceed a dump's datagram: complete rows, or an error."""

import errno
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Callable

import pytest

from nlbus import KernelError, State, Subscriber, field, snapshot
from nlbus.kernel import requests
from nlbus.kernel.constants import NewFlag
from nlbus.kernel.requests import Requests, attribute
from tests.support.sockets import ip
from tests.support.storms import RTM_NEWROUTE

Subscribe = Callable[..., Subscriber]
LINKS = {"lo", "va", "vb", "vc", "vd"}
NEAR = range(228, 236)  # numbers of altnames around which va's message passes 32 KiB
RTM_GETLINK = 18


def name(number: int) -> str:
    return f"x{number:0126}"


def add_names(first: int, end: int) -> None:
    ip(*(f"link property add dev va altname {name(number)}" for number in range(first, end)))


@pytest.fixture
def links() -> None:
    ip("link add va type veth peer name vb", "link add vc type veth peer name vd")


@pytest.mark.usefixtures("links")
def test_links_just_below_and_above_32_kib_are_complete() -> None:
    add_names(0, NEAR.start)
    for count in NEAR:
        ip(f"link property add dev va altname {name(count)}")
        found = {row["ifname"]: row for row in snapshot("route", "link").iter_rows()}
        assert set(found) == LINKS
        assert sorted(found["va"]["alt_ifname"]) == [name(number) for number in range(count + 1)]


@pytest.mark.usefixtures("links")
def test_the_largest_link_is_complete_in_a_state_and_on_the_command_line(subscribe: Subscribe) -> None:
    add_names(0, 480)
    state = State("route", "link")
    sub = subscribe("route", groups=("link",), tables=("link",), snapshot=True)
    while not state.complete:
        state.apply(sub.recv(timeout=5))
    assert {row["ifname"] for row in state["link"].values()} == LINKS
    command = [sys.executable, "-m", "nlbus", "snapshot", "route", "link", "-o", "json"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert {json.loads(line)["ifname"] for line in lines} == LINKS


def multipath(family: int, prefix: str, hops: int) -> None:
    index = socket.if_nametoindex("va")
    gateways = (
        socket.inet_pton(
            family, f"10.0.{n // 250}.{n % 250 + 2}" if family == socket.AF_INET else f"fd00::{n + 2:x}"
        )
        for n in range(hops)
    )
    gateway = [attribute(5, address) for address in gateways]
    nested = b"".join(struct.pack("=HBBi", 8 + len(one), 0, 0, index) + one for one in gateway)
    dst = socket.inet_pton(family, prefix)
    header = struct.pack("=8BI", family, 16 if family == socket.AF_INET else 64, 0, 0, 254, 3, 0, 1, 0)
    with Requests(0) as kernel:
        body = header + attribute(1, dst) + attribute(9, nested)
        kernel.ask(RTM_NEWROUTE, body, "adding a route", NewFlag.CREATE | NewFlag.EXCL)


@pytest.mark.usefixtures("links")
@pytest.mark.parametrize("where", [None, "family"])
def test_a_route_too_large_for_a_dump_is_an_error_and_never_a_table(where: str | None) -> None:
    ip("link set va up", "link set vb up", "addr add 10.0.0.1/8 dev va")
    condition = None if where is None else field("family") == "inet"
    multipath(socket.AF_INET, "10.200.0.0", 1900)
    found = snapshot("route", "route", where=condition)
    assert max(len(row.get("multipath_gateway", ())) for row in found.iter_rows(absent=False)) == 1900
    multipath(socket.AF_INET, "10.201.0.0", 2300)
    with pytest.raises(KernelError, match=r"dumping route route: .*where=") as caught:
        snapshot("route", "route", where=condition)
    assert caught.value.errno == errno.EMSGSIZE


def test_a_request_whose_reply_is_truncated_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "RECEIVE", 256)
    with Requests(0) as kernel, pytest.raises(KernelError, match="the answer exceeds 256 bytes") as caught:
        kernel.dump(RTM_GETLINK, bytes(16), "listing links")
    assert caught.value.errno == errno.EMSGSIZE
