"""Decodes messages to rows by their schema, in plain Python: the oracle for nlbus._core.columns.decode.

It uses only nlbus/schema's types from nlbus, and is written for readability, not speed.
"""

import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from socket import AF_INET, AF_INET6
from typing import Any, Literal

from nlbus.schema.packet_headers import FIELDS
from nlbus.schema.schema import (
    Attr,
    Each,
    Elements,
    Entry,
    List,
    Nest,
    Nests,
    Numbered,
    Op,
    Packet,
    Schema,
    Select,
    Struct,
    Structs,
)
from nlbus.schema.types import Column, Field, Type
from tests.support.packet_reference import dissected

NUMBER = 0x3FFF  # of nla_type, without its flags
BAD = object()  # marks bytes that are no value of the type


@dataclass
class Decoded:
    """One row per message: its columns (None where absent), its operation, and whether it is damaged.

    Values are int, True (a flag), str (invalid UTF-8 as surrogates), bytes, and lists of these and None.
    An address is 16 bytes.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    ops: list[str] = field(default_factory=list)
    damaged: list[bool] = field(default_factory=list)
    unknown: int = 0  # attributes that the schema lacks
    messages: list[int] = field(default_factory=list)  # the number of each row's
    malformed: int = 0  # messages too short for their header: no row; or that end in no attribute


def decode(schema: Schema, messages: Iterable[tuple[int, int, bytes]]) -> Decoded:
    """Decode the messages of this kind; each message is (type, flags, payload)."""
    found = Decoded()
    columns = list(dict.fromkeys(columns_of(schema)))
    size = size_of(schema.header)
    for number, (kind, flags, data) in enumerate(messages):
        rule = matching(schema, kind, flags, data)
        if rule is None:
            continue
        op = rule.op
        payload = data if rule.within is None else within(data, *rule.within, size)
        if payload is None or len(payload) < size:
            found.malformed += 1
            continue
        parts: Parts = [(b"", payload[aligned(size) :])]
        if schema.each is not None:
            parts, cut = parts_of(schema.each, parts[0][1], found)
            found.malformed += cut
        for begin, rest in parts:
            message = Message(dict.fromkeys(columns))
            message.fields("", schema.header, payload)
            if schema.each is not None:
                if schema.each.shared:
                    message.attributes("", schema.prefix, schema.each.shared, payload[aligned(size) :])
                    message.unknown = 0  # counted with the parts
                message.damaged |= len(begin) < size_of(schema.each.fields)
                message.fields(
                    "", schema.each.fields, b"" if len(begin) < size_of(schema.each.fields) else begin
                )
            if schema.entries:
                message.attributes("", schema.prefix, schema.entries, rest)
            found.rows.append(message.row)
            found.ops.append(op)
            found.messages.append(number)
            found.damaged.append(message.damaged)
            found.unknown += message.unknown
    return found


Parts = list[tuple[bytes, bytes]]


def within(payload: bytes, begin: int, number: int, size: int) -> bytes | None:
    """The header in the attribute at `begin`, and what follows; None if it is not there."""
    length, found = struct.unpack_from("=HH", payload.ljust(begin + 8, b"\0"), aligned(begin))
    there = found & NUMBER == number and 4 + size <= length <= len(payload) - aligned(begin)
    return payload[aligned(begin) + 4 :] if there else None


def parts_of(each: Each, data: bytes, found: Decoded, depth: int = 0) -> tuple[Parts, bool]:
    """The struct and the attributes of each row, and whether bytes remain that are no attribute."""
    parts = Parts()
    cut = False
    known = (*each.ignored, *(one.number for one in each.shared))
    while data:
        length, number = struct.unpack_from("=HH", data) if len(data) >= 4 else (0, 0)
        if not 4 <= length <= len(data):
            return parts, True
        inner, data = data[4:length], data[aligned(length) :]
        if number & NUMBER != each.path[depth]:
            found.unknown += depth > 0 or number & NUMBER not in known
        elif depth + 1 == len(each.path):
            size = size_of(each.fields)
            parts.append((inner[:size], inner[aligned(size) :]))
        else:
            more, worse = parts_of(each, inner, found, depth + 1)
            parts += more
            cut |= worse
    return parts, cut


def family_of(fields: Sequence[Field], name: str, data: bytes) -> int:
    """The value of the field of this name, an address family."""
    at = 0
    for each in fields:
        if each.name == name:
            return int.from_bytes(data[at : at + each.type.size], sys.byteorder)
        at += 0 if each.type.back else each.type.size
    raise AssertionError(name)


def member(type: Type, chosen: int, value: bytes) -> Any:
    """The value of this member of a union, BAD if another one was chosen."""
    one, other = type.cases
    if type.kind == "UNION_BYTES":
        return value if chosen == one else BAD
    if chosen == one:
        return bytes(10) + b"\xff\xff" + value[:4]
    return value if other in (-1, chosen) else BAD


def happened(schema: Schema, kind: int, flags: int, payload: bytes) -> Literal["new", "change", "del"] | None:
    """The operation, or None if the message is of another kind."""
    rule = matching(schema, kind, flags, payload)
    return None if rule is None else rule.op


def matching(schema: Schema, kind: int, flags: int, payload: bytes) -> Op | None:
    """The rule that the message is by, or None if it is of another kind."""
    for wanted, condition in ((True, schema.selector), (False, schema.unless)):
        if condition:
            at, size, value = condition
            there = payload[at : at + size]
            if len(there) == size and (int.from_bytes(there, sys.byteorder) == value) != wanted:
                return None
    group, seq = way(schema)
    for op in schema.ops:
        if op.type == kind and flags & op.mask == op.value and op.group in (0, group) and op.seq in (0, seq):
            if op.has is not None:
                at, value = op.has
                if payload[at : at + 4] != value.to_bytes(4, sys.byteorder):
                    continue
            if op.command >= 0 and payload[:1] != bytes([op.command]):
                continue
            return op
    return None


def way(schema: Schema) -> tuple[int, int]:
    """The group that messages of this kind come by, and their sequence number: as the first op has it."""
    return schema.ops[0].group, schema.ops[0].seq


class Message:
    """One message while it is decoded to a row."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row
        self.damaged = False
        self.unknown = 0
        # Of each nest that we are in: the attributes that select, and their values.
        self.selected: list[dict[str, bytes | None]] = []
        self.items: dict[str, int] = {}  # of the list of nests that we are in, and all columns in it

    def fields(self, lead: str, fields: Sequence[Field], data: bytes, *, listed: bool = False) -> None:
        at = 0
        for each in fields:
            begin = at - each.type.back
            value = value_of(each.type, data[begin : begin + each.type.size])
            if each.type.by and value is not BAD:
                value = member(each.type, family_of(fields, each.type.by, data), value)
            at += 0 if each.type.back else each.type.size
            if each.name and value is not BAD and not is_absent(each, value):
                self.set(joined(lead, each.name), value, listed)

    def attributes(
        self, lead: str, prefix: str, entries: Sequence[Entry], data: bytes, *, listed: bool = False
    ) -> None:
        known = {entry.number: entry for entry in entries}
        selecting = [entry.kernel for entry in entries if isinstance(entry, Attr) and entry.selects]
        self.selected.append(dict.fromkeys(selecting))
        for number, payload in self.each(data):
            entry = known.get(number)
            if entry is None:
                self.unknown += 1
            elif isinstance(entry, Select):
                before = [each.kernel for each in entries[: entries.index(entry)] if each.kernel in selecting]
                by = entry.by or before[-1]
                self.select(name_of(lead, prefix, entry), entry, by, payload, listed)
            else:
                self.entry(name_of(lead, prefix, entry), entry, payload, listed)
        self.selected.pop()

    def each(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The attributes: number and payload."""
        while len(data) >= 4:
            length, number = struct.unpack_from("=HH", data)
            if not 4 <= length <= len(data):
                break
            yield number & NUMBER, data[4:length]
            data = data[aligned(length) :]
        if data:
            self.damaged = True

    def entry(self, name: str, entry: Entry, data: bytes, listed: bool) -> None:
        if isinstance(entry, Attr):
            value = self.value(entry.type, data)
            if listed and len(data) >= entry.type.size:
                self.begin(name)
            if value is not BAD and (value or entry.type.empty):
                self.set(name, value, listed)
                if entry.selects:
                    size = entry.type.size
                    self.selected[-1][entry.kernel] = data[:size] if size else data.split(b"\0")[0]
        elif isinstance(entry, Struct):
            if any(each.name for each in entry.fields):
                self.damaged |= len(data) < (entry.min_size or size_of(entry.fields))
                if len(data) >= (entry.min_size or size_of(entry.fields)):
                    self.fields(name, entry.fields, data, listed=listed)
        elif isinstance(entry, List):
            self.list(name, entry, data)
        elif isinstance(entry, Nest):
            self.attributes(name, entry.prefix, entry.entries, data, listed=listed)
        elif isinstance(entry, Elements):
            self.elements(name, entry, data)
        elif isinstance(entry, Structs):
            self.structs(name, entry, data)
        elif isinstance(entry, Nests):
            items = [(0, data)] if entry.repeated else self.each(data)
            for number, payload in items:
                self.nest(name, entry, number, payload)
        elif isinstance(entry, Packet):
            self.row[name] = data
            framed = all(self.row[column] == value for column, value in entry.framed)
            if (protocol := self.row[entry.protocol]) is not None and not framed:
                self.row |= dissected(protocol, data)
        else:
            assert isinstance(entry, Numbered)
            self.numbered(name, entry, data, listed)

    def nest(self, name: str, entry: Nests, number: int, data: bytes) -> None:
        columns = list(dict.fromkeys(columns_within(name, entry)))
        if not columns:
            return
        for column in columns:
            if self.row[column] is not None:
                self.row[column].append(None)
        count = self.items.get(name, 0) + 1
        for column in columns:
            self.items[column] = count
        self.items[name] = count
        if self.row[columns[0]] is None:
            self.row[columns[0]] = [None]
        if entry.index:
            self.set(joined(name, entry.index), number, True)
        self.attributes(name, entry.prefix, entry.entries, data, listed=True)

    def numbered(self, name: str, entry: Numbered, data: bytes, listed: bool) -> None:
        for column in entry.numbers:
            nests = self.each(data)
            first = next(nests, None)
            if first is None:
                self.damaged = True
                return
            self.unknown += next(nests, None) is not None
            self.set(joined(name, column), first[0], listed)
            data = first[1]
        self.attributes(name, entry.prefix, entry.entries, data, listed=listed)

    def select(self, name: str, entry: Select, by: str, data: bytes, listed: bool) -> None:
        around = [level[by] for level in self.selected if by in level]
        for text, (prefix, entries) in entry.cases.items():
            if around[-1] == entry.values.get(text, text.encode()):
                header = entry.headers.get(text, ())
                self.fields(joined(name, text), header, data, listed=listed)
                rest = data[aligned(size_of(header)) :]
                self.attributes(joined(name, text), prefix, entries, rest, listed=listed)

    def list(self, name: str, entry: List, data: bytes) -> None:
        size = entry.type.size
        if entry.indexed:
            self.row[name] = [self.item(entry.type, payload) for _, payload in self.each(data)]
        elif not entry.repeated:
            items = range(0, len(data) - size + 1, size)
            self.row[name] = [self.item(entry.type, data[at : at + size]) for at in items]
        elif len(data) < size:
            self.damaged = True
        else:
            self.row[name] = (self.row[name] or []) + [self.item(entry.type, data)]

    def structs(self, name: str, entry: Structs, data: bytes) -> None:
        size = size_of(entry.fields)
        columns = list(dict.fromkeys(joined(name, each.name) for each in entry.fields if each.name))
        whole = len(data) // size
        for column in columns:
            self.row[column] = self.row[column] or []
        for i in range(whole):
            for column in columns:
                self.row[column].append(None)
            self.fields(name, entry.fields, data[i * size : (i + 1) * size], listed=True)
        self.damaged |= bool(columns) and len(data) > whole * size

    def elements(self, name: str, entry: Elements, data: bytes) -> None:
        columns = list(dict.fromkeys(columns_within(name, entry)))
        head = size_of(entry.fields)
        for column in columns:
            self.row[column] = []
        while len(data) >= head:
            (length,) = struct.unpack_from("=H", data)
            if not head <= length <= len(data):
                break
            for column in columns:
                self.row[column].append(None)
            self.fields(name, entry.fields, data[:length], listed=True)
            self.attributes(name, entry.prefix, entry.entries, data[aligned(head) : length], listed=True)
            data = data[aligned(length) :]
        if data:
            self.damaged = True

    def value(self, type: Type, data: bytes) -> Any:
        value = value_of(type, data)
        self.damaged |= value is BAD
        return value

    def item(self, type: Type, data: bytes) -> Any:
        value = self.value(type, data)
        return None if value is BAD else value

    def begin(self, column: str) -> None:
        """The first value of this column in a list of nests."""
        if self.row[column] is None:
            self.row[column] = [None] * self.items[column]

    def set(self, column: str, value: Any, listed: bool) -> None:
        if listed:
            self.begin(column)
            self.row[column][-1] = value
        else:
            self.row[column] = value


# -- values -----------------------------------------------------------------------------------------


def value_of(type: Type, data: bytes) -> Any:
    """The value of this type at the start of the data; BAD if there is none."""
    if len(data) < type.size:
        return BAD
    kind = type.kind
    if kind in ("UINT", "SINT", "UINT_BE", "SINT_BE"):
        order: Literal["little", "big"] = "big" if kind.endswith("_BE") else sys.byteorder
        return int.from_bytes(data[: type.size], order, signed=kind.startswith("SINT"))
    if kind in ("VARINT", "VARSINT"):
        signed = kind == "VARSINT"
        return int.from_bytes(data, sys.byteorder, signed=signed) if len(data) in (4, 8) else BAD
    if kind == "FLAG":
        return True
    if kind == "LABEL":
        return int.from_bytes(data[:4], "big") >> 12
    if kind == "WEIGHT":
        return int.from_bytes(data[:2], "little") + 1 & 0xFFFF
    if kind == "TIMEVAL":
        seconds, microseconds = struct.unpack_from(">QQ", data)
        ns = (seconds * 10**9 + microseconds * 1000) % 2**64
        return ns - (ns >> 63 << 64)
    if kind == "COUNTED":
        (length,) = struct.unpack_from(">H", data)
        return data[4 : 4 + length] if length <= len(data) - 4 else BAD
    if kind in ("FIXED", "UNION_ADDRESS", "UNION_BYTES"):
        return data[: type.size]
    if kind == "ADDRESS":
        return address(data)
    if kind == "VIA":
        size = {AF_INET: 4, AF_INET6: 16}.get(int.from_bytes(data[:2], sys.byteorder))
        return address(data[2:]) if len(data) - 2 == size else BAD
    if kind == "TEXT":
        return data.split(b"\0")[0].decode(errors="surrogateescape")
    assert kind == "BYTES"
    return data if not type.longest or len(data) <= type.longest else BAD


def address(data: bytes) -> Any:
    if len(data) == 4:
        return bytes(10) + b"\xff\xff" + data
    return data if len(data) == 16 else BAD


def is_absent(each: Field, value: Any) -> bool:
    bits = (1 << 8 * each.type.size) - 1
    return each.absent is not None and value & bits == each.absent & bits


# -- columns ----------------------------------------------------------------------------------------


def columns_of(schema: Schema) -> Iterator[str]:
    """Every column, once per entry that fills it."""
    parts = schema.each.fields if schema.each is not None else ()
    yield from (each.name for each in (*schema.header, *parts) if each.name)
    if schema.each is not None:
        yield from columns_in("", schema.prefix, schema.each.shared)
    yield from columns_in("", schema.prefix, schema.entries)


def columns_in(lead: str, prefix: str, entries: Sequence[Entry]) -> Iterator[str]:
    for entry in entries:
        name = name_of(lead, prefix, entry)
        if isinstance(entry, Attr | List):
            yield name
        elif isinstance(entry, Struct | Structs):
            yield from (joined(name, each.name) for each in entry.fields if each.name)
        elif isinstance(entry, Packet):
            yield name
            yield from (each.name for each in FIELDS)
        elif isinstance(entry, Nest | Elements | Nests | Numbered):
            yield from columns_within(name, entry)
        else:
            for text, (inner, cases) in entry.cases.items():
                inside = joined(name, text)
                yield from (joined(inside, each.name) for each in entry.headers.get(text, ()) if each.name)
                yield from columns_in(inside, inner, cases)


def columns_within(name: str, entry: Nest | Elements | Nests | Numbered) -> Iterator[str]:
    if isinstance(entry, Elements):
        yield from (joined(name, each.name) for each in entry.fields if each.name)
    elif isinstance(entry, Nests) and entry.index:
        yield joined(name, entry.index)
    elif isinstance(entry, Numbered):
        yield from (joined(name, each) for each in entry.numbers)
    yield from columns_in(name, entry.prefix, entry.entries)


def name_of(lead: str, prefix: str, entry: Entry) -> str:
    """The name of an entry's column, or the common prefix of its columns."""
    if isinstance(entry, Select):
        return joined(lead, entry.column) if entry.column else lead
    own = entry.column or entry.kernel.removeprefix(prefix).lower()
    return lead if own == "-" else joined(lead, own)


def joined(lead: str, name: str) -> str:
    return f"{lead}_{name}" if lead else name


def size_of(fields: Sequence[Field]) -> int:
    return sum(each.type.size for each in fields if not each.type.back)


def aligned(length: int) -> int:
    return length + -length % 4


# -- display form -------------------------------------------------------------------------------------


def shown(column: Column, value: Any) -> Any:
    """The display form: names of enumerations, lists of flag names, text of addresses and bytes."""
    if isinstance(value, list):
        return [shown(column, item) for item in value]
    if value is None:
        return None
    if column.enum is not None:
        return column.enum.get(value, value)
    if column.flags is not None:
        return [name for bit, name in column.flags.items() if value & bit]
    if isinstance(value, bytes):
        if column.display == "address":
            plain = IPv6Address(value)
            return str(plain.ipv4_mapped or plain)
        if column.display == "labels":
            return "/".join(f"{entry >> 12}" for (entry,) in struct.iter_unpack(">I", value))
        if column.display == "lladdr" and len(value) in (4, 16):
            return str(ip_address(value))
        return value.hex(":") if column.display in ("mac", "lladdr") else value.hex()
    return value
