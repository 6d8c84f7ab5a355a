"""The rules of the kernel module nlbus_packet: which packets are dropped, and which are reported.

Each network namespace has an ordered list: the first rule that matches a packet at a hook decides. A packet
without a match is accepted and reported to the source `packet`.
"""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from nlbus.errors import SchemaError, kernel_error
from nlbus.kernel.arguments import whole
from nlbus.kernel.netns import Netns, inside
from nlbus.kernel.requests import Reply, Requests, attribute, attributes
from nlbus.schema.packet_headers import PROTOCOLS
from nlbus.sources import did_you_mean, family_of
from nlbus.sources.genl import GENLMSGHDR, NETLINK_GENERIC
from nlbus.sources.packet import AF, HOOKS, PACKET
from nlbus.table.event_table import record_topic
from nlbus.table.values import MAPPED

__all__ = ["Packet", "Rule", "add", "delete", "flush", "rules"]

Network = IPv4Network | IPv6Network
Action = Literal["accept", "drop", "sample"]

# For `batch.records`; `batch.table("packet")` also knows which values are missing.
(_schema,) = PACKET.schemas
Packet = record_topic(PACKET, _schema)

VERSION = 1
CMD_ADD, CMD_DEL, CMD_FLUSH, CMD_GET = range(1, 5)
(
    A_HANDLE, A_BEFORE, A_ACTION, A_SAMPLE, A_HOOKS, A_FAMILY, A_PROTOCOL, A_SRC, A_SRC_LEN, A_DST, A_DST_LEN,
    A_SPORT, A_SPORT_LAST, A_DPORT, A_DPORT_LAST, A_IIF, A_OIF, A_PACKETS, A_BYTES, A_EVENTS,
) = range(1, 21)  # fmt: skip
ACTIONS: tuple[Action, ...] = ("accept", "drop", "sample")  # NLBUS_PACKET_*, from 1
ALL_HOOKS = (1 << len(HOOKS)) - 1
MAPPED_NETWORK = IPv6Network("::ffff:0:0/96")
MAPPED_BITS = 96  # the prefix of a mapped IPv4 address


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """An action for packets that match; None and () match all. SchemaError for an invalid rule.

    action: "accept", "drop", or "sample": accept, and report one in `one_in`. hooks: names of the source's
    groups. protocol: a name or a number. src, dst: an address or a prefix, "10.0.0.0/8". sport, dport: the
    first and the last port; a packet without ports, such as a later fragment, does not match. iif, oif: names
    of interfaces. The rest comes from the kernel: handle, from 1, and how many packets matched, their bytes,
    and how many of them were reported.
    """

    action: Action
    one_in: int | None = None
    hooks: tuple[str, ...] = ()
    family: Literal["inet", "inet6"] | None = None
    protocol: str | int | None = None
    src: str | None = None
    dst: str | None = None
    sport: tuple[int, int] | None = None
    dport: tuple[int, int] | None = None
    iif: str | None = None
    oif: str | None = None
    handle: int = 0
    packets: int = 0
    bytes: int = 0
    events: int = 0

    def __post_init__(self) -> None:
        _attributes(self)


def add(rule: Rule, *, before: int | None = None, netns: Netns = None) -> Rule:
    """Add a rule at the end, or before the rule of this handle; return the kernel's version, with its handle.

    PermissionDenied without CAP_NET_ADMIN over the namespace; KernelError with the kernel's words.
    """
    body = _attributes(rule)
    if before is not None:
        body += _number("=I", A_BEFORE, before, "before")
    action = "adding a packet rule"
    replies = _ask(CMD_ADD, body, action, netns)
    if not replies:
        raise kernel_error(
            errno.ENOBUFS, action, "the rule was added, but the answer with its handle was lost"
        )
    return _rule(replies[0])


def delete(handle: int, *, netns: Netns = None) -> None:
    """Delete the rule of this handle. KernelError (ENOENT) if there is none; other errors as of `add`."""
    _ask(CMD_DEL, _number("=I", A_HANDLE, handle, "handle"), f"deleting packet rule {handle}", netns)


def flush(*, netns: Netns = None) -> None:
    """Delete all rules. Errors as of `add`."""
    _ask(CMD_FLUSH, b"", "deleting all packet rules", netns)


def rules(*, netns: Netns = None) -> list[Rule]:
    """The rules in order, with their counters. Errors as of `add`."""
    action = "listing packet rules"

    def dump() -> list[Reply]:
        family = family_of(PACKET, action)
        with Requests(NETLINK_GENERIC) as kernel:
            return kernel.dump(family.number, GENLMSGHDR.pack(CMD_GET, VERSION), action)

    return [_rule(reply) for reply in inside(netns, dump)]


def _ask(command: int, body: bytes, action: str, netns: Netns) -> list[Reply]:
    def ask() -> list[Reply]:
        family = family_of(PACKET, action)
        with Requests(NETLINK_GENERIC) as kernel:
            return kernel.ask(family.number, GENLMSGHDR.pack(command, VERSION) + body, action)

    return inside(netns, ask)


# -- as attributes ----------------------------------------------------------------------------------


def _attributes(rule: Rule) -> bytes:
    return b"".join(_each(rule))


def _each(rule: Rule) -> Iterator[bytes]:
    action = _word(rule.action, {name: n for n, name in enumerate(ACTIONS, 1)}, "action")
    yield attribute(A_ACTION, bytes([action]))
    if (rule.action == "sample") != (rule.one_in is not None):
        raise SchemaError(
            "one_in= belongs to the action 'sample', which requires it: one packet in so many is reported"
        )
    if rule.one_in is not None:
        yield _number("=I", A_SAMPLE, rule.one_in, "one_in", least=1)
    if rule.hooks:
        hooks = {name: number for number, name in HOOKS.items()}
        mask = sum({1 << _word(name, hooks, "hook") for name in rule.hooks})
        yield attribute(A_HOOKS, struct.pack("=I", mask))
    src, dst = _parsed(rule.src, "src"), _parsed(rule.dst, "dst")
    family = rule.family
    if family is None and (_holds_mapped(src) or _holds_mapped(dst)):
        family = "inet6"  # ::/0 does not mean IPv4
    if family is not None:
        families = {name: number for number, name in AF.items()}
        yield attribute(A_FAMILY, bytes([_word(family, families, "family")]))
    if rule.protocol is not None:
        number = rule.protocol
        if isinstance(number, str):
            number = _word(number, {name: n for n, name in PROTOCOLS.items()}, "protocol")
        yield _number("=B", A_PROTOCOL, number, "protocol")
    yield from _prefix(src, A_SRC, A_SRC_LEN)
    yield from _prefix(dst, A_DST, A_DST_LEN)
    yield from _ports(rule.sport, A_SPORT, A_SPORT_LAST, "sport")
    yield from _ports(rule.dport, A_DPORT, A_DPORT_LAST, "dport")
    for name, device in ((A_IIF, rule.iif), (A_OIF, rule.oif)):
        if device is not None:
            yield attribute(name, device.encode(errors="surrogateescape") + b"\0")


def _word(word: str, known: dict[str, int], what: str) -> int:
    if word not in known:
        raise SchemaError(f"no {what} {word!r}{did_you_mean(str(word), known)}: there are {', '.join(known)}")
    return known[word]


def _number(form: str, kind: int, value: int, what: str, least: int = 0) -> bytes:
    highest = (1 << 8 * struct.calcsize(form)) - 1
    return attribute(kind, struct.pack(form, whole(value, what, least, highest)))


def _parsed(text: str | None, what: str) -> Network | None:
    try:
        return None if text is None else ip_network(text)
    except ValueError as error:
        raise SchemaError(f"{what}={text!r}: an address or a prefix, such as 10.0.0.0/8: {error}") from error


def _prefix(network: Network | None, address: int, length: int) -> Iterator[bytes]:
    if network is None:
        return
    raw = network.network_address.packed
    mapped = network.version == 4
    yield attribute(address, MAPPED + raw if mapped else raw)
    yield attribute(length, bytes([network.prefixlen + MAPPED_BITS * mapped]))


def _holds_mapped(network: Network | None) -> bool:
    return isinstance(network, IPv6Network) and network.supernet_of(MAPPED_NETWORK)


def _ports(ports: tuple[int, int] | None, first: int, last: int, what: str) -> Iterator[bytes]:
    if ports is None:
        return
    if not isinstance(ports, tuple) or len(ports) != 2:
        raise SchemaError(f"{what}={ports!r}: the first and the last port, such as (53, 53)")
    yield _number("=H", first, ports[0], what)
    yield _number("=H", last, ports[1], what)
    if ports[1] < ports[0]:
        raise SchemaError(f"{what}={ports!r}: the last port is below the first")


# -- from attributes --------------------------------------------------------------------------------


def _rule(reply: Reply) -> Rule:
    found = attributes(reply.body[GENLMSGHDR.size :])
    numbers = {kind: int.from_bytes(data, sys.byteorder) for kind, data in found.items()}
    hooks = numbers.get(A_HOOKS, ALL_HOOKS)
    protocol = numbers.get(A_PROTOCOL)
    return Rule(
        action=ACTIONS[numbers[A_ACTION] - 1],
        one_in=numbers.get(A_SAMPLE),
        hooks=() if hooks == ALL_HOOKS else tuple(name for n, name in HOOKS.items() if hooks >> n & 1),
        family=AF.get(numbers.get(A_FAMILY, 0)),  # type: ignore[arg-type]
        protocol=None if protocol is None else PROTOCOLS.get(protocol, protocol),
        src=_network(found, A_SRC, A_SRC_LEN),
        dst=_network(found, A_DST, A_DST_LEN),
        sport=(numbers[A_SPORT], numbers[A_SPORT_LAST]) if A_SPORT in numbers else None,
        dport=(numbers[A_DPORT], numbers[A_DPORT_LAST]) if A_DPORT in numbers else None,
        iif=_text(found.get(A_IIF)),
        oif=_text(found.get(A_OIF)),
        handle=numbers[A_HANDLE],
        packets=numbers[A_PACKETS],
        bytes=numbers[A_BYTES],
        events=numbers[A_EVENTS],
    )


def _network(found: dict[int, bytes], address: int, length: int) -> str | None:
    if address not in found:
        return None
    raw, bits = found[address], found[length][0]
    if raw.startswith(MAPPED) and bits >= MAPPED_BITS:
        return str(IPv4Network((raw[12:], bits - MAPPED_BITS)))
    return str(IPv6Network((raw, bits)))


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.rstrip(b"\0").decode(errors="surrogateescape")
