"""A packet as a line, much like that of tcpdump."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from nlbus.cli.render.interface_names import InterfaceNames
from nlbus.schema.packet_headers import TCP_FLAGS

Row = dict[str, Any]

LETTERS = dict(zip(TCP_FLAGS.values(), "FSRP.UEWe", strict=True))
FAMILIES = {"inet": "IP", "inet6": "IP6"}
ICMP = {
    ("icmp", 0): "echo reply", ("icmp", 3): "unreachable", ("icmp", 5): "redirect",
    ("icmp", 8): "echo request", ("icmp", 11): "time exceeded",
    ("icmpv6", 1): "unreachable", ("icmpv6", 2): "packet too big", ("icmpv6", 3): "time exceeded",
    ("icmpv6", 128): "echo request", ("icmpv6", 129): "echo reply", ("icmpv6", 131): "multicast report",
    ("icmpv6", 133): "router solicitation", ("icmpv6", 134): "router advertisement",
    ("icmpv6", 135): "neighbor solicitation", ("icmpv6", 136): "neighbor advertisement",
    ("icmpv6", 137): "redirect", ("icmpv6", 143): "multicast report v2",
}  # fmt: skip

# The columns that the line is made of; -v shows the others.
ONLY: dict[str, Iterable[str]] = {
    "packet": (
        "time_ns", "hook", "iif", "oif", "family", "src", "dst", "sport", "dport", "protocol", "tcp_flags",
        "seq", "ack", "window", "payload", "icmp_type", "icmp_code", "flags", "frag_offset", "ct_state",
        "verdict", "rule",
    )
}  # fmt: skip


def _packet(row: Row, names: InterfaceNames) -> Iterator[str]:
    shown: Row = {name: row.pop(name, None) for name in ONLY["packet"]}
    yield shown["hook"]
    if shown["iif"]:
        yield f"in {names.name(shown['iif'])}"
    if shown["oif"]:
        yield f"out {names.name(shown['oif'])}"
    yield FAMILIES.get(shown["family"], str(shown["family"]))
    yield f"{end(shown, 'src', 'sport')} > {end(shown, 'dst', 'dport')}:"
    yield ", ".join([*transport(shown), f"length {shown['payload']}"])
    if shown["ct_state"]:
        yield f"[{shown['ct_state']}{' reply' * ('reply' in shown['flags'])}]"
    if shown["verdict"] == "drop":
        yield f"DROP by rule {shown['rule']}"
    elif shown["rule"]:
        yield f"rule {shown['rule']}"


def end(row: Row, address: str, port: str) -> str:
    """An address, and the port if there is one."""
    return row[address] if row[port] is None else f"{row[address]}.{row[port]}"


def transport(row: Row) -> Iterator[str]:
    """What is known of the header behind IP's, and of fragments."""
    protocol = row["protocol"]
    if row["tcp_flags"] is not None:
        yield from _tcp(row)
    elif row["icmp_type"] is not None:
        kind, code = row["icmp_type"], row["icmp_code"]
        name = ICMP.get((protocol, kind), f"type {kind}")
        yield f"{_name(protocol)} {name}{f' code {code}' * bool(code)}"
    else:
        yield _name(protocol)
    if "fragment" in row["flags"]:
        yield f"fragment at {row['frag_offset']}{'+' * ('more' in row['flags'])}"
    if "truncated" in row["flags"]:
        yield "truncated"


def _name(protocol: str | int) -> str:
    """The name of a protocol, or its number if it has none."""
    return protocol.upper() if isinstance(protocol, str) else f"protocol {protocol}"


def _tcp(row: Row) -> Iterator[str]:
    flags = row["tcp_flags"]
    yield f"Flags [{''.join(LETTERS.get(flag, flag) for flag in flags) or 'none'}]"
    if row["payload"]:
        yield f"seq {row['seq']}:{(row['seq'] + row['payload']) & 0xFFFF_FFFF}"
    elif {"syn", "fin", "rst"} & {*flags}:
        yield f"seq {row['seq']}"
    if "ack" in flags:
        yield f"ack {row['ack']}"
    yield f"win {row['window']}"


WORDS: dict[str, Callable[[Row, InterfaceNames], Iterator[str]]] = {"packet": _packet}
