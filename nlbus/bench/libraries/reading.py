"""The same bytes from memory, and the same routes from the kernel, read by each library."""

from __future__ import annotations

import importlib
import importlib.util
import json
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import nlbus
from nlbus import Batch
from nlbus.bench.libraries import kernel
from nlbus.bench.libraries.library import LIBMNL, LIBNL, Counts, Library
from nlbus.bench.libraries.sides import Side, Work, alternate
from nlbus.bench.libraries.tools import program
from nlbus.bench.plans import Progress, Scale
from nlbus.bench.results import Measurement, Missing
from nlbus.kernel.requests import NLMSGHDR, attributes, messages

BLOCK = 32_768  # bytes of messages per datagram: the kernel's largest part of a dump
RTA_OIF, IFLA_MTU = 4, 4
HEADS = {"route": 12, "link": 16}  # bytes of struct rtmsg and ifinfomsg
COLUMNS = {"route": "oif", "link": "mtu"}
NAMES = {"route": "RTA_OIF", "link": "IFLA_MTU"}
# Messages of each kind: every library reads them in each turn, the slowest a thousand per second.
IN_MEMORY = {"quick": {"route": 500, "link": 50}, "full": {"route": 1_000, "link": 200}}
LISTED = {"quick": 1_000, "full": 10_000}

OURS = "every column, as arrays"
PYROUTE2 = "objects that decode an attribute when asked for it: one was"
JSON = "a process, its JSON read: text of all it prints"
C_LIBMNL = "C: an index of the attributes, one of them read"
C_LIBNL = "C: an object with all it knows of, one value read"


class Others(NamedTuple):
    """The installed libraries beside nlbus."""

    pyroute2: bool
    libraries: list[Library]


def others() -> tuple[Others, list[Missing]]:
    """The installed libraries and the missing ones, including those that only listen to storms."""
    missing = [
        Missing("libraries", name, f"not installed: pip install {name}")
        for name in ("pyroute2", "pyudev")
        if importlib.util.find_spec(name) is None
    ]
    libraries = []
    for kind in (LIBMNL, LIBNL):
        try:
            libraries.append(Library(kind))
        except OSError as error:
            missing.append(Missing("libraries", kind.name, str(error)))
    return Others("pyroute2" not in {one.subject for one in missing}, libraries), missing


def from_memory(plan: Scale, progress: Progress, there: Others) -> Iterator[Measurement | Missing]:
    """NEWROUTE and NEWLINK messages of a dump, parsed again and again."""
    count = IN_MEMORY[plan.name]
    yield from _parsed("route", kernel.route_messages(count["route"]), "NEWROUTE", plan, progress, there)
    yield from _parsed("link", kernel.link_messages(count["link"]), "NEWLINK", plan, progress, there)


def _parsed(
    table: str, data: bytes, name: str, plan: Scale, progress: Progress, there: Others
) -> Iterator[Measurement | Missing]:
    progress(f"libraries: {name} from memory")
    work = _expected(f"{name} messages from memory", data, HEADS[table])
    blocks = list(_blocks(data))

    def ours() -> tuple[int, int]:
        column = Batch.from_datagrams("route", blocks).table(table)[COLUMNS[table]]
        return len(column), int(column.sum(dtype="u8"))

    sides = [Side("nlbus", ours, OURS)]
    if there.pyroute2:
        marshal = importlib.import_module("pyroute2.netlink.rtnl.marshal").MarshalRtnl()

        def theirs() -> tuple[int, int]:
            values = [found.get_attr(NAMES[table]) for found in marshal.parse(data)]
            return len(values), sum(filter(None, values))

        sides.append(Side("pyroute2", theirs, PYROUTE2))
    sides += [Side(one.name, _sum(partial(one.parse, data)), _note(one)) for one in there.libraries]
    yield from alternate(work, sides, plan)


def _sum(call: Callable[[], Counts]) -> Callable[[], tuple[int, int]]:
    def work() -> tuple[int, int]:
        found = call()
        return found.messages, found.value

    return work


def from_kernel(plan: Scale, progress: Progress, there: Others) -> Iterator[Measurement | Missing]:
    """All IPv4 routes of this namespace, requested and read; this includes the kernel's own work."""
    count = LISTED[plan.name]
    progress(f"libraries: a dump of {count:,} routes")
    with kernel.listed_routes(count):
        work = Work(f"a dump of {count:,} routes", *_our_dump())
        sides = [Side("nlbus", _our_dump, OURS)]
        if there.pyroute2:
            sides.append(Side("pyroute2", _pyroute2_dump, PYROUTE2))
        ip = program("ip")
        if ip is None:
            yield Missing("libraries", "ip -j", "no `ip`: install iproute2")
        else:
            sides.append(Side("ip -j", partial(_ip_dump, ip), JSON))
        sides += [Side(one.name, _sum(one.dump), _note(one)) for one in there.libraries]
        yield from alternate(work, sides, plan)


def _our_dump() -> tuple[int, int]:
    table = nlbus.snapshot("route", "route", where=nlbus.field("family") == "inet")
    return len(table), int(table["oif"].sum(dtype="u8"))


def _pyroute2_dump() -> tuple[int, int]:
    with importlib.import_module("pyroute2").IPRoute() as ipr:
        values = [found.get_attr("RTA_OIF") for found in ipr.get_routes(family=socket.AF_INET)]
    return len(values), sum(filter(None, values))


def _ip_dump(ip: str) -> tuple[int, int]:
    command = [ip, "-j", "-4", "route", "show", "table", "all"]
    data = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    index = {name: number for number, name in socket.if_nameindex()}
    return len(data), sum(index.get(found.get("dev", ""), 0) for found in data)


def _note(library: Library) -> str:
    return C_LIBMNL if library.name == LIBMNL.name else C_LIBNL


def _expected(name: str, data: bytes, head: int) -> Work:
    """How many messages, and the sum of their RTA_OIF or IFLA_MTU, read independently."""
    value = count = 0
    for found, _ in messages(data):
        count += 1
        if word := attributes(found.body[head:]).get(RTA_OIF):  # IFLA_MTU has the same number
            value += struct.unpack("=I", word)[0]
    return Work(name, count, value)


def _blocks(data: bytes) -> Iterator[bytes]:
    """The messages as datagrams of a dump's size."""
    start = at = 0
    while at < len(data):
        (length, *_) = NLMSGHDR.unpack_from(data, at)
        length += -length % 4
        if at + length - start > BLOCK:
            yield data[start:at]
            start = at
        at += length
    yield data[start:]
