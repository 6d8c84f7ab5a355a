"""Words of traffic control and of bridges, as `tc` and `bridge` write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nlbus.cli.render.holes import actual

if TYPE_CHECKING:
    from nlbus.cli.render.holes import Hole
    from nlbus.cli.render.interface_names import InterfaceNames

Row = dict[str, Any]

PARENTS = {
    0: "", 0xFFFF_FFFF: "root", 0xFFFF_FFF1: "ingress", 0xFFFF_FFF2: "ingress", 0xFFFF_FFF3: "egress",
}  # fmt: skip
# Counters, each with the word behind it; zeros of the latter are left out.
SENT = (("stats_bytes", "bytes"), ("stats_packets", "packets"))
COUNTED = ("drops", "overlimits", "requeues", "backlog", "qlen")


def _tc(row: Row, names: InterfaceNames) -> Iterator[str]:
    if "kind" in row:
        yield str(row.pop("kind"))
    if handle := row.pop("handle", 0):
        yield _handle(int(actual(handle)))
    yield f"dev {_device(row, 'ifindex', names)}"
    parent = int(actual(row.pop("parent", 0)))
    yield PARENTS.get(parent) or f"parent {_handle(parent)}"
    for column in ("family", "info", "hw_offload"):
        row.pop(column, None)
    yield from _statistics(row)


def _statistics(row: Row) -> Iterator[str]:
    for column, word in SENT:
        if row.get(column):
            yield f"{'sent ' if column == SENT[0][0] else ''}{row.pop(column)} {word}"
    for word in COUNTED:
        if row.get(f"stats_{word}"):
            yield f"{word} {row.pop(f'stats_{word}')}"
    for column in [column for column, _ in SENT] + [f"stats_{word}" for word in COUNTED]:
        if column in row and not row[column]:
            row.pop(column)


def _mdb(row: Row, names: InterfaceNames) -> Iterator[str]:
    yield f"dev {_device(row, 'ifindex', names)}"
    if "port" in row:
        yield f"port {_device(row, 'port', names)}"
    if "group" in row:
        yield f"grp {row.pop('group')}"
    if "group_mac" in row:
        yield f"grp {row.pop('group_mac')}"
    if "src" in row:
        yield f"src {row.pop('src')}"
    if "state" in row:
        yield f"{row.pop('state')}"
    if "vid" in row:
        yield f"vid {row.pop('vid')}"
    yield from row.pop("flags", ())
    row.pop("proto", None)


def _vlan(row: Row, names: InterfaceNames) -> Iterator[str]:
    yield f"dev {_device(row, 'ifindex', names)}"
    if "range" in row and "vid" in row:
        yield f"vid {row.pop('vid')}-{row.pop('range')}"
    elif "vid" in row:
        yield f"vid {row.pop('vid')}"
    yield from row.pop("flags", ())
    if "state" in row:
        yield f"state {row.pop('state')}"
    row.pop("family", None)


def _tunnel(row: Row, names: InterfaceNames) -> Iterator[str]:
    yield f"dev {_device(row, 'ifindex', names)}"
    if "end" in row and "start" in row:
        yield f"vni {row.pop('start')}-{row.pop('end')}"
    elif "start" in row:
        yield f"vni {row.pop('start')}"
    if "group" in row:
        yield f"group {row.pop('group')}"
    for column in ("family", "flags"):
        row.pop(column, None)


WORDS: Mapping[str, Callable[[Row, InterfaceNames], Iterator[str]]] = {
    **dict.fromkeys(("qdisc", "tclass", "tfilter", "chain"), _tc),
    "mdb": _mdb,
    "vlan": _vlan,
    "tunnel": _tunnel,
}


def _handle(number: int) -> str:
    """As `tc` has it: major:minor, in hex."""
    major, minor = number >> 16, number & 0xFFFF
    return f"{major:x}:{minor:x}" if minor else f"{major:x}:"


def _device(row: Row, column: str, names: InterfaceNames) -> str | Hole:
    return names.device(row.pop(column), int(row.get("nl_nsid", -1)))
