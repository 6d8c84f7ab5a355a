"""Families of generic netlink: what nlctrl says of them here, and what their tables are made of."""

import errno
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nlbus.errors import KernelError
from nlbus.kernel.constants import MessageFlag, MessageType
from nlbus.kernel.requests import Reply, Requests, attribute, attributes, message
from nlbus.schema.manners import Op as Happened
from nlbus.schema.schema import Dump, Op, Schema
from nlbus.schema.types import pad
from nlbus.sources.source import NEEDS_ADMIN, Source

PREFIX = "genl:"
NETLINK_GENERIC = 16
NO_FAMILY = 0xFFFF  # the type of messages of a family without a number
GENLMSGHDR = struct.Struct("=BBxx")  # cmd, version
HEADER = (pad(GENLMSGHDR.size),)
GENL_ID_CTRL = 16
GENL_NAMSIZ = 16
CTRL_CMD_GETFAMILY = 3
CTRL_VERSION = 2
FAMILY_ID, FAMILY_NAME, MCAST_GROUPS = 1, 2, 7
NO_SUCH_FAMILY = (errno.ENOENT, errno.EINVAL, errno.ERANGE)  # the last two: an invalid name
MCAST_GRP_NAME, MCAST_GRP_ID = 1, 2


class Family(NamedTuple):
    """A family, as nlctrl describes it."""

    name: str
    number: int
    groups: Mapping[str, int]


# -- what tables are made of ------------------------------------------------------------------------------


def family_source(name: str, schemas: Sequence[Schema] = (), **more: Any) -> Source:
    """The source `genl:<name>` without the number and the groups, which its family has at run time only."""
    usual: dict[str, Any] = {
        "sentinel": True,
        "privileged": True,
        "needs": NEEDS_ADMIN,
        "option": "CONFIG_NET",
    }
    return Source(
        name=f"{PREFIX}{name}",
        protocol=NETLINK_GENERIC,
        kernel_name="NETLINK_GENERIC",
        framing="nlmsg",
        genl=name,
        schemas=tuple(schemas),
        **usual | more,
    )


def reports(**commands: int | Sequence[int]) -> tuple[Op, ...]:
    """What messages report, by their commands: reports(new=1, change=(4, 5), delete=2)."""
    happened: dict[str, Happened] = {"new": "new", "change": "change", "delete": "del"}
    return tuple(
        Op(NO_FAMILY, happened[name], command=command)
        for name, those in commands.items()
        for command in ((those,) if isinstance(those, int) else those)
    )


def dump(command: int, version: int = 1, body: bytes = b"", **more: Any) -> Dump:
    """The dump that a command makes, with these attributes in the request."""
    return Dump(NO_FAMILY, (GENLMSGHDR.pack(command, version) + body,), **more)


def request(command: int, body: bytes, seq: int, version: int = 1, flags: int = MessageFlag.ACK) -> bytes:
    """A request to a family that has no number yet."""
    payload = GENLMSGHDR.pack(command, version) + body
    return message(NO_FAMILY, payload, MessageFlag.REQUEST | flags, seq)


def answer(reply: Reply, seq: int) -> int | None:
    """The errno of the answer to the request with this number, 0 for an ack; None for another message."""
    # An ack has the errno and then the header of the request.
    if reply.type != MessageType.ERROR or len(reply.body) < 20:
        return None
    error, _, _, _, acked = struct.unpack_from("=iIHHI", reply.body)
    return -error if acked == seq else None


# -- nlctrl -----------------------------------------------------------------------------------------------


def find_family(name: str) -> Family | None:
    """Return a family, None if it does not exist; the kernel may load its module."""
    body = _get() + attribute(FAMILY_NAME, name.encode(errors="replace")[:GENL_NAMSIZ] + b"\0")
    with Requests(NETLINK_GENERIC) as nlctrl:
        try:
            [reply, *_] = nlctrl.ask(GENL_ID_CTRL, body, f"asking for the generic netlink family {name!r}")
        except KernelError as error:
            if error.errno in NO_SUCH_FAMILY:
                return None
            raise
    return _parsed(reply)


def all_families() -> list[Family]:
    """Return the families of this network namespace."""
    with Requests(NETLINK_GENERIC) as nlctrl:
        replies = nlctrl.dump(GENL_ID_CTRL, _get(), "listing generic netlink families")
    return [_parsed(reply) for reply in replies]


def _get() -> bytes:
    return GENLMSGHDR.pack(CTRL_CMD_GETFAMILY, CTRL_VERSION)


def _parsed(reply: Reply) -> Family:
    found = attributes(reply.body[GENLMSGHDR.size :])
    groups = map(attributes, attributes(found.get(MCAST_GROUPS, b"")).values())
    return Family(
        _text(found[FAMILY_NAME]),
        struct.unpack("=H", found[FAMILY_ID])[0],
        {_text(group[MCAST_GRP_NAME]): struct.unpack("=I", group[MCAST_GRP_ID])[0] for group in groups},
    )


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="backslashreplace")
