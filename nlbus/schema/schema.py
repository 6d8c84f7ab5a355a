"""Schemas as data: the messages of one kind, what is in them, and how the kernel lists all objects.

A schema names the kernel's header fields and attributes. compile_attributes.py turns it into the tables that
the decoder reads, compile_text.py does the same for text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nlbus.schema.types import Display, Field, Type

# -- what a schema is made of -------------------------------------------------------------------------


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


def ignored(prefix: str, **numbers: int) -> tuple[Struct, ...]:
    """Known attributes that make no column: padding, or found elsewhere, or only in requests."""
    return tuple(Struct(prefix + name, number, ()) for name, number in numbers.items())


@dataclass(frozen=True, slots=True)
class Op:
    """What a message says has happened: `mask` and `value` are about nlmsg_flags."""

    type: int
    op: Literal["new", "change", "del"]
    mask: int = 0
    value: int = 0


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Dump:
    """The requests that together list all objects of a kind: NLM_F_DUMP, strictly checked.

    One request per header, in this order; each gets the filters. Kernels may lack some of them (EOPNOTSUPP).
    """

    type: int
    headers: Sequence[bytes]
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


def walk(entries: Sequence[Entry]) -> Iterator[Entry]:
    """All entries, nested ones after what holds them."""
    for entry in entries:
        yield entry
        if isinstance(entry, Nest | Elements):
            yield from walk(entry.entries)
        elif isinstance(entry, Select):
            for _, inner in entry.cases.values():
                yield from walk(inner)
