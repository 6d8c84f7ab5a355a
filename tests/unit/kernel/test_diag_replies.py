"""The kernel's replies about netlink sockets: parsed completely or refused."""

import os
import socket
import struct
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus import Groups, KernelError, NetlinkSocket, diag, netlink_sockets
from nlbus.kernel import requests as request
from nlbus.kernel.constants import MessageType
from nlbus.kernel.procfs import owners, places
from nlbus.kernel.requests import attribute

FLAGS = struct.pack("=I", 0b001010)
MEMORY = struct.pack("=9I", 832, 212_992, 0, 212_992, 0, 0, 0, 0, 7)


def head(protocol: int = 0, portid: int = 77, inode: int = 5, family: int = 16) -> bytes:
    return struct.pack("=BBBBIIIIQ", family, 3, protocol, 7, portid, 0, 0, inode, 99)


def bits(*groups: int) -> bytes:
    """An array of unsigned long, 64 or 128 bits."""
    mask = sum(1 << group - 1 for group in groups)
    words = 1 if not groups or max(groups) <= 64 else 2
    return struct.pack(f"={words}Q", *(mask >> 64 * i & (1 << 64) - 1 for i in range(words)))


def body(*, flags: bytes = FLAGS, memory: bytes = MEMORY, groups: bytes = b"", **fields: int) -> bytes:
    return head(**fields) + attribute(0, memory) + attribute(1, groups) + attribute(4, flags)


def test_a_reply_becomes_a_socket() -> None:
    assert diag.parse(body(groups=bits(1, 33, 77))) == NetlinkSocket(
        protocol=0, protocol_name="route", portid=77, inode=5, groups=Groups(1, 33, 77),
        buffer_used=832, buffer_size=212_992, drops=7,
        flags=("pktinfo", "no_enobufs"),
    )  # fmt: skip


def test_an_unknown_protocol_has_its_number_for_a_name() -> None:
    one = diag.parse(body(protocol=31))
    assert one is not None
    assert (one.protocol, one.protocol_name) == (31, "31")


def test_a_socket_without_groups_has_none() -> None:
    one = diag.parse(head() + attribute(0, MEMORY) + attribute(4, FLAGS))
    assert one is not None
    assert one.groups == Groups()


@pytest.mark.parametrize("length", range(len(body(groups=bits(1)))))
def test_a_truncated_reply_is_refused_or_complete(length: int) -> None:
    whole = body(groups=bits(1))
    one = diag.parse(whole[:length])
    assert one is None or one == diag.parse(whole)


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        body(family=2),
        body(memory=MEMORY[:-1]),
        body(flags=b"\1"),
        head() + struct.pack("=HH", 3, 0) + attribute(0, MEMORY),
        head() + struct.pack("=HH", 0xFFFF, 0) + MEMORY,
    ],
    ids=["nothing", "another family", "short figures", "short flags", "attribute of no length", "too long"],
)
def test_invalid_replies_are_refused(wrong: bytes) -> None:
    assert diag.parse(wrong) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    diag.parse(data)
    diag.parse(head() + data)
    diag.parse(body(groups=data))


# A peer in place of the kernel

Reply = Callable[[int], list[bytes]]


class Peer:
    """A netlink socket answered by this function, which gets the request's sequence number."""

    reply: Reply

    def __init__(self, *_: int) -> None:
        self.queue: list[bytes] = []

    def setsockopt(self, *_: int) -> None:
        pass

    def settimeout(self, _: float) -> None:
        pass

    def bind(self, _: object) -> None:
        pass

    def getsockname(self) -> tuple[int, int]:
        return (4711, 0)

    def sendto(self, data: bytes, _: object) -> None:
        self.queue += type(self).reply(struct.unpack_from("=I", data, 8)[0])

    def recvmsg(self, size: int) -> tuple[bytes, list[object], int, tuple[int, int]]:
        if not self.queue:
            raise TimeoutError
        return self.queue.pop(0)[:size], [], 0, (0, 0)

    def close(self) -> None:
        pass


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Reply], None]:
    """Use this function's replies as the kernel's."""
    fake = SimpleNamespace(**vars(socket) | {"socket": Peer})
    monkeypatch.setattr(request, "socket", fake)
    return lambda reply: monkeypatch.setattr(Peer, "reply", staticmethod(reply), raising=False)


def message(kind: int, data: bytes, seq: int, flags: int = 2) -> bytes:
    return request.message(kind, data, flags, seq)


def done(seq: int) -> bytes:
    return message(MessageType.DONE, struct.pack("=i", 0), seq)


def test_each_socket_is_listed_once_without_the_requesting_one(answers: Callable[[Reply], None]) -> None:
    answers(
        lambda seq: [
            message(20, body(), seq) + message(20, body(portid=4711, protocol=4), seq),
            message(20, body(), seq) + message(20, body(portid=4711, protocol=2), seq) + done(seq),
        ]
    )
    found = netlink_sockets(here=True)
    assert [(one.protocol, one.portid) for one in found] == [(0, 77), (2, 4711)]


def test_truncated_and_foreign_replies_are_counted(answers: Callable[[Reply], None]) -> None:
    answers(
        lambda seq: [
            message(20, body()[:40], seq) + message(99, body(), seq) + message(20, body(portid=1), seq - 1),
            message(20, body(), seq) + b"\xff" * 20,
            done(seq),
        ]
    )
    found = diag.survey(here=True)
    assert [one.portid for one in found.sockets] == [77]
    assert found.missing[0].startswith("2 answers")


@pytest.mark.parametrize(
    "reply",
    [
        lambda _: [],
        lambda seq: [message(20, body(), seq)],
        lambda seq: [struct.pack("=IHHII", 0, 20, 2, seq, 0)] * 3,
        lambda seq: [message(MessageType.ERROR, struct.pack("=i", -2), seq)],
        lambda seq: [message(20, body(), seq, flags=0x12) + done(seq)],
    ],
    ids=["silence", "no end", "lengths of 0", "ENOENT", "interrupted for ever"],
)
def test_if_diag_fails_proc_is_read_and_a_warning_says_so(
    answers: Callable[[Reply], None], reply: Reply
) -> None:
    answers(reply)
    found = diag.survey(here=True)
    assert "netlink_diag" in found.missing[0]
    assert found.sockets
    assert {one.protocol for one in found.sockets} >= {0, 15, 16}
    assert all(one.buffer_size is one.flags is None for one in found.sockets)


def test_without_diag_and_proc_it_is_an_error(
    answers: Callable[[Reply], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(lambda _: [])
    monkeypatch.setattr(diag, "PROC", "/nowhere")
    with pytest.raises(KernelError, match="/nowhere"):
        netlink_sockets(here=True)


# /proc


def test_owners_are_all_processes_that_hold_a_socket() -> None:
    with socket.socket() as one:
        inode = os.fstat(one.fileno()).st_ino
        found, _ = owners({inode})
        assert [process.pid for process in found[inode]] == [os.getpid()]
        assert found[inode][0].command
        assert list(found) == [inode]


def test_the_callers_namespace_comes_first() -> None:
    found, _ = places()
    here = os.stat("/proc/thread-self/ns/net").st_ino  # noqa: PTH116
    assert next(iter(found.values()))[:2] == (here, "")
