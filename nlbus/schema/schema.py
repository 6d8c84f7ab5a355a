"""Columns as data: the kinds of value that messages carry, and the schema of one kind of message.

A schema names the kernel's header fields and attributes; column names follow from theirs: lower case, without
the prefix, nested ones joined by `_`. compile_attributes.py turns it into the tables that the decoder reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Storage = Literal["fixed", "text", "bytes"]
Display = Literal["", "address", "hex", "mac", "lladdr", "time", "dotted", "labels"]


@dataclass(frozen=True, slots=True)
class Type:
    """How a value stands on the wire, and in a column."""

    name: str
    kind: str  # of enum kind in _core/columns/program.pxd
    size: int = 0  # bytes on the wire, at least
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype("V1"))  # of a fixed value in its column
    storage: Storage = "fixed"
    display: Display = ""


def _integer(name: str, size: int, *, signed: bool = False, swap: bool = False) -> Type:
    kind = ("SINT" if signed else "UINT") + ("_BE" if swap else "")
    return Type(name, kind, size, np.dtype(f"{'i' if signed else 'u'}{size}"))


U8, U16, U32, U64 = (_integer(f"u{8 * n}", n) for n in (1, 2, 4, 8))
S8, S16, S32, S64 = (_integer(f"s{8 * n}", n, signed=True) for n in (1, 2, 4, 8))
BE16, BE32, BE64 = (_integer(f"be{8 * n}", n, swap=True) for n in (2, 4, 8))
SBE32 = _integer("sbe32", 4, signed=True, swap=True)
UINT = Type("uint", "VARINT", 4, np.dtype("u8"))  # of 4 or 8 bytes, as the kernel pleases
FLAG = Type("flag", "FLAG", 0, np.dtype("?"))  # its presence is its value
TEXT = Type("string", "TEXT", 0, storage="text")  # ends at its first NUL
BYTES = Type("binary", "BYTES", 0, storage="bytes")
LLADDR = Type("lladdr", "BYTES", 0, storage="bytes", display="lladdr")  # a hardware address: 0 to 32 bytes
ADDRESS = Type("address", "ADDRESS", 4, np.dtype("V16"), display="address")  # IPv4 mapped: ::ffff:a.b.c.d
VIA = Type("via", "VIA", 6, np.dtype("V16"), display="address")  # the same, after its family
LABEL = Type("label", "LABEL", 4, np.dtype("u4"))  # of MPLS, with its class, TTL and end of stack beside it
LABELS = Type("labels", "BYTES", 4, storage="bytes", display="labels")  # a stack of them
WEIGHT = Type("weight", "WEIGHT", 2, np.dtype("u2"))  # less 1: its lower byte, its higher one


def fixed(size: int, display: Display = "hex") -> Type:
    """So many bytes."""
    return Type(f"binary[{size}]", "FIXED", size, np.dtype(f"V{size}"), display=display)


def text(size: int) -> Type:
    """Text in so many bytes, NUL where it is shorter."""
    return Type(f"string[{size}]", "TEXT", size, storage="text")


# -- what a schema is made of -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a struct. No name: padding of `size` bytes, or a member that is not told."""

    name: str
    type: Type
    unit: str = ""
    enum: Mapping[int, str] | None = None
    flags: Mapping[int, str] | None = None  # mask of one bit to name
    display: Display = ""
    absent: int | None = None  # this value means that there is none


def pad(size: int) -> Field:
    """Bytes that mean nothing."""
    return Field("", fixed(size))


@dataclass(frozen=True, slots=True)
class Attr:
    """An attribute with one value."""

    kernel: str  # IFLA_MTU
    number: int
    type: Type
    unit: str = ""
    enum: Mapping[int, str] | None = None
    flags: Mapping[int, str] | None = None
    display: Display = ""
    column: str = ""  # where the kernel's name does not do
    selects: bool = False  # a later Select goes by this text


@dataclass(frozen=True, slots=True)
class Struct:
    """An attribute that is a struct: a column a field. A shorter struct, of an older kernel, has fewer."""

    kernel: str
    number: int
    fields: Sequence[Field]
    column: str = ""  # begins the names of the fields' columns; "-": nothing does
    least: int = 0  # bytes without which it is no such struct; 0: all


@dataclass(frozen=True, slots=True)
class List:
    """A list: an attribute that is an array, or (repeated) one that may come several times."""

    kernel: str
    number: int
    type: Type
    repeated: bool = False
    unit: str = ""
    enum: Mapping[int, str] | None = None
    display: Display = ""
    column: str = ""


@dataclass(frozen=True, slots=True)
class Nest:
    """Attributes in an attribute."""

    kernel: str
    number: int
    prefix: str  # of the kernel's names within
    entries: Sequence[Entry]
    column: str = ""  # begins the names of the columns; "-": nothing does


@dataclass(frozen=True, slots=True)
class Elements:
    """Structs of explicit length (u16, their first field), each with attributes: a list a column."""

    kernel: str
    number: int
    fields: Sequence[Field]
    prefix: str
    entries: Sequence[Attr]
    column: str = ""


@dataclass(frozen=True, slots=True)
class Structs:
    """Structs one after the other, in one attribute or in several of this number: a list a column."""

    kernel: str
    number: int
    fields: Sequence[Field]
    column: str = ""  # begins the names of the columns; "-": nothing does


@dataclass(frozen=True, slots=True)
class Select:
    """A nest whose attributes depend on a text that came before: on the one that `selects`."""

    kernel: str
    number: int
    cases: Mapping[str, tuple[str, Sequence[Entry]]]  # the text: prefix, entries. It begins the column names


Entry = Attr | Struct | List | Nest | Elements | Structs | Select


@dataclass(frozen=True, slots=True)
class Op:
    """What a message says has happened: `mask` and `value` are about nlmsg_flags."""

    type: int
    op: Literal["new", "change", "del"]
    mask: int = 0
    value: int = 0


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition that the kernel checks itself: a field of the request, or an attribute of it."""

    column: str
    size: int  # bytes, of an unsigned integer
    at: int = -1  # in the header of the request, or ...
    number: int = -1  # ... the attribute


@dataclass(frozen=True, slots=True)
class Dump:
    """How the kernel is asked for all objects of a kind: NLM_F_DUMP, strictly checked."""

    type: int
    header: bytes
    filters: Sequence[Filter] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schema:
    """The messages of one kind: how to know them, their columns, the key of a row.

    `ops`: the first that fits a message's type and flags counts; none: it is not of this kind. `selector`:
    (offset, size, value) of an unsigned integer in the payload that must stand there, too.
    """

    name: str
    ops: Sequence[Op]
    header: Sequence[Field]
    prefix: str = ""
    entries: Sequence[Entry] = ()
    key: Sequence[str] = ()
    groups: Sequence[str] = ()  # where such messages come
    partial: bool = False  # "change" tells the key and what has changed; else all that there is
    selector: tuple[int, int, int] | None = None
    unless: tuple[int, int, int] | None = None  # instead of it: that must not stand there
    dump: Dump | Callable[[], Iterator[bytes]] | None = None  # the latter makes datagrams of what is there
    about: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands before the text of a datagram that begins with `begin`: binary, if so with `magic` behind.

    At the offsets `start` and `length` it has two u32: where the text begins, and its bytes.
    """

    begin: bytes
    magic: bytes
    size: int  # bytes, at least
    start: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextSchema:
    """Datagrams that are text: KEY=VALUE, each ended by NUL.

    The column of a key bears its name in lower case: integers are decimal, and absent where they are no such
    number or do not fit. Text is the kernel's bytes. Without a value for each key of `required` a datagram is
    malformed. What a row says has happened goes by the value of `op`: as in `ops`, else "change".
    """

    name: str
    keys: Sequence[Field]
    required: Sequence[str] = ()
    op: str = ""
    ops: Mapping[str, Literal["new", "change", "del"]] = field(default_factory=dict)
    env: str = ""  # the column with all of it: a list of KEY=VALUE; none: it is not told
    title: bool = False  # the first string is a title, where no envelope says what comes first
    envelope: Envelope | None = None
    key: Sequence[str] = ()
    groups: Sequence[str] = ()
    dump: Callable[[], Iterator[bytes]] | None = None  # datagrams, as if all that is there were news
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordSchema:
    """Events of the bus that are a struct, each of this event type: a column a field.

    `needs`: of a field, the bits of the field `flags` without which it has no value.
    """

    name: str
    type: int
    fields: Sequence[Field]
    needs: Mapping[str, int] = field(default_factory=dict)
    key: Sequence[str] = ()
    groups: Sequence[str] = ()
    dump: None = None
    about: str = ""


AnySchema = Schema | TextSchema | RecordSchema


# -- columns ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: `dtype` of one value in numpy, unit, names of values or bits, whether it may be absent."""

    name: str
    dtype: np.dtype[Any]
    type: str  # on the wire
    storage: Storage = "fixed"
    list: bool = False
    unit: str = ""
    enum: Mapping[int, str] | None = field(default=None, hash=False)
    flags: Mapping[int, str] | None = field(default=None, hash=False)
    nullable: bool = True
    attribute: str = ""  # the kernel's name
    display: Display = ""


@dataclass(slots=True, eq=False)  # not frozen: that would take as long as all else of a small column
class Values:
    """The values of a column, as Arrow has them.

    fixed: `values` has one a row. text, bytes: row i is values[offsets[i]:offsets[i+1]] (uint8). A list: row
    i is items offsets[i] to offsets[i+1] of `items`. `valid` is None where every row has a value.
    """

    values: np.ndarray[Any, Any] | None
    valid: np.ndarray[Any, np.dtype[np.bool_]] | None = None
    offsets: np.ndarray[Any, np.dtype[np.int32]] | None = None
    items: Values | None = None

    def __len__(self) -> int:
        if self.offsets is not None:
            return len(self.offsets) - 1
        assert self.values is not None
        return len(self.values)


OPS = {0: "new", 1: "change", 2: "del"}
ORIGINS = {0: "live", 1: "snapshot", 2: "resync"}

# The first columns of every table.
NL_COLUMNS = (
    Column(name="nl_row", dtype=np.dtype("u4"), type="u32", nullable=False),
    Column(name="nl_time", dtype=np.dtype("i8"), type="s64", unit="ns", nullable=False, display="time"),
    Column(name="nl_op", dtype=np.dtype("u1"), type="u8", enum=OPS, nullable=False),
    Column(name="nl_origin", dtype=np.dtype("u1"), type="u8", enum=ORIGINS, nullable=False),
    Column(name="nl_group", dtype=np.dtype("u4"), type="u32", nullable=False),
    Column(name="nl_nsid", dtype=np.dtype("i4"), type="s32"),
)


def walk(entries: Sequence[Entry]) -> Iterator[Entry]:
    """All entries, nested ones after what holds them."""
    for entry in entries:
        yield entry
        if isinstance(entry, Nest | Elements):
            yield from walk(entry.entries)
        elif isinstance(entry, Select):
            for _, inner in entry.cases.values():
                yield from walk(inner)
