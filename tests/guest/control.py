"""Requests to the module by uapi/nlbus.h, with sockets and struct alone."""

import socket
import struct
from typing import NamedTuple

from tests.guest.helpers import CAP_ACK, EXT_ACK, SOL_NETLINK, protocol
from tests.support import reference

REQUEST, MULTI, ACK, DUMP = 1, 2, 4, 0x300
ERROR, DONE = 2, 3
GET, SET, STATS = 0x11, 0x12, 0x13
CAPPED, ACK_TLVS = 0x100, 0x200
ATTR_MSG, ATTR_OFFS = 1, 2
PARAMETERS = {"chain_bytes": 1, "linger_us": 2, "buffer_bytes": 3, "open_receive": 4, "listeners": 5}
COUNTERS = {
    2: "group", 3: "events", 4: "bytes", 5: "datagrams", 6: "skipped", 7: "failed", 8: "overflow", 9: "nomem",
    10: "refused", 11: "evicted", 12: "streams",
}  # fmt: skip


class Answer(NamedTuple):
    """An NLMSG_ERROR: 0 or the error, its message, the offset of the fault, and the request's nlmsg_seq."""

    errno: int
    text: str
    offset: int | None
    seq: int


class Asker:
    """A socket that sends requests to the module and receives its answers."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol())
        self.socket.setsockopt(SOL_NETLINK, EXT_ACK, 1)
        self.socket.setsockopt(SOL_NETLINK, CAP_ACK, 1)
        self.socket.bind((0, 0))
        self.socket.settimeout(5)
        self.portid: int = self.socket.getsockname()[0]

    def __enter__(self) -> "Asker":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes, groups: int = 0) -> None:
        self.socket.sendto(data, (0, groups))

    def answer(self, timeout: float = 5) -> Answer | None:
        """The next NLMSG_ERROR; None after the timeout."""
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            return None
        [message], malformed = reference.walk(data)
        assert not malformed
        assert message.type == ERROR
        [errno] = struct.unpack_from("=i", data, 16)
        text, offset = "", None
        if message.flags & ACK_TLVS:
            quoted = 16 if message.flags & CAPPED or errno == 0 else struct.unpack_from("=I", data, 20)[0]
            attributes, wrong = reference.attributes(data[20 + reference.align(quoted) :])
            assert not wrong
            for attribute in attributes:
                if attribute.type == ATTR_MSG:
                    text = attribute.payload.rstrip(b"\0").decode()
                elif attribute.type == ATTR_OFFS:
                    [offset] = struct.unpack("=I", attribute.payload)
        return Answer(-errno, text, offset, struct.unpack_from("=I", data, 28)[0])

    def ask(self, data: bytes) -> Answer:
        """Send a request and return the NLMSG_ERROR that answers it."""
        self.send(data)
        answer = self.answer()
        assert answer is not None, "no answer"
        return answer


def get() -> dict[str, int]:
    """The module's parameters in this network namespace."""
    with Asker() as asker:
        asker.send(reference.message(GET, flags=REQUEST, seq=7))
        data = asker.socket.recv(1 << 16)
    [message], malformed = reference.walk(data)
    assert (malformed, message.type, message.seq, message.portid) == (0, GET, 7, asker.portid)
    attributes, wrong = reference.attributes(data[16:])
    assert not wrong
    values = {a.type: struct.unpack("=I", a.payload)[0] for a in attributes}
    return {name: values.pop(number) for name, number in PARAMETERS.items()} | {
        str(k): v for k, v in values.items()
    }


def change(**values: int) -> Answer:
    """NLBUS_MSG_SET."""
    tree = [(PARAMETERS[name], struct.pack("=I", value)) for name, value in values.items()]
    with Asker() as asker:
        return asker.ask(reference.message(SET, flags=REQUEST | ACK, tree=tree))


def all_stats() -> list[dict[str, int]]:
    """NLBUS_MSG_STATS: counters of the namespace, then of each group."""
    found = []
    with Asker() as asker:
        asker.send(reference.message(STATS, flags=REQUEST | DUMP, seq=3))
        while True:
            data = asker.socket.recv(1 << 16)
            messages, malformed = reference.walk(data)
            assert not malformed
            for message in messages:
                assert message.flags & MULTI
                assert message.seq == 3
                if message.type == DONE:
                    return found
                assert message.type == STATS
                attributes, wrong = reference.attributes(
                    data[message.offset + 16 : message.offset + message.length]
                )
                assert not wrong
                found.append(
                    {
                        COUNTERS[a.type]: int.from_bytes(a.payload, "little")
                        for a in attributes
                        if a.type in COUNTERS
                    }
                )


def stats(group: int) -> dict[str, int]:
    return all_stats()[group]
