"""Compares a spec's table with nlbus's own one: the columns that have the same places in messages."""

from __future__ import annotations

import socket
import struct
from collections import defaultdict
from typing import Any

import nlbus
from nlbus.kernel.constants import GetFlag, MessageFlag, MessageType
from nlbus.kernel.requests import message
from nlbus.schema.schema import Dump, Schema
from nlbus.sources import SOURCES
from nlbus.table.table import Table
from nlbus.ynl import Spec
from nlbus.ynl.alike import places


def datagrams(protocol: int, request: int, header: bytes) -> list[bytes]:
    """The answer to a dump, as it came."""
    found = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as sock:
        sock.settimeout(5)
        sock.send(message(request, header, MessageFlag.REQUEST | GetFlag.DUMP, 1))
        while True:
            data = sock.recv(1 << 18)
            found.append(data)
            kinds, at = [], 0
            while at + 16 <= len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                kinds.append(kind)
                at += max(length + 3 & ~3, 16)
            if {MessageType.DONE, MessageType.ERROR} & set(kinds):
                return found


def same_columns(own: Schema, spec: Schema) -> list[tuple[str, str]]:
    """The columns of both tables with the same place, where each has one place only."""
    ours, theirs = defaultdict[str, list[object]](list), dict(places(spec))
    for place, name in places(own):
        ours[name].append(place)
    return [
        (name, theirs[at[0]])
        for name, at in ours.items()
        if at[0] in theirs and {theirs.get(each) for each in at} <= {theirs[at[0]], None}
    ]


def compare(spec: Spec, source: str, own: str, table: str) -> tuple[int, int, list[str]]:
    """Rows, columns that both tables have, and the columns that differ, of a dump that both read."""
    mine = schema_of(SOURCES[source].schemas, own)
    theirs = schema_of(spec.schemas, table)
    assert isinstance(mine.dump, Dump)
    headers = mine.dump.headers() if callable(mine.dump.headers) else mine.dump.headers
    dump = [data for header in headers for data in datagrams(spec.protocol, mine.dump.type, header)]
    first = nlbus.Batch.from_datagrams(source, dump).table(own)
    second = nlbus.Batch.from_datagrams(spec, dump).table(table)
    assert len(first) == len(second)
    pairs = same_columns(mine, theirs)
    return len(first), len(pairs), [f"{a} {b}" for a, b in pairs if plain(first, a) != plain(second, b)]


def schema_of(schemas: Any, name: str) -> Schema:
    found = next(schema for schema in schemas if schema.name == name)
    assert isinstance(found, Schema)
    return found


def plain(table: Table, column: str) -> list[Any]:
    """The values of a column, without names of numbers and without the display of bytes."""
    column_valid = table.valid(column).tolist()
    values = table[column]
    return [
        _plain(value) if there else None for value, there in zip(values.tolist(), column_valid, strict=True)
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        mapped = bytes(10) + b"\xff\xff"
        return value.removeprefix(mapped) if len(value) == 16 else value
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [_plain(each) for each in value] if isinstance(value, list) else value
