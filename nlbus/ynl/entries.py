"""The attribute sets of a spec as the entries of a schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set

from nlbus.schema.schema import (
    Attr,
    Entry,
    List,
    Nest,
    Nests,
    Numbered,
    Select,
    Struct,
    Structs,
)
from nlbus.schema.types import BYTES, U32, Field, Type
from nlbus.ynl.document import Attribute, AttributeSet, Document, worded
from nlbus.ynl.values import attribute_type, looks, struct_fields

LONGEST_CASE = 20  # bytes of a value that selects a sub-message
StructKind = type[Struct] | type[Structs]
DEEPEST = 8  # sets in each other; the kernel's own policies end at 10


def entries_of(document: Document, name: str, header: Sequence[Field]) -> tuple[Entry, ...]:
    """The entries of a set that follows this header. SchemaError."""
    first = _Sets(document, header, frozenset())
    found = first.entries(name)
    return _Sets(document, header, frozenset(first.selecting)).entries(name) if first.selecting else found


class _Sets:
    """The entries of one table. Each column has one place in the messages."""

    def __init__(self, document: Document, header: Sequence[Field], selects: Set[tuple[str, str]]) -> None:
        self.document = document
        self.taken: set[str] = set()
        self.header = {field.name: field for field in header if field.name}
        self.selects = selects  # the attributes that select a sub-message: set and name
        self.selecting: set[tuple[str, str]] = set()  # those that were met

    def entries(
        self,
        name: str,
        lead: str = "",
        around: tuple[AttributeSet, ...] = (),
        *,
        listed: bool = False,
    ) -> tuple[Entry, ...]:
        """The entries of a set, within those around it. listed: they are of an item of a list."""
        of = self.document.set(name)
        # What selects comes first, as a Select has to come after it.
        ordered = sorted(of.attributes.values(), key=lambda each: (of.name, each.name) not in self.selects)
        return tuple(self._entry(each, of, lead, around, listed) for each in ordered)

    # -- one attribute --------------------------------------------------------------------------------

    def _entry(
        self, of: Attribute, within: AttributeSet, lead: str, around: tuple[AttributeSet, ...], listed: bool
    ) -> Entry:
        kind, given = of.given["type"], of.given
        kernel = kernel_name(within, of)
        place = f"{within.name}.{of.name}"
        if kind in ("pad", "unused"):
            return Struct(kernel, of.number, ())
        if given.get("multi-attr") and listed:
            self.document.limit(place, "several of them in an item of a list: none is read")
            return Struct(kernel, of.number, ())
        makers: Mapping[str, Callable[..., Entry | None]] = {
            "nest": self._nest,
            "indexed-array": self._array,
            "nest-type-value": self._numbered,
            "sub-message": self._select,
        }
        scope = (*around, within)
        if kind in makers:
            found = makers[kind](of, kernel, place, of.word, lead, scope, listed)
            return found or Attr(kernel, of.number, BYTES, column=self._column(lead, of), display="hex")
        if kind == "bitfield32":
            names = looks(self.document, given, of.name)
            both = (Field("value", U32, **names), Field("selector", U32, **names))
            return self._struct(Struct, both, of, kernel, lead)
        if kind == "binary" and "struct" in given:
            many = bool(given.get("multi-attr"))
            fields = struct_fields(self.document, given["struct"])
            if fields:
                return self._struct(Structs if many else Struct, fields, of, kernel, lead)
        return self._value(of, kernel, place, lead, listed, (within.name, of.name) in self.selects)

    def _value(self, of: Attribute, kernel: str, place: str, lead: str, listed: bool, selects: bool) -> Entry:
        given = of.given
        type = attribute_type(given)
        column = self._column(lead, of, type)
        if type is None or (given.get("sub-type") and listed):
            why = "a list in a list" if type else f"the type {given['type']!r} is unknown"
            self.document.limit(place, f"{why}: its bytes are one column")
            return Attr(kernel, of.number, BYTES, column=column, display="hex")
        names = looks(self.document, given, of.name)
        if given.get("sub-type") or given.get("multi-attr"):
            return List(kernel, of.number, type, not given.get("sub-type"), column=column, **names)
        return Attr(kernel, of.number, type, column=column, selects=selects, **names)

    def _struct(
        self,
        kind: type[Struct] | type[Structs],
        fields: Sequence[Field],
        of: Attribute,
        kernel: str,
        lead: str,
    ) -> Entry:
        column = of.word
        names = {f"{joined(lead, column)}_{field.name}" for field in fields if field.name}
        if not names.isdisjoint(self.taken):
            column = f"{of.word}_{of.number}"
            names = {f"{joined(lead, column)}_{field.name}" for field in fields if field.name}
        self.taken |= names
        if kind is Structs:
            return Structs(kernel, of.number, fields, column)
        return Struct(kernel, of.number, fields, column, min_size=fields[0].type.size)

    # -- attributes in attributes ----------------------------------------------------------------------

    def _nest(
        self,
        of: Attribute,
        kernel: str,
        place: str,
        column: str,
        lead: str,
        around: tuple[AttributeSet, ...],
        listed: bool,
    ) -> Entry | None:
        name = of.given.get("nested-attributes", "")
        if self._endless(name, around, place):
            return None
        many = bool(of.given.get("multi-attr"))
        within = self.entries(name, joined(lead, column), around, listed=listed or many)
        if many:
            return Nests(kernel, of.number, "", within, repeated=True, column=column)
        return Nest(kernel, of.number, "", within, column)

    def _array(
        self,
        of: Attribute,
        kernel: str,
        place: str,
        column: str,
        lead: str,
        around: tuple[AttributeSet, ...],
        listed: bool,
    ) -> Entry | None:
        if listed:
            self.document.limit(place, "a list in a list: its bytes are one column")
            return None
        if of.given.get("sub-type") == "nest":
            name = of.given.get("nested-attributes", "")
            if self._endless(name, around, place):
                return None
            lead = joined(lead, column)
            index = "index" if f"{lead}_index" not in self.taken else "nr"
            self.taken.add(f"{lead}_{index}")
            within = self.entries(name, lead, around, listed=True)
            return Nests(kernel, of.number, "", within, index=index, column=column)
        type = attribute_type(of.given)
        if type is None:
            self.document.limit(place, f"an array of {of.given.get('sub-type')!r}: its bytes are one column")
            return None
        names = looks(self.document, of.given, of.name)
        return List(kernel, of.number, type, indexed=True, column=column, **names)

    def _numbered(
        self,
        of: Attribute,
        kernel: str,
        place: str,
        column: str,
        lead: str,
        around: tuple[AttributeSet, ...],
        listed: bool,
    ) -> Entry | None:
        name = of.given.get("nested-attributes", "")
        if self._endless(name, around, place):
            return None
        lead = joined(lead, column)
        numbers = [worded(each) for each in of.given["type-value"]]
        self.taken.update(f"{lead}_{number}" for number in numbers)
        return Numbered(
            kernel, of.number, numbers, "", self.entries(name, lead, around, listed=listed), column
        )

    def _select(
        self,
        of: Attribute,
        kernel: str,
        place: str,
        column: str,
        lead: str,
        around: tuple[AttributeSet, ...],
        listed: bool,
    ) -> Entry | None:
        by = of.given.get("selector", "")
        scope = next((each for each in reversed(around) if by in each.attributes), None)
        if scope is None:
            self.document.limit(place, f"no attribute {by!r} selects the message: its bytes are one column")
            return None
        chooser = scope.attributes[by]
        self.selecting.add((scope.name, by))
        cases, values, headers = {}, {}, {}
        for each in self.document.sub_message(of.given["sub-message"]):
            value, text = self._case(chooser, each["value"], place), worded(str(each["value"]))
            set_name, header = each.get("attribute-set", ""), each.get("fixed-header", "")
            if value is None or not (set_name or header):
                continue
            within = joined(joined(lead, column), text)
            if header:
                headers[text] = struct_fields(self.document, header)
                self.taken.update(f"{within}_{field.name}" for field in headers[text] if field.name)
            endless = set_name and self._endless(set_name, around, f"{place} of {text}")
            entries = () if endless or not set_name else self.entries(set_name, within, around, listed=listed)
            cases[text], values[text] = ("", entries), value
        return Select(kernel, of.number, cases, column, kernel_name(scope, chooser), values, headers)

    def _case(self, by: Attribute, value: str | int, place: str) -> bytes | None:
        """The bytes of the selecting attribute that mean this format."""
        if by.given["type"] == "string":
            found = str(value).encode()
            if len(found) <= LONGEST_CASE:
                return found
            self.document.limit(place, f"{value!r} is longer than {LONGEST_CASE} bytes: it is not read")
            return None
        type, number = attribute_type(by.given), value
        if isinstance(value, str) and "enum" in by.given:
            number = {name: number for number, name in self.document.values(by.given["enum"]).items()}.get(
                value, ""
            )
        if type is None or type.kind not in ("UINT", "UINT_BE") or not isinstance(number, int):
            self.document.limit(place, f"{value!r} is no value of {by.name}: it is not read")
            return None
        return number.to_bytes(type.size, "big" if type.kind == "UINT_BE" else "little")

    def _endless(self, name: str, around: tuple[AttributeSet, ...], place: str) -> bool:
        """Whether a set would be within itself, or too deep; its bytes are one column then."""
        of = self.document.set(name)
        if any(each.name == of.name for each in around):
            self.document.limit(place, f"{name} within {name}: its bytes are one column")
        elif len(around) >= DEEPEST:
            self.document.limit(place, f"nested deeper than {DEEPEST}: its bytes are one column")
        else:
            return False
        return True

    def _column(self, lead: str, of: Attribute, type: Type | None = BYTES) -> str:
        """The attribute's part of a column's name; a header's field of the same kind shares the column."""
        whole = joined(lead, of.word)
        field = self.header.get(whole) if not lead else None
        kinds = {each.dtype.kind for each in (field and field.type, type) if each}
        shared = field is None or (len(kinds) == 1 and kinds <= {"u", "i"})
        name = of.word if shared and whole not in self.taken else f"{of.word}_{of.number}"
        self.taken.add(joined(lead, name))
        return name


def kernel_name(within: AttributeSet, of: Attribute) -> str:
    """The name of an attribute in C."""
    prefix = of.given.get("name-prefix", within.prefix)
    return f"{prefix}{of.name}".replace("-", "_").upper()


def joined(lead: str, name: str) -> str:
    """The name behind what leads to it."""
    return f"{lead}_{name}" if lead else name
