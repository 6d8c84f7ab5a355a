"""Requests to the kernel: only the kernel's replies are accepted."""

import socket
import struct

import pytest

from nlbus import KernelError
from nlbus.kernel.requests import Requests, attribute
from tests.support.reference import message
from tests.support.sockets import ROUTE

RTM_NEWLINK, RTM_GETLINK, ERROR, DONE = 16, 18, 2, 3
IFLA_IFNAME, IFLA_TXQLEN, IFLA_GSO_MAX_SIZE = 3, 13, 41


def ifinfomsg(index: int = 0) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, 0, 0)


def test_replies_from_other_processes_are_ignored() -> None:
    with Requests(ROUTE) as kernel, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, ROUTE) as forger:
        forger.bind((0, 0))
        for seq in (1, 2, 3):
            refused = struct.pack("=i", -1) + bytes(16)
            forger.sendto(message(ERROR, refused, seq=seq), (kernel.portid, 0))
            forger.sendto(message(DONE, bytes(4), seq=seq), (kernel.portid, 0))
        assert kernel.ask(RTM_GETLINK, ifinfomsg(1), "asking for lo")
        assert kernel.dump(RTM_GETLINK, ifinfomsg(), "listing links")
        with pytest.raises(KernelError, match="asking for none: No such device"):
            kernel.ask(RTM_GETLINK, ifinfomsg(999_999), "asking for none")


@pytest.mark.parametrize(
    ("number", "value", "limits"),
    [
        (IFLA_GSO_MAX_SIZE, struct.pack("=I", 40), r"40 is below \d+"),
        (IFLA_IFNAME, b"x" * 20, "20 bytes, at most 15 allowed"),
        (IFLA_TXQLEN, b"ab", "2 bytes, 4 needed"),
    ],
)
def test_errors_say_how_a_value_breaks_the_kernels_policy(number: int, value: bytes, limits: str) -> None:
    with Requests(ROUTE) as kernel, pytest.raises(KernelError, match=rf": {limits}\)$") as refused:
        kernel.ask(RTM_NEWLINK, ifinfomsg(1) + attribute(number, value), "changing lo")
    assert refused.value.offset == 32  # behind struct nlmsghdr and struct ifinfomsg
    assert refused.value.extack  # the kernel's own text
    assert ":" not in refused.value.extack
