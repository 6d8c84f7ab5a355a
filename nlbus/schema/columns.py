"""The columns of a schema of attributes: names, types, and which entries share one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from nlbus._core.columns.program import CASE
from nlbus.errors import SchemaError
from nlbus.schema.packet_headers import FIELDS
from nlbus.schema.schema import (
    Attr,
    Elements,
    Entry,
    List,
    Nest,
    Nests,
    Numbered,
    Packet,
    Schema,
    Select,
    Struct,
    Structs,
)
from nlbus.schema.types import BYTES, U16, Column, Field, Type
from nlbus.schema.words import with_words

FAMILY: Final = "family"  # the header's field
CASE_TEXT = CASE["text"].itemsize


def columns_of(schema: Schema) -> dict[str, Column]:
    """The columns by name, in the order in which entries first name them. SchemaError."""
    columns = _Columns(schema)
    return {column.name: column for column in with_words(columns.found.values(), schema.words)}


def entry_column(lead: str, prefix: str, entry: Entry) -> str:
    """The column of an entry; for a nest, the prefix of its columns."""
    if isinstance(entry, Select):
        return joined(lead, entry.column) if entry.column else lead
    own = entry.column or entry.kernel.removeprefix(prefix).lower()
    return lead if own == "-" else joined(lead, own)


def joined(lead: str, name: str) -> str:
    """The name with what leads to it, if anything does."""
    return f"{lead}_{name}" if lead else name


def names_in(lead: str, prefix: str, entries: Sequence[Entry]) -> Iterator[str]:
    """The columns of these entries, once per entry that fills them."""
    for entry in entries:
        yield from names_of(entry_column(lead, prefix, entry), entry)


def names_of(name: str, entry: Entry) -> Iterator[str]:
    """The columns of an entry, of which `name` is the column or the prefix."""
    if isinstance(entry, Attr | List):
        yield name
        return
    if isinstance(entry, Packet):
        yield from (field.name for field in FIELDS)
        yield name
    if isinstance(entry, Struct | Structs | Elements):
        yield from (joined(name, field.name) for field in entry.fields if field.name)
    if isinstance(entry, Nests) and entry.index:
        yield joined(name, entry.index)
    if isinstance(entry, Numbered):
        yield from (joined(name, number) for number in entry.numbers)
    if isinstance(entry, Nest | Nests | Numbered | Elements):
        yield from names_in(name, entry.prefix, entry.entries)
    if isinstance(entry, Select):
        for text, (prefix, cases) in entry.cases.items():
            lead = joined(name, text)
            yield from (joined(lead, field.name) for field in entry.headers.get(text, ()) if field.name)
            yield from names_in(lead, prefix, cases)


def lists_of_nests(lead: str, prefix: str, entries: Sequence[Entry]) -> Iterator[list[str]]:
    """The columns of each list of nests."""
    for entry in entries:
        name = entry_column(lead, prefix, entry)
        if isinstance(entry, Nests):
            yield list(dict.fromkeys(names_of(name, entry)))
        elif isinstance(entry, Nest | Numbered):
            yield from lists_of_nests(name, entry.prefix, entry.entries)
        elif isinstance(entry, Select):
            for text, (inner, cases) in entry.cases.items():
                yield from lists_of_nests(joined(name, text), inner, cases)


class _Columns:
    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.found: dict[str, Column] = {}
        self.has_family = any(field.name == FAMILY for field in schema.header)
        self._fields("", schema.header, header=True)
        if schema.each is not None:
            if any(field.type.storage != "fixed" for field in schema.header):
                raise self._wrong("a header with text, and several rows per message")
            if any(isinstance(entry, Packet) for entry in schema.entries):
                raise self._wrong("a packet, and several rows per message")
            self._fields("", schema.each.fields)
            self._entries("", schema.prefix, schema.each.shared)
        self._entries("", schema.prefix, schema.entries)

    def _fields(
        self, lead: str, fields: Sequence[Field], *, header: bool = False, listed: bool = False
    ) -> None:
        for field in fields:
            if field.absent is not None and "INT" not in field.type.kind:
                raise self._wrong(f"{field.name} is no integer, so no value of it can mean absence")
            if field.name:
                # A union whose member no number chooses, or one of another one, has no value.
                some = bool(field.type.by) and -1 not in field.type.cases
                always = header and field.absent is None and not some
                name = joined(lead, field.name)
                self._column(
                    name, field, field.type, nullable=not always, listed=listed, attribute=field.name
                )

    def _entries(self, lead: str, prefix: str, entries: Sequence[Entry], *, listed: bool = False) -> None:
        for entry in entries:
            name = entry_column(lead, prefix, entry)
            if listed and isinstance(entry, List | Structs | Elements | Nests | Packet):
                raise self._wrong(f"{entry.kernel} is a list in a list")
            if isinstance(entry, Attr):
                if entry.selects and entry.type.kind not in ("TEXT", "UINT", "UINT_BE"):
                    raise self._wrong(f"{entry.kernel} selects, but is no text and no unsigned integer")
                self._column(name, entry, entry.type, listed=listed, attribute=entry.kernel)
            elif isinstance(entry, List):
                if not entry.repeated and not entry.indexed and not entry.type.size:
                    raise self._wrong(f"{entry.kernel} is an array of items without a size")
                self._column(name, entry, entry.type, listed=True, attribute=entry.kernel)
            elif isinstance(entry, Struct):
                if entry.min_size and any(field.type.by for field in entry.fields):
                    raise self._wrong(f"{entry.kernel} may be shorter, and lack the family of an address")
                self._fields(name, entry.fields, listed=listed)
            elif isinstance(entry, Structs):
                if not size_of(entry.fields):
                    raise self._wrong(f"{entry.kernel} has structs without a size")
                self._fields(name, entry.fields, listed=True)
            elif isinstance(entry, Elements):
                if not entry.fields or entry.fields[0].type is not U16:
                    raise self._wrong(
                        f"{entry.kernel} has structs that do not begin with a u16, their length"
                    )
                self._fields(name, entry.fields, listed=True)
                self._entries(name, entry.prefix, entry.entries, listed=True)
            elif isinstance(entry, Packet):
                self._fields("", FIELDS)
                self._column(name, Field(name, BYTES), BYTES, listed=False, attribute=entry.kernel)
            elif isinstance(entry, Select):
                self._cases(name, entry, listed=listed)
            else:
                listed_within = listed or isinstance(entry, Nests)
                self._fields(name, numbers_of(entry), listed=listed_within)
                self._entries(name, entry.prefix, entry.entries, listed=listed_within)

    def _cases(self, lead: str, entry: Select, *, listed: bool) -> None:
        for text, (inner, cases) in entry.cases.items():
            if not 0 < len(entry.values.get(text, text.encode())) <= CASE_TEXT:
                raise self._wrong(f"{entry.kernel} has a case of 0 or more than {CASE_TEXT} bytes")
            name = joined(lead, text)
            self._fields(name, entry.headers.get(text, ()), listed=listed)
            self._entries(name, inner, cases, listed=listed)

    def _wrong(self, what: str) -> SchemaError:
        return SchemaError(f"table {self.schema.name}: {what}")

    def _column(
        self, name: str, of: Any, type: Type, *, nullable: bool = True, listed: bool, attribute: str
    ) -> None:
        column = Column(
            name=name,
            dtype=type.dtype,
            type=type.name,
            storage=type.storage,
            list=listed,
            unit=of.unit,
            enum=of.enum,
            flags=of.flags,
            nullable=nullable,
            attribute=attribute,
            display=of.display or type.display,
            family=type.family or (FAMILY if type.kind == "ADDRESS" and self.has_family else ""),
        )
        before = self.found.get(name)
        if before is not None:
            if kind_of(before) != kind_of(column):
                raise self._wrong(f"column {name} has two types")
            wider = max(before.dtype, column.dtype, key=lambda dtype: dtype.itemsize)
            column = replace(
                column,
                dtype=wider,
                nullable=before.nullable and nullable,
                unit=column.unit or before.unit,
                enum=column.enum or before.enum,
                flags=column.flags or before.flags,
                display=column.display or before.display,
                family=column.family if column.family == before.family else "",
            )
        self.found[name] = column


def size_of(fields: Sequence[Field]) -> int:
    """The bytes of a struct."""
    return sum(field.type.size for field in fields if not field.type.back)


def numbers_of(entry: Nest | Nests | Numbered) -> list[Field]:
    """The columns of the numbers of an entry's nests, as fields: the kernel's nla_type."""
    if isinstance(entry, Numbered):
        return [Field(name, U16) for name in entry.numbers]
    return [Field(entry.index, U16)] if isinstance(entry, Nests) and entry.index else []


def kind_of(column: Column) -> tuple[str, bool, str]:
    """What entries of one column must have in common; integers may differ in width."""
    dtype = column.dtype
    return column.storage, column.list, dtype.str if dtype.kind == "V" else dtype.kind
