"""Padding that the kernel puts between attributes is no unknown attribute, in any table."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from nlbus.schema.schema import Attr, Elements, Entry, List, Nest, Nests, Numbered, Schema, Select, Struct
from nlbus.sources import SOURCES
from nlbus.sources.genl import TABLES, recorded_source

INCLUDE = Path("/usr/include/linux")


def padding() -> dict[str, int]:
    """The numbers of all attributes called PAD in the kernel's headers, by their prefix."""
    found: dict[str, int] = {}
    for path in INCLUDE.rglob("*.h"):
        text = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(errors="replace"), flags=re.DOTALL)
        if "_PAD" not in text:
            continue
        for body in re.findall(r"enum\s*\w*\s*{(.*?)}", text, re.DOTALL):
            number = -1
            known: dict[str, int] = {}
            for name, value in re.findall(r"^\s*(\w+)\s*(?:=\s*(\w+))?\s*,?", body, re.MULTILINE):
                number = known.get(value, int(value, 0) if value.isdigit() else -1) if value else number + 1
                known[name] = number
                if name.endswith("_PAD"):
                    found.setdefault(name.removesuffix("PAD"), number)
    return found


def is_wide(entry: Entry) -> bool:
    """Whether the kernel may put padding before it."""
    if isinstance(entry, Struct):
        return any(field.type.size == 8 for field in entry.fields)
    return isinstance(entry, Attr | List) and (entry.type.size == 8 or entry.type.kind.startswith("VAR"))


def levels(prefix: str, entries: Sequence[Entry]) -> Iterator[tuple[str, set[int]]]:
    """Each nest's prefix of names, with the numbers that the schema knows; nests with values of 64 bits."""
    if any(is_wide(entry) for entry in entries):
        yield prefix, {entry.number for entry in entries}
    for entry in entries:
        if isinstance(entry, Nest | Nests | Numbered | Elements):
            yield from levels(entry.prefix, entry.entries)
        elif isinstance(entry, Select):
            for inner, cases in entry.cases.values():
                yield from levels(inner, cases)


def test_no_table_counts_padding_as_unknown() -> None:
    theirs = padding()
    if not theirs:
        pytest.skip("no kernel headers in /usr/include/linux")
    assert {"RTA_", "IFLA_", "CTA_COUNTERS_", "NDTPA_"} <= set(theirs)
    sources = [*SOURCES.values(), *(recorded_source(name) for name in TABLES)]
    missing = {
        (source.name, schema.name, f"{prefix}PAD")
        for source in sources
        for schema in source.schemas
        if isinstance(schema, Schema)
        for prefix, numbers in levels(schema.prefix, schema.entries)
        if numbers and theirs.get(prefix, -1) not in numbers | {-1}
    }
    assert not missing
