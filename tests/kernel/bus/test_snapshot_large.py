"""A dump of many datagrams, decoded while the kernel still sends it."""

import socket
import struct
import threading
from collections.abc import Iterable

import numpy as np
import pytest

from nlbus import field, snapshot
from nlbus.kernel.constants import MessageFlag, NewFlag
from tests.support.sockets import ip
from tests.support.storms import RTM_DELROUTE, RTM_NEWROUTE, route

ROUTES = 20_000  # 1.2 MiB of messages in about forty datagrams
FIRST = 0x0A00_0000
NEW = MessageFlag.REQUEST | NewFlag.CREATE | NewFlag.EXCL


def request(kind: int, flags: int, numbers: Iterable[int]) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as rtnetlink:
        wanted = [*numbers]
        for at in range(0, len(wanted), 100):
            rtnetlink.send(b"".join(route(kind, flags, number) for number in wanted[at : at + 100]))


@pytest.fixture
def listed() -> None:
    ip("link set lo up")
    request(RTM_NEWROUTE, NEW, range(ROUTES))


def numbers() -> list[int]:
    """The numbers of the routes that `request` made, in the order of the dump."""
    found = snapshot("route", "route", columns=["dst", "table"], where=field("table") == "main")
    return [struct.unpack(">I", bytes(dst)[12:])[0] - FIRST for dst in found["dst"]]


@pytest.mark.usefixtures("listed")
def test_a_large_dump_has_all_rows_in_the_kernels_order() -> None:
    assert numbers() == list(range(ROUTES))
    assert (snapshot("route", "route", where=field("table") == "main")["nl_origin"] == 1).all()


@pytest.mark.usefixtures("listed")
def test_a_dump_during_changes_is_repeated() -> None:
    over = threading.Event()

    def change() -> None:
        while not over.is_set():
            request(RTM_NEWROUTE, NEW, range(ROUTES, ROUTES + 100))
            request(RTM_DELROUTE, MessageFlag.REQUEST, range(ROUTES, ROUTES + 100))
            over.wait(0.05)  # a dump is faster

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for _ in range(20):
            found = np.array(numbers())
            assert (np.diff(found) > 0).all()  # no duplicates, in order
            assert np.array_equal(found[:ROUTES], np.arange(ROUTES))
    finally:
        over.set()
        changing.join()
