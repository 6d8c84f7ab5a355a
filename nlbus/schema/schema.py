"""Schemas as data: the messages of one kind, what is in them, and how the kernel lists all objects.

A schema names the kernel's header fields and attributes. compile_attributes.py turns it into the tables that
the decoder reads, compile_text.py does the same for text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from nlbus.schema.manners import PLAIN, Manners
from nlbus.schema.types import Column, Display, Field, Type
from nlbus.schema.words import Words

# -- what a schema is made of -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Attr:
    """An attribute with one value."""

    kernel: str  # IFLA_MTU
    number: int
    type: Type
    unit: str = ""
    enum: Mapping[int, str] | None = None
    flags: Mapping[int, str] | None = None
    display: Display = ""
    column: str = ""  # instead of the kernel's name
    selects: bool = False  # later Selects depend on this text, or integer


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Struct:
    """An attribute that is a struct: a column per field. Older kernels may send a shorter struct."""

    kernel: str
    number: int
    fields: Sequence[Field]
    column: str = ""  # prefix of the fields' columns; "-": none
    min_size: int = 0  # in bytes; shorter is damaged; 0: the whole struct


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class List:
    """A list: an attribute that is an array, or (repeated) an attribute that may come several times.

    indexed: the items are attributes within this one, whatever their numbers.
    """

    kernel: str
    number: int
    type: Type
    repeated: bool = False
    indexed: bool = False
    unit: str = ""
    enum: Mapping[int, str] | None = None
    flags: Mapping[int, str] | None = None
    display: Display = ""
    column: str = ""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Nest:
    """Attributes in an attribute."""

    kernel: str
    number: int
    prefix: str  # of the kernel's names within
    entries: Sequence[Entry]
    column: str = ""  # prefix of the columns; "-": none


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Elements:
    """Structs of explicit length (u16, the first field), each with attributes: a list per column."""

    kernel: str
    number: int
    fields: Sequence[Field]
    prefix: str
    entries: Sequence[Attr]
    column: str = ""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Structs:
    """Structs side by side, in one attribute or in several of this number: a list per column."""

    kernel: str
    number: int
    fields: Sequence[Field]
    column: str = ""  # prefix of the columns; "-": none


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Nests:
    """A list of nests: those in this attribute, whatever their numbers, or (repeated) all of this number.

    A list per column; in rows without a value for it in any item, the whole list is absent.
    """

    kernel: str
    number: int
    prefix: str
    entries: Sequence[Entry]  # without lists
    repeated: bool = False
    index: str = ""  # the column with the items' numbers; "": none
    column: str = ""  # prefix of the columns; "-": none


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Numbered:
    """Attributes in nests in each other, one each, whose numbers are values: a column per number."""

    kernel: str
    number: int
    numbers: Sequence[str]  # columns, from the outermost nest
    prefix: str
    entries: Sequence[Entry]
    column: str = ""  # prefix of the columns; "-": none


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Select:
    """A nest whose attributes depend on an earlier value: of the last Attr that `selects`, or of `by`.

    values: the bytes that mean a case, where they are not its text. headers: the structs that the attributes
    of a case follow.
    """

    kernel: str
    number: int
    cases: Mapping[
        str, tuple[str, Sequence[Entry]]
    ]  # text to (prefix, entries); the text begins the column names
    column: str = ""  # prefix of the columns, before the text; "": none
    by: str = ""  # kernel name of the Attr, beside this nest or around it
    values: Mapping[str, bytes] = field(default_factory=dict)
    headers: Mapping[str, Sequence[Field]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Packet:
    """A packet as copied from its network header on: a column of bytes, and columns of its headers' fields.

    protocol: the column of an earlier attribute with the EtherType. The fields are those of
    packet_headers.py; none is read where the columns of `framed`, of a byte each, have these values: another
    header comes first.
    """

    kernel: str
    number: int
    protocol: str
    framed: tuple[tuple[str, int], tuple[str, int]]
    column: str = ""


Entry = Attr | Struct | List | Nest | Elements | Structs | Nests | Numbered | Select | Packet


def ignored(prefix: str, **numbers: int) -> tuple[Struct, ...]:
    """Known attributes that make no column: padding, or found elsewhere, or only in requests."""
    return tuple(Struct(prefix + name, number, ()) for name, number in numbers.items())


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Op:
    """The event that a message reports, by its type and (flags & mask == value).

    group, seq: only messages of this multicast group; only answers to the request with this number. has:
    (offset, value): only if the payload has this u32 there. command:
    of generic netlink, the first byte of the payload, instead of `has`; -1: any. within: (bytes, number): so
    many bytes of another header come first, then an attribute with this number, whose payload is the schema's
    header; the other attributes follow.
    """

    type: int
    op: Literal["new", "change", "del"]
    mask: int = 0
    value: int = 0
    group: int = 0
    seq: int = 0
    has: tuple[int, int] | None = None
    command: int = -1
    within: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Filter:
    """A condition that the kernel can check: a field of the request's header, or an attribute of the request.

    The kernel must return every row whose column has the value; it may return others. It does not do so for
    the values of `unless`, which are never sent.
    """

    column: str
    size: int  # bytes, of an unsigned integer
    at: int = -1  # offset in the header of the request, or ...
    number: int = -1  # ... number of the attribute
    unless: Sequence[int] = ()
    big_endian: bool = False


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Each:
    """Messages about several objects: a row for each attribute at the end of `path`, numbers from the root.

    fields: the struct that it begins with; the attributes behind it are the schema's entries. shared:
    attributes at the root, whose values every row has. ignored: others there that are known.
    """

    path: Sequence[int]
    fields: Sequence[Field] = ()
    shared: Sequence[Attr] = ()
    ignored: Sequence[int] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Lean:
    """Headers for a dump that leaves out the columns with this prefix: sent if nobody reads them."""

    prefix: str
    headers: Sequence[bytes]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Dump:
    """The requests that together list all objects of a kind: NLM_F_DUMP, strictly checked.

    One request per header, in this order; each gets the filters. Kernels may lack some of them (EOPNOTSUPP).
    Headers that depend on what there is are made, in the network namespace of the dump, when it begins.
    seq: the number of the requests, where nothing else in the answers says what was asked for; 0: any.
    repeats: the column that identifies an object, where the kernel may list one twice; "": it never does.
    option: of the kernel; without it the kernel refuses the request with ENOENT.
    more: from the numbers that columns must have, further attributes of the request, as numbers and payloads,
    that make the kernel return fewer rows; older kernels ignore them. split: the headers of the requests that
    have them, unless a filter sets what these set.
    """

    type: int
    headers: Sequence[bytes] | Callable[[], Sequence[bytes]]
    filters: Sequence[Filter] = ()
    lean: Lean | None = None
    seq: int = 0
    repeats: str = ""
    option: str = ""
    more: Callable[[Mapping[str, int]], Mapping[int, bytes]] | None = None
    split: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """Columns that no message has. `read` looks at the object itself, as soon as a message names it.

    of: the column with the number that `read` takes. It returns a value per column: bytes for text, None for
    what is not there any more.
    """

    of: str
    columns: Sequence[Column]
    read: Callable[[int], tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Schema:
    """The messages of one kind: how to recognize them, their columns, the key of a row.

    `ops`: the first one that matches a message's type and flags counts; without a match it is another kind.
    `each`: a message has several rows, or none. `selector`: (offset, size, value) of an unsigned integer that
    the payload must have as well.
    """

    name: str
    ops: Sequence[Op]
    header: Sequence[Field]
    prefix: str = ""
    entries: Sequence[Entry] = ()
    each: Each | None = None
    key: Sequence[str] = ()
    words: Words = field(default_factory=dict)  # what people call columns: see words.py
    groups: Sequence[str] = ()  # that carry these messages
    facts: Facts | None = None  # filled only if they are asked for
    manners: Manners = PLAIN
    selector: tuple[int, int, int] | None = None
    unless: tuple[int, int, int] | None = None  # (offset, size, value) that the payload must not have
    dump: Dump | Callable[[], Iterator[bytes]] | None = (
        None  # a callable yields datagrams of the current objects
    )
    about: str = ""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Envelope:
    """The binary header of datagrams that begin with `begin` and then `magic`.

    It has two u32, at the offsets `start` and `length`: the offset of the text, and its length in bytes.
    """

    begin: bytes
    magic: bytes
    size: int  # bytes, at least
    start: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class TextSchema:
    """Datagrams of text: KEY=VALUE pairs, each with a NUL at its end.

    The column of a key has its name in lower case. Integers are decimal; values that are none, or do not fit,
    are absent. Text is the kernel's bytes. A datagram that lacks a key of `required` is malformed. `ops` maps
    the value of the key `op` to nl_op; other values mean "change".

    records: names of message types, of messages in the form of audit instead: a time and a serial number, the
    columns `timestamp` and `serial`, then key=value pairs with spaces between them; of a key that comes twice
    the first value counts. Values may be in double quotes; those of `encoded` keys without are hexadecimal.
    An unsigned u32 of 4294967295 and the text (null) are absent. The message's type is the column `type`.
    """

    name: str
    keys: Sequence[Field]
    required: Sequence[str] = ()
    op: str = ""
    ops: Mapping[str, Literal["new", "change", "del"]] = field(default_factory=dict)
    env: str = ""  # the column with all pairs, a list of KEY=VALUE; "": none
    title: bool = False  # the first string is a title, unless there is an envelope
    envelope: Envelope | None = None
    records: Mapping[int, str] | None = None
    encoded: Sequence[str] = ()
    key: Sequence[str] = ()
    words: Words = field(default_factory=dict)  # what people call columns: see words.py
    groups: Sequence[str] = ()
    manners: Manners = PLAIN
    dump: Callable[[], Iterator[bytes]] | None = None  # datagrams of the current objects, as if they were new
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class RecordSchema:
    """Events of the bus with this event type, each a struct: a column per field.

    `needs`: field to the bits of the field `flags` without which it has no value.
    """

    name: str
    type: int
    fields: Sequence[Field]
    needs: Mapping[str, int] = field(default_factory=dict)
    key: Sequence[str] = ()
    words: Words = field(default_factory=dict)  # what people call columns: see words.py
    groups: Sequence[str] = ()
    manners: Manners = PLAIN
    dump: None = None
    about: str = ""


AnySchema = Schema | TextSchema | RecordSchema


def walk(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Yield all entries, each before the entries in it."""
    for entry in entries:
        yield entry
        if isinstance(entry, Nest | Elements | Nests | Numbered):
            yield from walk(entry.entries)
        elif isinstance(entry, Select):
            for _, inner in entry.cases.values():
                yield from walk(inner)
