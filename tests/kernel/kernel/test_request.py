"""Requests to the kernel: only the kernel's replies are accepted."""

import socket
import struct

import pytest

from nlbus import KernelError
from nlbus.kernel.requests import Requests
from tests.support.reference import message
from tests.support.sockets import ROUTE

RTM_GETLINK, ERROR, DONE = 18, 2, 3


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
