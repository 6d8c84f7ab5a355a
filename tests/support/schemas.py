"""Random schemas, messages that fit a schema, and ways to damage them.

All take a random.Random: hypothesis draws its seed, and reports the failing one.
"""

import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from socket import AF_INET, AF_INET6
from typing import Any, Literal

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
from nlbus.schema.types import (
    ADDRESS,
    BE16,
    BE32,
    BE64,
    BYTES,
    FLAG,
    LABEL,
    LABELS,
    LLADDR,
    S8,
    S16,
    S32,
    S64,
    SBE32,
    SINT,
    TEXT,
    U8,
    U16,
    U32,
    U64,
    UINT,
    VIA,
    WEIGHT,
    Field,
    Type,
    fixed,
    text,
    union_address,
)
from tests.support.columns_reference import way
from tests.support.packets import ETHERTYPES, any_packet
from tests.support.reference import attribute, pad

Message = tuple[int, int, bytes]  # type, flags, payload

INTEGERS = (U8, U16, U32, U64, S8, S16, S32, S64, BE16, BE32, BE64, SBE32)
IN_STRUCTS = (*INTEGERS, U32, LABEL, WEIGHT, fixed(1), fixed(6), text(16), ADDRESS, UINT, SINT)
ALONE = (*IN_STRUCTS, U32, ADDRESS, VIA, FLAG, TEXT, BYTES, LABELS, LLADDR)
IN_LISTS = (*IN_STRUCTS, U32, VIA)
# Types whose values can share one column within a row.
SHARED = {
    "shared_unsigned": (U8, U16, U32, U64, BE16, BE32, BE64, UINT),
    "shared_signed": (S8, S16, S32, S64, SBE32),
    "shared_text": (text(4), text(16)),
    "shared_address": (ADDRESS,),
}
SHARED_ALONE = {
    **SHARED,
    "shared_text": (text(4), TEXT),
    "shared_bytes": (BYTES, LLADDR),
    "shared_address": (ADDRESS, VIA),
}
WORDS = ("vlan", "vxlan", "a", "bridge_slave", "twenty_bytes_of_text")
TYPES = (16, 17, 18, 0x100)
FLAGS = (0, 1, 0x100, 0x101, 0x400)


def any_schema(rng: Random) -> Schema:
    """A random schema; over many seeds, every kind of entry occurs."""
    header = _with_union(rng, _fields(rng, rng.randint(0, 5), shared=True, absent=True))
    size = sum(field.type.size for field in header)
    selector = None
    if rng.random() < 0.3:
        width = rng.choice((1, 2, 4, 8))
        selector = (rng.randint(0, size), width, rng.choice((0, 1, 2)))
    ops = [
        Op(
            rng.choice(TYPES),
            rng.choice(("new", "change", "del")),
            mask,
            rng.choice(FLAGS) & mask,
            group=rng.choice((0, 0, 0, 1, 2)),
            seq=rng.choice((0, 0, 0, 7)),
            **_payload_of(rng, 0 if selector else size),
        )
        for mask in rng.choices((0, 0, 0x100, 0x101), k=rng.randint(1, 4))
    ]
    entries = _entries(rng, rng.choice((0, 3, 8)), depth=0)
    each = None
    divisible = all(field.type.storage == "fixed" for field in header)
    divisible &= not any(isinstance(entry, Packet) for entry in entries)
    if divisible and rng.random() < 0.3:
        each = _each(rng, {field.name for field in header if field.name})
    elif divisible and selector is None and rng.random() < 0.3:
        ops = [replace(op, has=None, within=rng.choice((None, (rng.randint(0, 9), 7)))) for op in ops]
    return Schema(
        name="any", ops=ops, header=header, prefix="P_", entries=entries, selector=selector, each=each
    )


def _each(rng: Random, taken: set[str]) -> Each:
    """A message has several rows; no field has one of these names."""
    fields = _with_union(rng, _fields(rng, rng.randint(0, 4)))
    fields = [field for field in fields if field.name not in taken]
    path = [rng.randint(1, 9) for _ in range(rng.randint(1, 4))]
    shared = [Attr("P_COMMON", 11, rng.choice(ALONE))] if rng.random() < 0.5 else []
    return Each(path, fields if not taken & {"af", "union"} else (), shared, rng.choice(((), (10,))))


def _payload_of(rng: Random, size: int) -> dict[str, Any]:
    """At times, what the payload of an Op must have."""
    if size >= 4 and rng.random() < 0.3:
        return {"has": (rng.randint(0, size - 4), rng.choice((0, 1, 2)))}
    return {"command": rng.choice((0, 1, 200))} if size and rng.random() < 0.2 else {}


def _field(rng: Random, number: int, *, shared: bool, absent: bool) -> Field:
    if rng.random() < 0.2:
        return Field("", fixed(rng.randint(1, 7)))
    if shared and rng.random() < 0.3:
        name = rng.choice(list(SHARED))
        type = rng.choice(SHARED[name])
    else:
        name, type = f"f{number}", rng.choice(IN_STRUCTS)
    lacks = absent and type in INTEGERS and rng.random() < 0.3
    return Field(name, type, absent=rng.choice((0, 1, -1)) if lacks else None)


def _fields(rng: Random, count: int, *, shared: bool = False, absent: bool = False) -> list[Field]:
    fields = [_field(rng, number, shared=shared, absent=absent) for number in range(count)]
    # A name occurs once per struct.
    before = [{other.name for other in fields[:i] if other.name} for i in range(count)]
    return [field for field, names in zip(fields, before, strict=True) if field.name not in names]


def _with_union(rng: Random, fields: list[Field]) -> list[Field]:
    """At times with an address of either family, and its family before or after it."""
    if rng.random() < 0.6:
        return fields
    family = Field("af", rng.choice((U8, U16)))
    address = Field("union", union_address("af"))
    return rng.choice(([family, *fields, address], [address, *fields, family]))


def _entries(rng: Random, count: int, depth: int, *, attrs_only: bool = False) -> list[Any]:
    numbers = rng.sample([*range(12), 40, 0x3FFF], count) if count <= 14 else list(range(count))
    entries: list[Entry] = [
        _attr(rng, number, shared=not attrs_only)
        if attrs_only or rng.random() < 0.4
        else _entry(rng, number, depth)
        for number in numbers
    ]
    if not attrs_only and rng.random() < 0.3:
        entries.append(Attr("P_KIND", 20, TEXT, selects=True))
        cases = {word: ("P_", _entries(rng, 3, 3)) for word in rng.sample(WORDS, 2)}
        entries.append(Select("P_DATA", 21, cases))
    elif not attrs_only and rng.random() < 0.2:
        entries += _by_number(rng, ("P_", _entries(rng, 3, 3)))
    return entries


def _by_number(rng: Random, *cases: tuple[str, list[Any]]) -> list[Entry]:
    """Attributes by an integer, at times behind a struct."""
    type = rng.choice((U8, U16, BE16, U32, BE32))
    order: Literal["little", "big"] = "big" if type.kind.endswith("_BE") else sys.byteorder
    texts = WORDS[: len(cases)]
    values = {text: number.to_bytes(type.size, order) for number, text in enumerate(texts)}
    headers = {text: _fields(rng, 2) for text in texts if rng.random() < 0.7}
    return [
        Attr("P_NUMBER", 22, type, selects=True),
        Select("P_BY", 23, dict(zip(texts, cases, strict=True)), "by", "P_NUMBER", values, headers),
    ]


def _flat(rng: Random, depth: int) -> list[Any]:
    """Entries without lists: what an item of a list may have."""
    entries: list[Entry] = [_attr(rng, number, shared=False) for number in range(rng.randint(0, 3))]
    if rng.random() < 0.3:
        entries.append(Struct("P_S", 4, _fields(rng, 2), min_size=rng.randint(0, 1)))
    if depth < 2 and rng.random() < 0.5:
        entries.append(Nest("P_N", 5, "P_", _flat(rng, depth + 1), rng.choice(("", "within"))))
    if depth < 2 and rng.random() < 0.3:
        entries.append(Numbered("P_NR", 6, ("x", "y")[: rng.randint(1, 2)], "P_", _flat(rng, depth + 1)))
    if depth < 2 and rng.random() < 0.4:
        entries += _by_number(rng, ("P_", _flat(rng, 2)), ("P_", _flat(rng, 2)))
    return entries


def _attr(rng: Random, number: int, *, shared: bool) -> Attr:
    if shared and rng.random() < 0.2:
        name = rng.choice(list(SHARED_ALONE))
        return Attr(f"P_{name.upper()}", number, rng.choice(SHARED_ALONE[name]))
    return Attr(f"P_A{number}", number, rng.choice(ALONE))


def _entry(rng: Random, number: int, depth: int) -> Entry:
    kernel = f"P_E{number}"
    what = rng.randint(0, 9 if depth < 3 else 7)
    if what == 0:
        fields = _fields(rng, rng.randint(1, 5), absent=True)
        size = sum(field.type.size for field in fields)
        return Struct(kernel, number, fields, rng.choice(("", f"c{number}")), min_size=rng.randint(0, size))
    if what == 1:
        repeated = rng.random() < 0.5
        return List(kernel, number, rng.choice((*IN_LISTS, TEXT, BYTES) if repeated else IN_LISTS), repeated)
    if what == 2:
        first = Field(rng.choice(("", "len")), U16)
        inner = _entries(rng, rng.randint(1, 4), depth, attrs_only=True)
        return Elements(kernel, number, [first, *_fields(rng, rng.randint(0, 3))], "P_", inner)
    if what == 3:  # two attributes, one list
        return List("P_TOGETHER", number, rng.choice((U16, U32, U64)), rng.random() < 0.5)
    if what == 5:
        index = rng.choice(("", "index"))
        return Nests(kernel, number, "P_", _flat(rng, 0), rng.random() < 0.5, index)
    if what == 6:
        return List(kernel, number, rng.choice((*IN_LISTS, TEXT, BYTES)), indexed=True)
    if what == 7:
        return Numbered(kernel, number, ("x", "y")[: rng.randint(1, 2)], "P_", _flat(rng, 0))
    if what == 4:
        fields = [Field("first", rng.choice(INTEGERS)), *_fields(rng, rng.randint(0, 3), absent=True)]
        fields = _with_union(rng, fields)
        return Structs(kernel, number, fields)
    lead = "-" if rng.random() < 0.2 and depth == 0 else ""
    inner = _entries(rng, rng.randint(0, 5), depth + 1)
    if lead:  # keep the names unique here, too
        inner = [entry for entry in inner if "SHARED" in entry.kernel]
    return Nest(kernel, number, "P_", inner, lead)


# -- messages ---------------------------------------------------------------------------------------


def fitting(rng: Random, schema: Schema, *, orderly: bool = False) -> Message:
    """A well-formed message of this kind. `orderly`: each attribute once, in the schema's order."""
    group, seq = way(schema)
    op = rng.choice([op for op in schema.ops if op.group in (0, group) and op.seq in (0, seq)])
    flags = op.value | (rng.choice(FLAGS) & ~op.mask)
    payload = bytearray(_struct(rng, schema.header, orderly))
    if op.has is not None:
        payload[op.has[0] : op.has[0] + 4] = _native(op.has[1], 4)
    if op.command >= 0:
        payload[:1] = bytes([op.command])[: len(payload)]
    if schema.selector:
        at, size, value = schema.selector
        if orderly or rng.random() < 0.9:
            payload[at : at + size] = _native(value, size)[: max(len(payload) - at, 0)]
    if op.within is not None:
        begin, number = op.within
        if not orderly and rng.random() < 0.1:
            number, payload = rng.choice(((8, payload), (number, payload[:-1])))
        inner = bytearray(pad(rng.randbytes(begin))) + attribute(number, bytes(payload))
        return op.type, flags, bytes(inner + _attributes(rng, schema.entries, orderly))
    if schema.each is not None:
        return op.type, flags, bytes(pad(bytes(payload)) + _parts(rng, schema, schema.each, orderly))
    return op.type, flags, bytes(pad(bytes(payload)) + _attributes(rng, schema.entries, orderly))


def _parts(rng: Random, schema: Schema, each: Each, orderly: bool, depth: int = 0) -> bytes:
    """Attributes along the path, at its end the struct and the attributes of a row."""
    if depth == len(each.path):
        begin = _struct(rng, each.fields, orderly)
        if not orderly and rng.random() < 0.1:
            return begin[:-1]
        return pad(begin) + _attributes(rng, schema.entries, orderly)
    data = b""
    for one in each.shared if depth == 0 else ():
        if orderly or rng.random() < 0.8:
            data += attribute(one.number, _value(rng, one.type))
    for _ in range(1 if orderly else rng.randint(0, 3)):
        if not orderly and rng.random() < 0.2:
            data += attribute(rng.choice((10, 11)), rng.randbytes(rng.randint(0, 5)))
        data += attribute(each.path[depth], _parts(rng, schema, each, orderly, depth + 1))
    return data


def _native(value: int, size: int) -> bytes:
    return struct.pack("=Q", value)[:size] if struct.pack("=H", 1)[0] else struct.pack("=Q", value)[-size:]


def _struct(rng: Random, fields: Sequence[Field], orderly: bool) -> bytes:
    data = b""
    chosen = {each.type.by for each in fields if each.type.by}
    for field in fields:
        if field.type.back:
            continue
        if field.name in chosen:
            numbers = [case for each in fields if each.type.by == field.name for case in each.type.cases]
            number = rng.choice((*(case for case in numbers if case >= 0), rng.randint(0, 255)))
            data += number.to_bytes(field.type.size, sys.byteorder)
        elif field.name == "hw_protocol":
            data += struct.pack(">H", rng.choice(ETHERTYPES))
        elif field.absent is not None and rng.random() < 0.5:
            data += (field.absent & (1 << 8 * field.type.size) - 1).to_bytes(field.type.size, "little")
        else:
            data += _value(rng, field.type)[: field.type.size].ljust(field.type.size, b"\0")
    return data


def _attributes(rng: Random, entries: Sequence[Entry], orderly: bool) -> bytes:
    chosen = entries if orderly or not entries else rng.choices(entries, k=rng.randint(0, 2 * len(entries)))
    data = []
    word = text = ""
    for entry in chosen:
        number = entry.number
        if isinstance(entry, Attr) and entry.selects and entry.type is TEXT:
            word = _word(rng, entries[entries.index(entry) :])
            payload = (word + rng.choice(("", "\0", "\0junk"))).encode()
        elif isinstance(entry, Attr) and entry.selects:
            select = next(each for each in entries if isinstance(each, Select) and each.by == entry.kernel)
            text = rng.choice(list(select.cases))
            payload = select.values[text]
        elif isinstance(entry, Select):
            known = word if word in entry.cases else "" if orderly else rng.choice(list(entry.cases))
            known = text if entry.by and text in entry.cases else known
            payload = pad(_struct(rng, entry.headers.get(known, ()), orderly)) if known else b""
            payload += _attributes(rng, entry.cases[known][1], orderly) if known else b""
        else:
            payload = _payload(rng, entry, orderly)
        if not orderly:
            number |= rng.choice((0, 0, 0x8000, 0x4000))
            if rng.random() < 0.05:
                data.append(attribute(rng.choice((13, 41, 0x3FFE)), rng.randbytes(rng.randint(0, 5))))
        data.append(attribute(number, payload))
    return b"".join(data)


def _word(rng: Random, entries: Sequence[Entry]) -> str:
    """A word that the next Select knows, or one that it does not."""
    cases = next((list(entry.cases) for entry in entries if isinstance(entry, Select)), [])
    return rng.choice((*cases, *WORDS))


def _payload(rng: Random, entry: Entry, orderly: bool) -> bytes:
    if isinstance(entry, Attr):
        return _value(rng, entry.type)
    if isinstance(entry, List):
        if entry.repeated:
            return _value(rng, entry.type)
        if entry.indexed:
            return _numbered(rng, *(_value(rng, entry.type) for _ in range(rng.randint(0, 3))))
        each = [_value(rng, entry.type)[: entry.type.size] for _ in range(rng.randint(0, 4))]
        return b"".join(value.ljust(entry.type.size, b"\0") for value in each)
    if isinstance(entry, Struct):
        data = _struct(rng, entry.fields, orderly)
        if orderly:
            return data
        return rng.choice((data, data, data + b"later", data[: rng.randint(0, len(data))]))
    if isinstance(entry, Nest):
        return _attributes(rng, entry.entries, orderly)
    if isinstance(entry, Packet):
        packet = any_packet(rng, rng.choice(ETHERTYPES))
        return packet if orderly or rng.random() < 0.5 else packet[: rng.randint(0, len(packet))]
    if isinstance(entry, Nests):
        count = 1 if entry.repeated else rng.randint(0, 3)
        items = [_attributes(rng, entry.entries, orderly) for _ in range(count)]
        return items[0] if entry.repeated else _numbered(rng, *items)
    if isinstance(entry, Numbered):
        payload = _attributes(rng, entry.entries, orderly)
        for _ in entry.numbers:
            payload = _numbered(rng, payload)
            payload += b"" if orderly or rng.random() < 0.8 else attribute(3, b"more")
        return payload
    if isinstance(entry, Structs):
        whole = b"".join(_struct(rng, entry.fields, orderly) for _ in range(rng.randint(0, 3)))
        return whole if orderly or rng.random() < 0.8 else whole + b"rest"[: rng.randint(1, 4)]
    assert isinstance(entry, Elements)
    return b"".join(_element(rng, entry, orderly) for _ in range(rng.randint(0, 3)))


def _numbered(rng: Random, *payloads: bytes) -> bytes:
    """Attributes of any number."""
    return b"".join(attribute(rng.choice((0, 1, 2, 7, 0x3FFF)), payload) for payload in payloads)


def _element(rng: Random, entry: Elements, orderly: bool) -> bytes:
    data = pad(_struct(rng, entry.fields, orderly)) + _attributes(rng, entry.entries, orderly)
    return pad(struct.pack("=H", len(data)) + data[2:])


def _value(rng: Random, type: Type) -> bytes:
    if type.kind in ("VARINT", "VARSINT"):
        return rng.randbytes(rng.choice((4, 8)))
    if type.kind == "ADDRESS":
        return rng.randbytes(rng.choice((4, 16) if type.size == 4 else (16,)))
    if type.kind == "VIA":
        family, size = rng.choice(((AF_INET, 4), (AF_INET6, 16)))
        return struct.pack("=H", family) + rng.randbytes(size)
    if type.kind == "TEXT":
        word = rng.choice((b"eth0", "größe".encode(), b"\xff\xfe", b"", b"x" * 40))
        return (word + rng.choice((b"", b"\0", b"\0x"))).ljust(type.size, b"\0")
    if type.kind == "COUNTED":
        return struct.pack(">HH", rng.choice((0, 6, 8)), 0) + rng.randbytes(8)
    if type.kind == "BYTES":
        return rng.randbytes(rng.choice((4, 8) if type.size else (0, 1, 6, 20, 32)))
    if type.kind == "FLAG":
        return rng.choice((b"", b"\0\0\0\0"))
    return rng.choice((rng.randbytes(type.size), b"\xff" * type.size, bytes(type.size)))


# -- damaged messages ------------------------------------------------------------------------------------

EDGES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 0x7FFF, 0x8000, 0xFFFF)


def _flip(rng: Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    data[at] ^= 1 << rng.randint(0, 7)


def _cut(rng: Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def _half(rng: Random, data: bytearray) -> None:
    """Overwrite a length or a number with a random value."""
    at = rng.randrange(len(data)) & ~3
    near = len(data) - at + rng.randint(-5, 5)
    data[at : at + 2] = struct.pack("=H", max(rng.choice((*EDGES, near)), 0) & 0xFFFF)


def _length(rng: Random, data: bytearray) -> None:
    at = rng.randrange(len(data)) & ~3
    there = int.from_bytes(data[at : at + 2], "little")
    data[at : at + 2] = struct.pack("=H", (there + rng.randint(-5, 5)) & 0xFFFF)


def _remove(rng: Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.randint(1, 9)]


def _twice(rng: Random, data: bytearray) -> None:
    at = rng.randrange(len(data)) & ~3
    piece = data[at : at + 4 * rng.randint(1, 8)]
    data[at:at] = piece


def _noise(rng: Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    data[at:at] = rng.randbytes(rng.randint(1, 9))


def _tail(rng: Random, data: bytearray) -> None:
    data += rng.randbytes(rng.randint(1, 7))


SPOIL: Sequence[Callable[[Random, bytearray], None]] = (
    _flip, _flip, _cut, _half, _length, _length, _remove, _twice, _noise, _tail,
)  # fmt: skip


def spoilt(rng: Random, message: Message) -> Message:
    """The message with a few damaged bytes."""
    kind, flags, payload = message
    data = bytearray(payload)
    for _ in range(rng.randint(1, 4)):
        if data:
            rng.choice(SPOIL)(rng, data)
    return kind, flags, bytes(data)
