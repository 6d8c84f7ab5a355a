"""genl:<family>: any generic netlink family, with its number and groups from nlctrl in this namespace."""

import errno
import struct
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from nlbus.errors import KernelError, UnknownSource, kernel_error
from nlbus.kernel.groups import Groups
from nlbus.kernel.requests import Reply, Requests, attribute, attributes
from nlbus.schema.schema import Dump, Schema
from nlbus.sources.source import NEEDS_ADMIN, Source, did_you_mean

PREFIX = "genl:"
NETLINK_GENERIC = 16
NO_FAMILY = 0xFFFF  # the type of messages of a family without a number
GENLMSGHDR = struct.Struct("=BBxx")  # cmd, version
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


def genl_source(name: str) -> Source:
    """Return the source `genl:<name>`. The kernel may load the family's module."""
    try:
        family = find_family(name)
        if family is None:
            with Requests(NETLINK_GENERIC) as nlctrl:
                raise _unknown(name, _families(nlctrl))
    except OSError as error:
        if isinstance(error, UnknownSource | KernelError):
            raise
        raise kernel_error(error.errno or 0, f"asking for the generic netlink family {name!r}") from error
    if not family.groups:
        raise UnknownSource(f"{PREFIX}{family.name} has no multicast groups: it only answers requests")
    return _source(family)


def bound(source: Source) -> Source:
    """The source with the number and the groups that its family has now; as it is where no such family is.

    The kernel may load the family's module. KernelError.
    """
    try:
        family = find_family(source.genl)
    except KernelError:
        raise
    except OSError as error:
        raise kernel_error(
            error.errno or 0, f"asking for the generic netlink family {source.genl!r}"
        ) from error
    if family is None:
        return source
    return _bound(source, family.number, tuple(family.groups.items()))


@lru_cache(maxsize=256)  # schemas are compiled once each
def _bound(source: Source, number: int, groups: tuple[tuple[str, int], ...]) -> Source:
    of = dict(groups)
    every = Groups(*of.values())
    schemas = (schema for schema in source.schemas if isinstance(schema, Schema))
    return replace(
        source,
        groups=of,
        default=every,
        probe=every,
        types={number: source.genl},
        schemas=tuple(_numbered(schema, number, of) for schema in schemas),
    )


def _numbered(schema: Schema, number: int, groups: Mapping[str, int]) -> Schema:
    """The schema of a family with this number. Groups that this kernel lacks are left out."""
    dump = schema.dump
    return replace(
        schema,
        ops=tuple(replace(op, type=number) for op in schema.ops),
        groups=tuple(group for group in schema.groups if group in groups),
        dump=replace(dump, type=number) if isinstance(dump, Dump) else dump,
    )


def recorded_source(name: str) -> Source:
    """Return the source `genl:<name>` without its number and groups, which only a kernel knows."""
    return _source(Family(name, 0, {}))


def genl_sources() -> list[Source]:
    """Return a source per family of this namespace that has groups; none if nlctrl does not answer."""
    try:
        with Requests(NETLINK_GENERIC) as nlctrl:
            return [_source(family) for family in _families(nlctrl) if family.groups]
    except OSError:
        return []


def find_family(name: str) -> Family | None:
    """Return a family, None if it does not exist; the kernel may load its module."""
    with Requests(NETLINK_GENERIC) as nlctrl:
        try:
            return _family(nlctrl, name)
        except KernelError as error:
            if error.errno in NO_SUCH_FAMILY:
                return None
            raise


def _source(family: Family) -> Source:
    every = Groups(*family.groups.values())
    return Source(
        name=f"{PREFIX}{family.name}",
        protocol=NETLINK_GENERIC,
        kernel_name="NETLINK_GENERIC",
        framing="nlmsg",
        groups=family.groups,
        default=every,
        sentinel=True,
        types={family.number: family.name} if family.number else {},
        probe=every,
        privileged=True,
        needs=NEEDS_ADMIN,
        option="CONFIG_NET",
    )


def _unknown(name: str, families: list[Family]) -> UnknownSource:
    names = [family.name for family in families if family.groups]
    return UnknownSource(
        f"no generic netlink family {name!r} in this network namespace{did_you_mean(name, names)}: "
        f"there are {', '.join(names)}; others come with their modules, as nl80211 with cfg80211"
    )


def _family(nlctrl: Requests, name: str) -> Family:
    body = _get() + attribute(FAMILY_NAME, name.encode(errors="replace")[:GENL_NAMSIZ] + b"\0")
    return _parsed(nlctrl.ask(GENL_ID_CTRL, body, f"asking for the generic netlink family {name!r}")[0])


def _families(nlctrl: Requests) -> list[Family]:
    return [_parsed(reply) for reply in nlctrl.dump(GENL_ID_CTRL, _get(), "listing generic netlink families")]


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
