"""A spec as it is written: its sets of attributes, structs, names of values, and numbered operations."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from nlbus.errors import SchemaError, extra
from nlbus.schema.schema import Entry
from nlbus.sources import did_you_mean
from nlbus.ynl.grammar import INSTALL, check, unknown_words

log = logging.getLogger("nlbus")

RAW = "netlink-raw"
T = TypeVar("T")


class Limit(NamedTuple):
    """What a spec says and nlbus does not do, or does in part."""

    place: str  # a table, an attribute as set.attribute, an operation
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


class Attribute(NamedTuple):
    """An attribute of a set, with what its subset adds."""

    name: str
    number: int
    given: Mapping[str, Any]

    @property
    def word(self) -> str:
        """The name in a column."""
        return worded(self.name)


class AttributeSet(NamedTuple):
    """Attributes by name; `prefix` begins their names in C."""

    name: str
    prefix: str
    attributes: Mapping[str, Attribute]


class Operation(NamedTuple):
    """An operation, with the numbers of its requests and of the kernel's messages; None: it has none."""

    name: str
    given: Mapping[str, Any]
    request: int | None
    reply: int | None

    def attributes(self, mode: str, way: str) -> list[str]:
        """The attributes of a request or a reply, as of ("dump", "request")."""
        return list(((self.given.get(mode) or {}).get(way) or {}).get("attributes") or ())


@dataclass(slots=True)
class Document:
    """A spec, checked. Names that it uses and does not define are a SchemaError."""

    path: str
    spec: Mapping[str, Any]
    limits: list[Limit] = field(default_factory=list)
    sets: dict[str, AttributeSet] = field(default_factory=dict)
    definitions: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    formats: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    # What was made of a set behind a struct; several tables may have the same.
    entries: dict[tuple[str, str], tuple[Entry, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for place, word in unknown_words(self.spec):
            self.limit(place, f"the property {word!r} is unknown, and ignored")
        for each in self.spec.get("definitions", ()):
            self.definitions[each["name"]] = each
        for each in self.spec.get("sub-messages", ()):
            self.formats[each["name"]] = each["formats"]
        written = {each["name"]: each for each in self.spec["attribute-sets"]}
        for name in written:
            self._add_set(name, written)
        directional = self.spec["operations"].get("enum-model") == "directional"
        numbered = _directional if directional else _unified
        self.operations = list(numbered(self.spec["operations"]["list"]))

    @property
    def name(self) -> str:
        """The name of the family."""
        return str(self.spec["name"])

    @property
    def protocol(self) -> str:
        """One of grammar.PROTOCOLS."""
        return str(self.spec.get("protocol", "genetlink"))

    @property
    def raw(self) -> bool:
        """Whether messages go by nlmsg_type, not by a command of generic netlink."""
        return self.protocol == RAW

    def limit(self, place: str, what: str) -> None:
        """Note a limit, once."""
        found = Limit(place, what)
        if found not in self.limits:
            self.limits.append(found)

    def set(self, name: str) -> AttributeSet:
        """The set of this name. SchemaError."""
        return self._found(self.sets, name, "attribute set")

    def definition(self, name: str, *types: str) -> Mapping[str, Any]:
        """The definition of this name and one of these types. SchemaError."""
        known = {each: given for each, given in self.definitions.items() if given["type"] in types}
        return self._found(known, name, " or ".join(types))

    def sub_message(self, name: str) -> list[Mapping[str, Any]]:
        """The formats of a sub-message. SchemaError."""
        return self._found(self.formats, name, "sub-message")

    def operation(self, name: str) -> Operation:
        """The operation of this name. SchemaError."""
        return self._found({each.name: each for each in self.operations}, name, "operation")

    def constant(self, value: int | str, place: str) -> int | None:
        """A number, or the value of the constant of this name; None, and a limit, if only a header has it."""
        if isinstance(value, int):
            return value
        if value.isdigit():
            return int(value)
        given = self.definition(value, "const")
        if "value" not in given:
            header = given.get("header", "a header")
            self.limit(place, f"the value of {value} is in {header}, not in the spec")
            return None
        return self.constant(given["value"], place)

    def values(self, name: str) -> dict[int, str]:
        """The names of an enum's values, or of the bits of flags by their positions."""
        given = self.definition(name, "enum", "flags")
        number = self.constant(given.get("value-start", 0), name) or 0
        found = {}
        for entry in given.get("entries", ()):
            word = entry if isinstance(entry, str) else entry["name"]
            number = entry.get("value", number) if isinstance(entry, dict) else number
            found[number] = word
            number += 1
        return found

    def has_flags(self, name: str) -> bool:
        """Whether the names are of bits."""
        return bool(self.definition(name, "enum", "flags")["type"] == "flags")

    def _add_set(self, name: str, written: Mapping[str, Any]) -> None:
        if name in self.sets:
            return
        given = written[name]
        if "subset-of" not in given:
            prefix = given.get("name-prefix", f"{self.name}-{name}-a-")
            self.sets[name] = AttributeSet(name, prefix, dict(self._numbered(name, given["attributes"])))
            return
        whole = given["subset-of"]
        if whole not in written or whole == name:
            raise self.wrong(
                f"set {name} is a subset of {whole!r}, which is none{did_you_mean(whole, written)}"
            )
        self._add_set(whole, written)
        known = self.sets[whole].attributes
        chosen = {}
        for each in given["attributes"]:
            base = self._found(known, each["name"], f"attribute of {whole}")
            chosen[base.name] = Attribute(base.name, base.number, {**base.given, **each})
        self.sets[name] = AttributeSet(name, self.sets[whole].prefix, chosen)

    def _numbered(self, name: str, written: list[Mapping[str, Any]]) -> Iterator[tuple[str, Attribute]]:
        number = 1
        for each in written:
            number = each.get("value", number)
            if "type" not in each:
                raise self.wrong(f"attribute {name}.{each['name']} has no type")
            yield each["name"], Attribute(each["name"], number, each)
            number += 1

    def _found(self, known: Mapping[str, T], name: str, what: str) -> T:
        if name not in known:
            raise self.wrong(f"there is no {what} {name!r}{did_you_mean(name, known)}")
        return known[name]

    def wrong(self, what: str) -> SchemaError:
        """The error for a fault of the spec."""
        return SchemaError(f"{self.path} is no valid spec: {what}")


def read(path: Path) -> Document:
    """Read a spec. SchemaError for one that is not valid, MissingExtra, OSError."""
    yaml = extra("yaml", "reading YNL specs", INSTALL)
    with path.open(encoding="utf-8") as file:
        try:
            spec = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise SchemaError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    check(spec, str(path))
    return Document(str(path), spec)


def worded(name: str) -> str:
    """A name of the spec as a column or a table."""
    return name.replace("-", "_").lower()


def _unified(written: list[Mapping[str, Any]]) -> Iterator[Operation]:
    number = 1
    for each in written:
        number = each.get("value", number)
        yield Operation(each["name"], each, number, number)
        number += 1


def _directional(written: list[Mapping[str, Any]]) -> Iterator[Operation]:
    """Requests and messages from the kernel are numbered each for themselves."""
    request = reply = 1
    for each in written:
        if "notify" in each or "event" in each:
            reply = each.get("value", reply)
            yield Operation(each["name"], each, None, reply)
            reply += 1
            continue
        mode = each.get("do") or each.get("dump") or {}
        request = (mode.get("request") or {}).get("value", each.get("value", request))
        reply = (mode.get("reply") or {}).get("value", each.get("value", reply))
        yield Operation(each["name"], each, request, reply if "reply" in mode else None)
        request += 1
        reply += "reply" in mode
