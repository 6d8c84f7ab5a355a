"""genl:<family>: any generic netlink family, with its number and groups from nlctrl in this namespace.

Families with tables have a file here. Their schemas are written without the family's number (NO_FAMILY),
which differs from kernel to kernel; `bound` and `recorded` fill it in.
"""

import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from importlib import import_module

from nlbus.errors import KernelError, UnknownSource, kernel_error
from nlbus.kernel.groups import Groups
from nlbus.schema.schema import AnySchema, Dump, Schema
from nlbus.sources.genl.families import (
    GENL_ID_CTRL,
    GENLMSGHDR,
    NETLINK_GENERIC,
    NO_FAMILY,
    PREFIX,
    Family,
    all_families,
    family_source,
    find_family,
)
from nlbus.sources.source import Handshake, Source, did_you_mean

__all__ = [
    "GENLMSGHDR",
    "NETLINK_GENERIC",
    "NO_FAMILY",
    "PREFIX",
    "Family",
    "bound",
    "built_in",
    "find_family",
    "genl_source",
    "genl_sources",
    "recorded",
    "recorded_source",
    "required",
]

# Families with tables, and their modules, which are imported when they are used.
TABLES = {
    "nlctrl": "nlctrl",
    "ethtool": "ethtool",
    "netdev": "netdev",
    "mptcp_pm": "mptcp_pm",
    "TASKSTATS": "taskstats",
    "NET_DM": "drop_monitor",
    "psample": "psample",
    "thermal": "thermal",
    "acpi_event": "acpi_event",
}
HIGHEST = 0xFFFE  # number of a family
TYPE_AT = 4  # in a struct nlmsghdr


def genl_source(name: str) -> Source:
    """Return the source `genl:<name>`. The kernel may load the family's module."""
    try:
        family = find_family(name)
        if family is None:
            raise _unknown(name, all_families())
    except OSError as error:
        if isinstance(error, UnknownSource | KernelError):
            raise
        raise kernel_error(error.errno or 0, f"asking for the generic netlink family {name!r}") from error
    if not family.groups and family.name not in TABLES:
        raise UnknownSource(f"{PREFIX}{family.name} has no multicast groups: it only answers requests")
    return _of(family)


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
    return source if family is None else _numbered(source, family.number, family.groups)


def required(source: Source) -> Source:
    """The source, as `bound` returned it. UnknownSource if it is of a family that does not exist."""
    if source.genl and not source.types:
        raise _unknown(source.genl, all_families())
    return source


def recorded(source: Source, number: int) -> Source:
    """The source as it was on the machine that recorded its messages, where its family had this number."""
    if not source.genl or not GENL_ID_CTRL <= number <= HIGHEST or number in source.types:
        return source
    return replace(_numbered(source, number, source.groups), groups=source.groups)


def recorded_source(name: str) -> Source:
    """Return the source `genl:<name>` without its number and groups, which only a kernel knows."""
    source = built_in(name)
    return _numbered(source, GENL_ID_CTRL, {}) if name == "nlctrl" else source


def genl_sources() -> list[Source]:
    """Return a source per family of this namespace that has groups or tables; none if nlctrl is silent."""
    try:
        return [_of(family) for family in all_families() if family.groups or family.name in TABLES]
    except OSError:
        return []


def _of(family: Family) -> Source:
    return _numbered(built_in(family.name), family.number, family.groups)


@lru_cache(maxsize=256)
def built_in(name: str) -> Source:
    """The source `genl:<name>` without a number and groups."""
    if name not in TABLES:
        return family_source(name)
    source: Source = import_module(f"{__name__}.{TABLES[name]}").SOURCE
    return source


def _unknown(name: str, families: list[Family]) -> UnknownSource:
    names = [family.name for family in families if family.groups or family.name in TABLES]
    return UnknownSource(
        f"no generic netlink family {name!r} in this network namespace{did_you_mean(name, names)}: "
        f"there are {', '.join(names)}; others come with their modules, as nl80211 with cfg80211"
    )


# -- the number of a family -------------------------------------------------------------------------------


def _numbered(source: Source, number: int, groups: Mapping[str, int]) -> Source:
    return _with_number(source, source.schemas, number, tuple(groups.items()))


@lru_cache(maxsize=256)  # schemas are compiled once each; sources are equal whatever their schemas
def _with_number(
    source: Source, schemas: tuple[AnySchema, ...], number: int, groups: tuple[tuple[str, int], ...]
) -> Source:
    of = dict(groups) if source.membership else dict(source.groups)
    every = Groups(*of.values())
    handshake = source.handshake
    return replace(
        source,
        groups=of,
        default=every,
        probe=every if every and source.membership else source.probe,
        types={number: source.genl},
        schemas=tuple(_schema(each, number, of) for each in schemas if isinstance(each, Schema)),
        handshake=handshake and _handshake(handshake, number),
    )


def _schema(schema: Schema, number: int, groups: Mapping[str, int]) -> Schema:
    """The schema of a family with this number. Groups that this kernel lacks are left out."""
    dump = schema.dump
    return replace(
        schema,
        ops=tuple(replace(op, type=number) for op in schema.ops),
        groups=tuple(group for group in schema.groups if group in groups),
        dump=replace(dump, type=number) if isinstance(dump, Dump) else dump,
    )


def _handshake(handshake: Handshake, number: int) -> Handshake:
    """The handshake with this number in its requests, instead of NO_FAMILY."""
    return handshake._replace(
        join=partial(_to_family, number, handshake.join), leave=partial(_to_family, number, handshake.leave)
    )


def _to_family(number: int, make: Callable[..., bytes], *arguments: object) -> bytes:
    requests, at = bytearray(make(*arguments)), 0
    while at < len(requests):
        struct.pack_into("=H", requests, at + TYPE_AT, number)
        at += int.from_bytes(requests[at : at + TYPE_AT], sys.byteorder)
    return bytes(requests)
