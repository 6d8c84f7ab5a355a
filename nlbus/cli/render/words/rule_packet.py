"""Packets that rules log or queue as lines, much like those of tcpdump."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from nlbus.cli.render.interface_names import InterfaceNames
from nlbus.cli.render.words.packet import end, transport

Row = dict[str, Any]

VERSIONS = {4: "IP", 6: "IP6"}
PARTS = (
    "hook", "ifindex_indev", "ifindex_outdev", "hw_protocol", "ip_version", "src", "dst", "protocol", "sport",
    "dport", "tcp_flags", "tcp_seq", "tcp_ack", "tcp_window", "icmp_type", "icmp_code", "arp_op", "length",
    "ip_flags", "frag_offset", "data_offset", "prefix", "mark",
)  # fmt: skip
# The columns that a line is made of; -v shows the others.
ONLY: Mapping[str, Iterable[str]] = {"packet": ("group", "queue", "id", *PARTS)}


def _packet(row: Row, names: InterfaceNames) -> Iterator[str]:
    shown: Row = {name: row.pop(name, None) for name in PARTS}
    group, queue = row.pop("group", None), row.pop("queue", None)
    yield f"group {group}" if queue is None else f"queue {queue} id {row.pop('id', '?')}"
    if shown["prefix"]:
        yield f'"{shown["prefix"]}"'
    if shown["hook"] is not None:
        yield str(shown["hook"])
    if shown["ifindex_indev"]:
        yield f"in {names.name(shown['ifindex_indev'])}"
    if shown["ifindex_outdev"]:
        yield f"out {names.name(shown['ifindex_outdev'])}"
    if shown["mark"]:
        yield f"mark {shown['mark']:#x}"
    yield from _arp(shown) if shown["arp_op"] is not None else _ip(shown)


def _arp(row: Row) -> Iterator[str]:
    yield f"ARP {row['arp_op']}"
    if row["src"] is not None and row["dst"] is not None:
        yield f"{row['src']} > {row['dst']}"


def _ip(row: Row) -> Iterator[str]:
    if row["ip_version"] is None or row["src"] is None or row["dst"] is None:
        yield f"protocol {row['hw_protocol']}"  # of another kind, or too little of it was copied
        return
    yield VERSIONS.get(row["ip_version"], str(row["ip_version"]))
    yield f"{end(row, 'src', 'sport')} > {end(row, 'dst', 'dport')}:"
    length, data_offset = row["length"], row["data_offset"]
    known = length is not None and data_offset is not None
    flags = ["fragment"] * (row["frag_offset"] is not None) + ["more"] * ("mf" in (row["ip_flags"] or ()))
    like = row | {
        "seq": row["tcp_seq"],
        "ack": row["tcp_ack"],
        "window": row["tcp_window"],
        "payload": length - data_offset if known else 0,
        "flags": flags,
    }
    parts = [] if row["protocol"] is None else list(transport(like))
    yield ", ".join([*parts, *([] if length is None else [f"length {length}"])])


WORDS: Mapping[str, Callable[[Row, InterfaceNames], Iterator[str]]] = {"packet": _packet}
