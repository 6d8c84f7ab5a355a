"""Compiles a schema of attributes to the tables that the decoder reads and the columns that it fills."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from nlbus._core.columns.program import CASE, FLAGS, KINDS, LEVEL, OP, PACKET_FIELDS, RULE, SELECTORS, Program
from nlbus._core.columns.store import SPEC
from nlbus.errors import SchemaError
from nlbus.schema.columns import (
    FAMILY,
    columns_of,
    entry_column,
    joined,
    lists_of_nests,
    names_of,
    numbers_of,
    size_of,
)
from nlbus.schema.packet_headers import FIELDS
from nlbus.schema.schema import (
    Attr,
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
from nlbus.schema.types import NL_COLUMNS, OPS, Column, Field, Type
from nlbus.schema.words import unknown_column

# The decoder has a fast path for these: the width does not change, hence the sign does not matter.
PLAIN = {
    ("UINT", 1): "PLAIN_1", ("UINT", 2): "PLAIN_2", ("UINT", 4): "PLAIN_4", ("UINT", 8): "PLAIN_8",
    ("SINT", 1): "PLAIN_1", ("SINT", 2): "PLAIN_2", ("SINT", 4): "PLAIN_4", ("SINT", 8): "PLAIN_8",
    ("UINT_BE", 2): "PLAIN_BE_2", ("UINT_BE", 4): "PLAIN_BE_4", ("UINT_BE", 8): "PLAIN_BE_8",
    ("SINT_BE", 4): "PLAIN_BE_4", ("ADDRESS", 4): "PLAIN_ADDRESS",
}  # fmt: skip
NOWHERE = -1
HAPPENED = {name: number for number, name in OPS.items()}


class Compiled(NamedTuple):
    """A schema compiled for some columns; `cells` has the number of the decoder's cell for each of them."""

    schema: Schema
    columns: tuple[Column, ...]  # with the nl_ columns, which have no cell (-1)
    cells: tuple[int, ...]
    program: Program
    family: int  # the cell with the address family of each row, whether or not it is a column; -1: none


def compiled(schema: Schema, wanted: frozenset[str] | None = None) -> Compiled:
    """Return the schema compiled for these columns, None for all. UnknownColumn."""
    builder = _Builder(schema, wanted)
    return builder.build()


class _Builder:
    def __init__(self, schema: Schema, wanted: Collection[str] | None) -> None:
        self.schema = schema
        self.columns = columns_of(schema)
        self.ops: list[dict[str, int]] = []
        self.levels: list[dict[int, int]] = []
        self.level_selectors: list[dict[str, int]] = []  # the first one of a level, and how many it has
        self.cases: list[tuple[bytes | int, ...]] = []
        self.lists: list[int] = []
        self.scopes: list[dict[str, int]] = []  # the selectors around an entry, from the outermost nest
        self.selector = self.selectors = 0  # the next one, and how many there are
        self.anchor = NOWHERE  # in a list of nests: the cell that has every item
        self.has_family = any(field.name == FAMILY for field in schema.header)
        nl = {column.name for column in NL_COLUMNS}
        unknown = sorted(set(wanted or ()) - set(self.columns) - nl)
        if unknown:
            raise unknown_column(unknown[0], (*NL_COLUMNS, *self.columns.values()), schema.name)
        self.wanted = [name for name in self.columns if wanted is None or name in wanted]
        cells = list(self.wanted)
        if FAMILY not in cells and any(self.columns[name].family == FAMILY for name in cells):
            cells.append(FAMILY)
        for entry in schema.entries:
            # What the headers of a packet are read by, wanted or not.
            if isinstance(entry, Packet):
                needed = (entry.protocol, *(name for name, _ in entry.framed))
                cells += [name for name in needed if name not in cells]
        for lists in lists_of_nests("", schema.prefix, schema.entries):
            if lists and lists[0] not in cells and not set(lists).isdisjoint(cells):
                cells.append(lists[0])  # it has every item
        self.cell = {name: number for number, name in enumerate(cells)}

    # -- the program --------------------------------------------------------------------------------

    def build(self) -> Compiled:
        schema = self.schema
        columns = [self.columns[name] for name in self.cell]
        each = schema.each
        # Where a header may lie deeper, it is the struct that a part of the message begins with.
        divided = any(op.within for op in schema.ops)
        header, part_fields = schema.header, () if each is None else each.fields
        if divided:
            if each is not None or any(isinstance(entry, Packet) for entry in schema.entries):
                raise self._wrong("a header within an attribute, and several rows per message or a packet")
            header, part_fields = (), header
        fields = self._field_ops("", header, header=True)
        # Texts come last: the decoder fills them row by row, together with attributes of the same column.
        texts = [op for op in fields if columns[op["cell"]].storage != "fixed"]
        first = self._add([op for op in fields if op not in texts] + texts)
        root = self._level("", schema.prefix, schema.entries) if schema.entries else NOWHERE
        shared = [] if each is None else each.shared
        common = self._level("", schema.prefix, shared) if shared else NOWHERE
        parts = self._field_ops("", part_fields)
        part = (self._add(parts), len(parts), size_of(part_fields))
        map_: list[int] = []
        levels = []
        for level in self.levels:
            count = max(level, default=NOWHERE) + 1
            levels.append((len(map_), count))
            map_ += [level.get(number, NOWHERE) for number in range(count)]
        program = Program(
            ops=_array([tuple(op.values()) for op in self.ops], OP),
            levels=_array(levels, LEVEL),
            map=np.array(map_, np.int32),
            cases=_array(self.cases, CASE),
            rules=_array([_rule(op) for op in schema.ops], RULE),
            specs=_array([_spec(column) for column in columns], SPEC),
            lists=np.array(self.lists, np.int32),
            fields=(first, len(fields), len(texts)),
            header=size_of(header),
            root=root,
            selector=schema.selector or schema.unless or (0, 0, 0),
            others=schema.selector is None and schema.unless is not None,
            selectors=self.selectors,
            path=np.array(each.path if each is not None else (), np.int32),
            ignored=np.array(
                [*each.ignored, *(one.number for one in shared)] if each is not None else (), np.int32
            ),
            shared=common,
            part=part,
            divided=divided or each is not None,
        )
        return Compiled(
            schema,
            (*NL_COLUMNS, *columns[: len(self.wanted)]),
            (*(NOWHERE for _ in NL_COLUMNS), *range(len(self.wanted))),
            program,
            self.cell.get(FAMILY, NOWHERE) if self.has_family else NOWHERE,
        )

    def _field_ops(self, lead: str, fields: Sequence[Field], *, header: bool = False) -> list[dict[str, int]]:
        ops = []
        at = 0
        for field in fields:
            cell = self.cell.get(joined(lead, field.name), NOWHERE) if field.name else NOWHERE
            if cell >= 0:
                usual = header or field.absent is not None
                column = self.columns[joined(lead, field.name)]
                kind = field.type.kind if usual else _fastest(field.type, column)
                op = _op(kind, size=field.type.size, at=at - field.type.back, cell=cell)
                if field.type.by:
                    op |= self._member(fields, field.type, at - field.type.back)
                if field.absent is not None:
                    op |= {
                        "flags": FLAGS["MAY_LACK"],
                        "absent": field.absent & (1 << 8 * field.type.size) - 1,
                    }
                ops.append(self._of_item(op))
            at += 0 if field.type.back else field.type.size
        return ops

    def _member(self, fields: Sequence[Field], type: Type, at: int) -> dict[str, int]:
        """Where the field is that chooses a member of the union at `at`, and its values for this one."""
        offset = 0
        for field in fields:
            if field.name == type.by:
                one, other = type.cases
                return {"first": offset - at, "count": field.type.size, "level": one, "lists": other}
            offset += 0 if field.type.back else field.type.size
        raise self._wrong(f"no field {type.by!r} beside the union whose member it chooses")

    def _level(self, lead: str, prefix: str, entries: Sequence[Entry]) -> int:
        number = len(self.levels)
        self.levels.append({})
        chosen = [entry.kernel for entry in entries if isinstance(entry, Attr) and entry.selects]
        reserved = {kernel: self.selector + i for i, kernel in enumerate(chosen)}
        self.scopes.append({})
        self.level_selectors.append({"selector": self.selector, "selectors": len(chosen)})
        self.selector += len(chosen)
        self.selectors = max(self.selectors, self.selector)
        if self.selectors > SELECTORS:
            raise self._wrong(f"{chosen[0]} is one selector more than the {SELECTORS} there may be")
        for entry in entries:
            if entry.kernel in reserved:
                self.scopes[-1][entry.kernel] = reserved[entry.kernel]
            op = self._entry(lead, prefix, entry)
            self.levels[number][entry.number] = len(self.ops)
            self.ops.append(op)
        self.scopes.pop()
        return number

    def _entry(self, lead: str, prefix: str, entry: Entry) -> dict[str, int]:
        name = entry_column(lead, prefix, entry)
        cell = self.cell.get(name, NOWHERE)
        if isinstance(entry, Attr):
            return self._attr(entry, name, cell)
        if isinstance(entry, List):
            if cell < 0:
                return _op("SKIP")
            if entry.repeated:
                return self._item(entry, cell) | {"flags": FLAGS["APPEND"]}
            flags = FLAGS["INDEXED"] if entry.indexed else 0
            return _op("LIST", cell=cell, first=self._add([self._item(entry, cell)]), flags=flags)
        if isinstance(entry, Struct):
            ops = self._field_ops(name, entry.fields)
            return (
                _op(
                    "STRUCT",
                    size=entry.min_size or size_of(entry.fields),
                    first=self._add(ops),
                    count=len(ops),
                )
                if ops
                else _op("SKIP")
            )
        if isinstance(entry, Nest):
            level = self._level(name, entry.prefix, entry.entries)
            return _op("NEST", level=level, **self.level_selectors[level])
        if isinstance(entry, Elements | Structs):
            return self._side_by_side(name, entry)
        if isinstance(entry, Nests):
            return self._nests(name, entry)
        if isinstance(entry, Numbered):
            first = self._numbers(name, entry)
            level = self._level(name, entry.prefix, entry.entries)
            numbers = {"first": first, "count": len(entry.numbers)}
            return _op("NUMBERED", level=level, **numbers, **self.level_selectors[level])
        if isinstance(entry, Packet):
            return self._packet(entry, cell)
        return self._select(name, entry)

    def _packet(self, entry: Packet, cell: int) -> dict[str, int]:
        fields = [field for field in FIELDS if field.name in self.cell]
        if not fields:
            return _op("BYTES", cell=cell) if cell >= 0 else _op("SKIP")
        ops = []
        for field in fields:
            number, width = PACKET_FIELDS[field.name]
            if self.columns[field.name].dtype.itemsize != width:
                raise self._wrong(f"{field.name} is wider than in {entry.kernel}")
            ops.append(_op("SKIP", at=number, cell=self.cell[field.name]))
        (one, its), (other, others) = entry.framed
        return _op(
            "PACKET",
            cell=cell,
            first=self._add(ops),
            count=len(ops),
            level=self.cell[entry.protocol],
            lists=self.cell[one],
            list_count=self.cell[other],
            absent=its << 8 | others,
        )

    def _attr(self, entry: Attr, name: str, cell: int) -> dict[str, int]:
        if cell < 0 and not entry.selects:
            return _op("SKIP")
        plain = cell >= 0 and not entry.selects
        kind = _fastest(entry.type, self.columns[name]) if plain else entry.type.kind
        op = _op(kind, size=entry.type.size, count=entry.type.longest, cell=cell)
        if entry.selects:
            op |= {"flags": FLAGS["SELECTS"], "level": self.scopes[-1][entry.kernel]}
        if not entry.type.empty:
            op["flags"] |= FLAGS["MAY_BE_EMPTY"]
        return self._of_item(op)

    def _select(self, name: str, entry: Select) -> dict[str, int]:
        around = [number for scope in self.scopes for by, number in scope.items() if entry.by in ("", by)]
        if not around:
            raise self._wrong(
                f"{entry.kernel} depends on {entry.by or 'a value'}, which does not come before it"
            )
        cases: list[tuple[bytes | int, ...]] = []
        begin = end = self.selector
        for text, (inner, entries) in entry.cases.items():
            lead, value = joined(name, text), entry.values.get(text, text.encode())
            header = entry.headers.get(text, ())
            fields = self._field_ops(lead, header)
            first = self._add(fields)
            self.selector = begin  # only one case applies at a time
            level = self._level(lead, inner, entries)
            end = max(end, self.selector)
            chosen = self.level_selectors[level].values()
            cases.append((value, len(value), level, size_of(header), first, len(fields), *chosen))
        self.selector = end
        self.cases += cases
        return _op("SELECT", first=len(self.cases) - len(cases), count=len(cases), at=around[-1])

    def _nests(self, name: str, entry: Nests) -> dict[str, int]:
        cells = [self.cell[each] for each in dict.fromkeys(names_of(name, entry)) if each in self.cell]
        if not cells:
            return _op("SKIP")
        self.anchor = cells[0]
        first = self._numbers(name, entry)
        level = self._level(name, entry.prefix, entry.entries)
        self.anchor = NOWHERE
        self.lists += cells
        return _op(
            "NESTS",
            flags=FLAGS["REPEATED"] if entry.repeated else 0,
            first=first if entry.index else NOWHERE,
            level=level,
            lists=len(self.lists) - len(cells),
            list_count=len(cells),
            **self.level_selectors[level],
        )

    def _numbers(self, name: str, entry: Nests | Numbered) -> int:
        """The ops of the columns of nests' numbers."""
        ops = []
        for field in numbers_of(entry):
            column = joined(name, field.name)
            cell = self.cell.get(column, NOWHERE)
            kind = _fastest(field.type, self.columns[column]) if cell >= 0 else "SKIP"
            ops.append(self._of_item(_op(kind, size=field.type.size, cell=cell)))
        return self._add(ops)

    def _of_item(self, op: dict[str, int]) -> dict[str, int]:
        """The op, of a value in a list of nests if we are in one."""
        if self.anchor == NOWHERE:
            return op
        return op | {"flags": op["flags"] | FLAGS["ITEM"], "list_count": self.anchor}

    def _side_by_side(self, name: str, entry: Elements | Structs) -> dict[str, int]:
        """The op of lists that grow together, an item each per struct."""
        cells = [self.cell[each] for each in dict.fromkeys(names_of(name, entry)) if each in self.cell]
        if not cells:
            return _op("SKIP")
        ops = self._field_ops(name, entry.fields)
        first = self._add(ops)
        kind, level = "STRUCTS", NOWHERE
        if isinstance(entry, Elements):
            kind, level = "ELEMENTS", self._level(name, entry.prefix, entry.entries)
        self.lists += cells
        return _op(
            kind,
            at=size_of(entry.fields),
            first=first,
            count=len(ops),
            level=level,
            lists=len(self.lists) - len(cells),
            list_count=len(cells),
        )

    def _wrong(self, what: str) -> SchemaError:
        return SchemaError(f"table {self.schema.name}: {what}")

    @staticmethod
    def _item(entry: List, cell: int) -> dict[str, int]:
        return _op(entry.type.kind, size=entry.type.size, count=entry.type.longest, cell=cell)

    def _add(self, ops: list[dict[str, int]]) -> int:
        self.ops += ops
        return len(self.ops) - len(ops)


def _rule(op: Op) -> tuple[int, ...]:
    """The op as a rule. The command of generic netlink is the first byte of the payload."""
    there = (NOWHERE, 0, 0)
    if op.command >= 0:
        there = (0, 1, op.command)
    elif op.has is not None:
        there = (op.has[0], 4, op.has[1])
    within = op.within or (NOWHERE, 0)
    return op.type, op.mask, op.value, HAPPENED[op.op], op.group, op.seq, *there, *within


def _op(kind: str, **fields: int) -> dict[str, int]:
    op = dict.fromkeys(OP.names or (), 0) | {"kind": KINDS[kind], "cell": NOWHERE}
    return op | fields


def _fastest(type: Type, column: Column) -> str:
    """The fastest kind that stores such a value."""
    straight = column.dtype.itemsize == type.dtype.itemsize and not column.list
    return PLAIN.get((type.kind, type.size), type.kind) if straight else type.kind


def _spec(column: Column) -> tuple[int, int, int]:
    width = column.dtype.itemsize if column.storage == "fixed" else 0
    return width, int(column.list), int(column.nullable)


def _array(rows: list[Any], dtype: np.dtype[Any]) -> Any:
    return np.array(rows, dtype) if rows else np.empty(0, dtype)
