"""Requests to the kernel, with their acks and dumps: what a source needs before it can listen."""

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple, Self

from nlbus.errors import NlbusError, kernel_error
from nlbus.kernel.constants import AckFlag, GetFlag, MessageFlag, MessageType

NLMSGHDR = struct.Struct("=IHHII")
NLATTR = struct.Struct("=HH")
NFGENMSG = struct.Struct("=BBH")  # the header of NETLINK_NETFILTER messages: family, version, res_id
SOL_NETLINK = 270
NETLINK_EXT_ACK = 11
NLA_TYPE_MASK = 0x3FFF
NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS, NLMSGERR_ATTR_POLICY = 1, 2, 4
# enum netlink_policy_type_attr: the type, the smallest and largest value, signed and not, and length
NL_POLICY_TYPE = 1
NL_POLICY_MIN_S, NL_POLICY_MAX_S, NL_POLICY_MIN_U, NL_POLICY_MAX_U = 2, 3, 4, 5
NL_POLICY_MIN_LENGTH, NL_POLICY_MAX_LENGTH = 6, 7
# enum netlink_attribute_type: bytes of the integers, at least
INTEGERS = {2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 2, 8: 4, 9: 8, 16: 4, 17: 4}
VARIABLE = (16, 17)  # sint, uint: 4 or 8 bytes
RECEIVE = 1 << 18
PATIENCE = 10.0  # seconds until a request counts as unanswered
RETRIES = 16  # of a dump that changes while it is read


class Reply(NamedTuple):
    """One message that answers a request."""

    type: int
    flags: int
    body: bytes


class Requests:
    """A socket for requests on one protocol; each request waits for its answer.

    It belongs to the network namespace of the thread that made it. Only messages of the kernel count.
    KernelError or PermissionDenied, with the kernel's own text if there is one.
    """

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._socket.settimeout(PATIENCE)
        self._socket.bind((0, 0))
        self.portid: int = self._socket.getsockname()[0]
        self._seq = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, kind: int, body: bytes, action: str, flags: int = 0) -> list[Reply]:
        """Send one request; return the messages before its ack. `action` begins the text of an error."""
        return self._exchange(kind, body, action, MessageFlag.REQUEST | MessageFlag.ACK | flags)[0]

    def dump(self, kind: int, body: bytes, action: str) -> list[Reply]:
        """Return all objects of a kind. If they change meanwhile, dump them again."""
        for _ in range(RETRIES):
            replies, whole = self._exchange(kind, body, action, MessageFlag.REQUEST | GetFlag.DUMP)
            if whole:
                return replies
        raise kernel_error(errno.EINTR, action, "the objects change all the time: try again")

    def _exchange(self, kind: int, body: bytes, action: str, flags: int) -> tuple[list[Reply], bool]:
        self._seq += 1
        replies: list[Reply] = []
        whole = True
        self._send(message(kind, body, flags, self._seq), action)
        while True:
            for reply, seq in messages(self._receive(action)):
                if seq != self._seq:
                    continue
                whole = whole and not reply.flags & MessageFlag.DUMP_INTR
                if reply.type in (MessageType.ERROR, MessageType.DONE):
                    if refused := refusal(reply, action):
                        raise refused
                    return replies, whole
                replies.append(reply)

    def _send(self, request: bytes, action: str) -> None:
        try:
            self._socket.sendto(request, (0, 0))
        except OSError as error:
            raise kernel_error(error.errno or 0, action) from error

    def _receive(self, action: str) -> bytes:
        try:
            while True:
                datagram, _, flags, (portid, _) = self._socket.recvmsg(RECEIVE)
                if portid == 0 and flags & socket.MSG_TRUNC:
                    raise kernel_error(errno.EMSGSIZE, action, f"the answer exceeds {RECEIVE} bytes")
                if portid == 0:
                    return datagram
        except TimeoutError:
            raise kernel_error(errno.ETIMEDOUT, action, f"no answer in {PATIENCE:.0f} seconds") from None
        except NlbusError:
            raise
        except OSError as error:
            raise kernel_error(error.errno or 0, action) from error


# -- messages ---------------------------------------------------------------------------------------


def message(kind: int, body: bytes, flags: int, seq: int) -> bytes:
    """A netlink message, padded."""
    return NLMSGHDR.pack(NLMSGHDR.size + len(body), kind, flags, seq, 0) + body + bytes(-len(body) % 4)


def messages(datagram: bytes) -> Iterator[tuple[Reply, int]]:
    """The messages of a datagram, each with its sequence number."""
    at = 0
    while len(datagram) - at >= NLMSGHDR.size:
        length, kind, flags, seq, _ = NLMSGHDR.unpack_from(datagram, at)
        if not NLMSGHDR.size <= length <= len(datagram) - at:
            return
        yield Reply(kind, flags, datagram[at + NLMSGHDR.size : at + length]), seq
        at += length + -length % 4


def refusal(reply: Reply, action: str, help: str = "") -> Exception | None:
    """The error in an ack (NLMSG_ERROR, or the NLMSG_DONE of a dump); None for success."""
    if len(reply.body) < 4:
        return None
    (number,) = struct.unpack_from("=i", reply.body)
    if number >= 0:
        return None
    text, limits, offset = "", "", None
    if reply.flags & AckFlag.ACK_TLVS:
        skip = 4
        request = b""
        if reply.type == MessageType.ERROR:  # the request, or only its header, comes before the attributes
            (length,) = struct.unpack_from("=I", reply.body, 4)
            skip += NLMSGHDR.size if reply.flags & AckFlag.CAPPED else length + -length % 4
            request = reply.body[4:skip]
        words = attributes(reply.body[skip:])
        text = words.get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")
        if len(place := words.get(NLMSGERR_ATTR_OFFS, b"")) == 4:
            offset = int.from_bytes(place, sys.byteorder)
            limits = _limits(words.get(NLMSGERR_ATTR_POLICY, b""), request, offset)
    return kernel_error(-number, action, help, extack=text, offset=offset, limits=limits)


def _limits(policy: bytes, request: bytes, offset: int) -> str:
    """How the attribute at `offset` of the request breaks the kernel's policy; "" where it is not known."""
    if len(request) - offset < NLATTR.size:
        return ""
    length, _ = NLATTR.unpack_from(request, offset)
    if not NLATTR.size <= length <= len(request) - offset:
        return ""
    value = request[offset + NLATTR.size : offset + length]
    rules = {kind: int.from_bytes(rule, sys.byteorder) for kind, rule in attributes(policy).items()}
    kind = rules.get(NL_POLICY_TYPE, 0)
    if kind in INTEGERS:
        return _range(value, kind, attributes(policy))
    if len(value) < (least := rules.get(NL_POLICY_MIN_LENGTH, 0)):
        return f"{len(value)} bytes, at least {least} needed"
    if len(value) > (most := rules.get(NL_POLICY_MAX_LENGTH, len(value))):
        return f"{len(value)} bytes, at most {most} allowed"
    return ""


def _range(value: bytes, kind: int, rules: dict[int, bytes]) -> str:
    """How an integer breaks the kernel's policy."""
    size = INTEGERS[kind]
    if len(value) < size:
        return f"{len(value)} bytes, {size} needed"
    if kind not in VARIABLE:
        value = value[:size]  # the kernel ignores the rest
    for low, high, signed in (
        (NL_POLICY_MIN_U, NL_POLICY_MAX_U, False),
        (NL_POLICY_MIN_S, NL_POLICY_MAX_S, True),
    ):
        if low in rules and high in rules:
            number, least, most = (
                int.from_bytes(each, sys.byteorder, signed=signed)
                for each in (value, rules[low], rules[high])
            )
            if number < least:
                return f"{number} is below {least}"
            if number > most:
                return f"{number} is above {most}"
    return ""


# -- attributes -------------------------------------------------------------------------------------


def attribute(kind: int, data: bytes) -> bytes:
    """A struct nlattr and its data, padded to 4."""
    return NLATTR.pack(NLATTR.size + len(data), kind) + data + bytes(-len(data) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in `data` by number, the last of each; parsing stops at an invalid length."""
    found = {}
    at = 0
    while len(data) - at >= NLATTR.size:
        length, kind = NLATTR.unpack_from(data, at)
        if not NLATTR.size <= length <= len(data) - at:
            break
        found[kind & NLA_TYPE_MASK] = data[at + NLATTR.size : at + length]
        at += length + -length % 4
    return found
