"""Where the columns of a schema lie in a message, as nodes need it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from nlbus.filters.nodes import Path, Place
from nlbus.schema.columns import entry_column, joined, names_of, size_of
from nlbus.schema.schema import Attr, Entry, Nest, Packet, Schema, Struct
from nlbus.schema.types import BYTES, Field, Type

HEADER = 16  # bytes of a struct nlmsghdr


@dataclass(frozen=True, slots=True)
class Spot:
    """A place that may give a column its value."""

    place: Place
    type: Type | None  # None: a list, or what depends on other attributes; only the decoder reads it
    absent: int | None = None  # this value means absence
    longer: bool = False  # the payload may be longer: a field of a struct
    least: int = 0  # bytes that the payload has; a shorter one has no value, and the row is damaged

    @property
    def in_header(self) -> bool:
        """Whether it is a field of the header, which every message has."""
        return not self.place.path


@cache
def spots(schema: Schema) -> dict[str, list[Spot]]:
    """The places of each column. If several have a value, an attribute wins over the header.

    Columns of which a message can have several rows have none, and those that depend on where the header is.
    """
    if any(op.within for op in schema.ops):
        return {}
    found: dict[str, list[Spot]] = {}
    start = HEADER + (header_size(schema) + 3 & ~3)
    entries = _entries("", schema.prefix, schema.entries, (), start)
    for name, spot in (*_fields("", schema.header, Place((), HEADER)), *entries):
        found.setdefault(name, []).append(spot)
    if schema.each is not None:
        several = {field.name for field in schema.each.fields}
        several |= {name for name, each in found.items() if not all(spot.in_header for spot in each)}
        return {name: each for name, each in found.items() if name not in several}
    return found


def header_size(schema: Schema) -> int:
    """Bytes of the header behind the struct nlmsghdr."""
    return size_of(schema.header)


def _fields(lead: str, fields: Sequence[Field], first: Place, least: int = 0) -> Iterator[tuple[str, Spot]]:
    at = first.at
    for field in fields:
        place = Place(first.path, at - field.type.back, first.start)
        at += 0 if field.type.back else field.type.size
        if field.name:
            yield joined(lead, field.name), Spot(place, field.type, field.absent, True, max(least, at))


def _entries(
    lead: str, prefix: str, entries: Sequence[Entry], path: Path, start: int
) -> Iterator[tuple[str, Spot]]:
    for entry in entries:
        name, inner = entry_column(lead, prefix, entry), (*path, entry.number)
        place = Place(inner, 0, start)
        if isinstance(entry, Attr):
            # Only the decoder tells an empty text that is none.
            yield name, Spot(place, entry.type if entry.type.empty else None, least=entry.type.size)
        elif isinstance(entry, Struct):
            yield from _fields(name, entry.fields, place, entry.min_size or size_of(entry.fields))
        elif isinstance(entry, Nest):
            yield from _entries(name, entry.prefix, entry.entries, inner, start)
        elif isinstance(entry, Packet):
            *fields, payload = names_of(name, entry)
            yield from ((column, Spot(place, None)) for column in fields)
            yield payload, Spot(place, BYTES)
        else:
            yield from ((column, Spot(place, None)) for column in names_of(name, entry))
