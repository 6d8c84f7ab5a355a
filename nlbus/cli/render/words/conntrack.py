"""A connection as a line of conntrack(8) with `-o extended`, nearly as in /proc/net/nf_conntrack."""

from collections.abc import Iterator, Mapping
from typing import Any

from nlbus.sources.conntrack import FAMILY, IPPROTO

FAMILY_NUMBERS = {name: number for number, name in FAMILY.items()}
FAMILY_NAMES = {"inet": "ipv4", "inet6": "ipv6"}
PROTOCOL_NUMBERS = {name: number for number, name in IPPROTO.items()}
TRACKED = frozenset(
    {"icmp", "tcp", "udp", "dccp", "gre", "sctp", "udplite", "icmpv6"}
)  # conntrack(8) names no other
EVENTS = {"new": "[NEW]", "change": "[UPDATE]", "del": "[DESTROY]"}
SECOND = 1_000_000_000  # ns

Row = Mapping[str, Any]  # of the table conntrack, from Table.iter_rows


def event_line(row: Row) -> str:
    """The line of an event: what happened, and the connection."""
    return f"{EVENTS[row['nl_op']]:>9} {classic_line(row)}"


def classic_line(row: Row) -> str:
    """The line of a connection; absent columns are omitted."""
    return " ".join(_words(row))


def _words(row: Row) -> Iterator[str]:
    family, proto = row["family"], row["orig_proto"]
    yield f"{FAMILY_NAMES.get(family, 'unknown'):<8} {FAMILY_NUMBERS.get(family, family)}"
    yield f"{proto if proto in TRACKED else 'unknown':<8} {PROTOCOL_NUMBERS.get(proto, proto)}"
    status = row["status"] or ()
    if "OFFLOAD" not in status:
        yield from _values(row, "{}", "timeout", "tcp_state", "dccp_state", "sctp_state")
    yield from _direction(row, "orig")
    if row["status"] is not None and "SEEN_REPLY" not in status:
        yield "[UNREPLIED]"
    yield from _direction(row, "reply")
    for state in ("HW_OFFLOAD", "OFFLOAD", "ASSURED"):
        if state in status:
            yield f"[{state}]"
            break
    yield from _values(row, "mark={}", "mark")
    yield from _values(row, "secctx={}", "secctx")
    yield from _values(row, "zone={}", "zone")
    if row["timestamp_start"] is not None:
        until = row["timestamp_stop"] or row["nl_time"]
        yield f"delta-time={max(until - row['timestamp_start'], 0) // SECOND}"
    yield from _values(row, "helper={}", "helper")
    yield from _values(row, "use={}", "use")


def _direction(row: Row, which: str) -> Iterator[str]:
    yield from _values(row, "src={}", f"{which}_src")
    yield from _values(row, "dst={}", f"{which}_dst")
    gre = row[f"{which}_proto"] == "gre"
    yield from _values(row, "srckey={:#x}" if gre else "sport={}", f"{which}_sport")
    yield from _values(row, "dstkey={:#x}" if gre else "dport={}", f"{which}_dport")
    for name in ("type", "code", "id"):
        yield from _values(row, name + "={}", f"{which}_icmp_{name}")
    yield from _values(row, f"zone-{which}={{}}", f"{which}_zone")
    yield from _values(row, "packets={}", f"{which}_packets")
    yield from _values(row, "bytes={}", f"{which}_bytes")


def _values(row: Row, form: str, *columns: str) -> Iterator[str]:
    """The columns that have a value, formatted."""
    return (form.format(row[column]) for column in columns if row[column] is not None)
