"""What nlbus's own table of the same messages knows, in the names of a spec's columns.

Two columns are the same if they have the same place in the messages: a field of the header, or an attribute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from nlbus.schema.columns import columns_of, entry_column, joined
from nlbus.schema.manners import PLAIN, Doubt, Manners, Partial
from nlbus.schema.schema import (
    Attr,
    Dump,
    Elements,
    Entry,
    Filter,
    List,
    Nest,
    Nests,
    Numbered,
    Schema,
    Select,
    Struct,
    Structs,
)
from nlbus.schema.types import Field
from nlbus.sources.genl import NO_FAMILY

Place = tuple[object, ...]
EVERY = "*"


def places(schema: Schema) -> Iterator[tuple[Place, str]]:
    """The columns, each with its places in a message."""
    yield from _fields((), "", schema.header)
    yield from _entries((), "", schema.prefix, schema.entries)


def _fields(path: Place, lead: str, fields: Sequence[Field]) -> Iterator[tuple[Place, str]]:
    at = 0
    for each in fields:
        if each.name:
            yield (*path, "at", at), joined(lead, each.name)
        at += each.type.size


def _entries(path: Place, lead: str, prefix: str, entries: Sequence[Entry]) -> Iterator[tuple[Place, str]]:
    for entry in entries:
        name, inner = entry_column(lead, prefix, entry), (*path, entry.number)
        if isinstance(entry, Attr | List):
            yield inner, name
        elif isinstance(entry, Struct | Structs | Elements):
            yield from _fields(inner, name, entry.fields)
        if isinstance(entry, Struct) and entry.fields and entry.fields[0].name:
            yield inner, joined(name, entry.fields[0].name)  # the whole may be one value
        if isinstance(entry, Numbered):
            yield from (((*inner, "number", i), joined(name, each)) for i, each in enumerate(entry.numbers))
        if isinstance(entry, Nests) and entry.index:
            yield (*inner, "number"), joined(name, entry.index)
        if isinstance(entry, Nest | Nests | Numbered | Elements):
            yield from _entries(inner, name, entry.prefix, entry.entries)
        if isinstance(entry, Select):
            for text, (begin, cases) in entry.cases.items():
                case = (*inner, entry.values.get(text, text.encode()))
                yield from _fields(case, joined(name, text), entry.headers.get(text, ()))
                yield from _entries(case, joined(name, text), begin, cases)


class Translation:
    """Columns of nlbus's table as those of a spec's."""

    def __init__(self, ours: Schema, theirs: Schema) -> None:
        there: dict[Place, str] = dict(places(theirs))
        self._found: dict[str, dict[str, None]] = {name: {} for name in columns_of(ours)}
        for place, name in places(ours):
            if place in there:
                self._found[name][there[place]] = None
        self.table = theirs.name

    def __getitem__(self, column: str) -> tuple[str, ...]:
        """The spec's columns for one of ours; none if it lacks them."""
        return tuple(self._found.get(column, ()))

    def all(self, patterns: Iterable[str]) -> tuple[str, ...]:
        """The spec's columns for ours of these names, which may have wildcards."""
        found: dict[str, None] = {}
        for pattern in patterns:
            if pattern == EVERY:
                found[EVERY] = None
            for name in self._found:
                if pattern != EVERY and fnmatchcase(name, pattern):
                    found |= self._found[name]
        return tuple(found)

    def whole(self, columns: Iterable[str]) -> tuple[str, ...] | None:
        """The spec's columns for all of these; None if it lacks one of them."""
        found = [self[column] for column in columns]
        return tuple(dict.fromkeys(name for names in found for name in names)) if all(found) else None

    def numbers(self, values: Mapping[str, int]) -> dict[str, int]:
        """Values of columns."""
        return {name: number for column, number in values.items() for name in self[column][:1]}


def adopted(schema: Schema, like: Schema, every: Mapping[str, Translation]) -> Schema:
    """The spec's schema with the key, the manners, the words and the filters of ours.

    every: the translations of our tables that the spec has, by our names.
    """
    known = every[like.name]
    words = {word: known.all((of,) if isinstance(of, str) else of) for word, of in like.words.items()}
    columns = columns_of(schema)
    schema = replace(
        schema,
        words={word: found for word, found in words.items() if found and word not in columns},
        dump=_dump(schema.dump, like.dump, known),
    )
    key, slot = known.whole(like.key), known.whole(like.manners.slot)
    if not key or slot is None or key[: len(slot)] != slot:
        return schema
    return replace(schema, key=key, manners=_manners(like.manners, slot, known, every))


def _manners(
    ours: Manners, slot: tuple[str, ...], known: Translation, every: Mapping[str, Translation]
) -> Manners:
    unless = {
        mine: others[0]
        for column, other in ours.unless.items()
        for mine in known[column]
        if (others := known[other])
    }
    moves = known[ours.moves]
    return replace(
        PLAIN,
        slot=slot,
        beside=known.all(ours.beside),
        masks=known.numbers(ours.masks),
        unless=unless,
        merging=known.numbers(ours.merging),
        partial=tuple(_partial(each, known) for each in ours.partial if not each.lacks or known[each.lacks]),
        silent=known.all(ours.silent),
        volatile=known.all(ours.volatile),
        moves=moves[0] if moves else "",
        doubts=tuple(_doubt(each, known, every[each.of]) for each in ours.doubts if each.of in every),
        unheard=ours.unheard,
    )


def _partial(ours: Partial, known: Translation) -> Partial:
    lacks = known[ours.lacks][0] if ours.lacks else ""
    return replace(ours, lacks=lacks, keeps=known.all(ours.keeps), only=known.numbers(ours.only))


def _doubt(ours: Doubt, known: Translation, of: Translation) -> Doubt:
    """The doubt; about all rows where the spec lacks what would tell which ones."""
    match: dict[str | tuple[str, ...], str] = {}
    for mine, other in ours.match.items():
        names, others = known.all((mine,) if isinstance(mine, str) else mine), of[other]
        if not names or not others:
            match = {}
            break
        match[names] = others[0]
    having = of[ours.having][:1] if ours.having else ()
    return replace(ours, of=of.table, having=having[0] if having else "", match=match)


def _dump(dump: object, ours: object, known: Translation) -> Dump | None:
    if not isinstance(dump, Dump):
        return None
    if not isinstance(ours, Dump) or ours.type != dump.type:
        return dump
    commands = {
        each.headers[0][:1] for each in (ours, dump) if dump.type == NO_FAMILY and not callable(each.headers)
    }
    if len(commands) > 1:
        return dump
    filters = (_filter(each, known) for each in ours.filters)
    lean = ours.lean
    if lean is not None and not all(name.startswith(lean.prefix) for name in known.all((f"{lean.prefix}*",))):
        lean = None
    repeats = known[ours.repeats][:1]
    return replace(
        dump,
        headers=ours.headers,
        filters=tuple(each for each in filters if each is not None),
        lean=lean,
        repeats=repeats[0] if repeats else "",
        option=ours.option,
    )


def _filter(ours: Filter, known: Translation) -> Filter | None:
    found = known[ours.column]
    return replace(ours, column=found[0]) if len(found) == 1 else None
