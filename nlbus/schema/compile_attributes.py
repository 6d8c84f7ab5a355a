"""Compiles a schema of attributes to the tables that the decoder reads and the columns that it fills."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from nlbus._core.columns.program import CASE, FLAGS, KINDS, LEVEL, OP, RULE, Program
from nlbus._core.columns.store import SPEC
from nlbus.errors import SchemaError
from nlbus.schema.schema import Attr, Elements, Entry, List, Nest, Schema, Select, Struct, Structs
from nlbus.schema.types import NL_COLUMNS, OPS, U16, Column, Field, Type
from nlbus.schema.words import unknown_column, with_words

# The decoder has a fast path for these: the width does not change, hence the sign does not matter.
PLAIN = {
    ("UINT", 1): "PLAIN_1", ("UINT", 2): "PLAIN_2", ("UINT", 4): "PLAIN_4", ("UINT", 8): "PLAIN_8",
    ("SINT", 1): "PLAIN_1", ("SINT", 2): "PLAIN_2", ("SINT", 4): "PLAIN_4", ("SINT", 8): "PLAIN_8",
    ("UINT_BE", 2): "PLAIN_BE_2", ("UINT_BE", 4): "PLAIN_BE_4", ("UINT_BE", 8): "PLAIN_BE_8",
    ("SINT_BE", 4): "PLAIN_BE_4", ("ADDRESS", 4): "PLAIN_ADDRESS",
}  # fmt: skip
NOWHERE = -1
CASE_TEXT = CASE["text"].itemsize
FAMILY: Final = "family"  # the header's field
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
        self.columns: dict[str, Column] = {}
        self.ops: list[dict[str, int]] = []
        self.levels: list[dict[int, int]] = []
        self.cases: list[tuple[bytes, int]] = []
        self.lists: list[int] = []
        self.has_family = any(field.name == FAMILY for field in schema.header)
        self._fields("", schema.header, header=True)
        self._entries("", schema.prefix, schema.entries)
        self.columns = {column.name: column for column in with_words(self.columns.values(), schema.words)}
        nl = {column.name for column in NL_COLUMNS}
        unknown = sorted(set(wanted or ()) - set(self.columns) - nl)
        if unknown:
            raise unknown_column(unknown[0], (*NL_COLUMNS, *self.columns.values()), schema.name)
        self.wanted = [name for name in self.columns if wanted is None or name in wanted]
        cells = list(self.wanted)
        if FAMILY not in cells and any(self.columns[name].family == FAMILY for name in cells):
            cells.append(FAMILY)
        self.cell = {name: number for number, name in enumerate(cells)}

    # -- the columns --------------------------------------------------------------------------------

    def _fields(
        self, lead: str, fields: Sequence[Field], *, header: bool = False, listed: bool = False
    ) -> None:
        for field in fields:
            if field.absent is not None and "INT" not in field.type.kind:
                raise self._wrong(f"{field.name} is no integer, so no value of it can mean absence")
            if field.name:
                always = header and field.absent is None
                name = joined(lead, field.name)
                self._column(
                    name, field, field.type, nullable=not always, listed=listed, attribute=field.name
                )

    def _entries(self, lead: str, prefix: str, entries: Sequence[Entry], *, listed: bool = False) -> None:
        for entry in entries:
            name = entry_column(lead, prefix, entry)
            if isinstance(entry, Attr):
                if entry.selects and entry.type.kind != "TEXT":
                    raise self._wrong(f"{entry.kernel} selects, but is no text")
                self._column(name, entry, entry.type, listed=listed, attribute=entry.kernel)
            elif isinstance(entry, List):
                if not entry.repeated and not entry.type.size:
                    raise self._wrong(f"{entry.kernel} is an array of items without a size")
                self._column(name, entry, entry.type, listed=True, attribute=entry.kernel)
            elif isinstance(entry, Struct):
                if entry.min_size and any(field.type.by for field in entry.fields):
                    raise self._wrong(f"{entry.kernel} may be shorter, and lack the family of an address")
                self._fields(name, entry.fields)
            elif isinstance(entry, Structs):
                if not sum(field.type.size for field in entry.fields):
                    raise self._wrong(f"{entry.kernel} has structs without a size")
                self._fields(name, entry.fields, listed=True)
            elif isinstance(entry, Nest):
                self._entries(name, entry.prefix, entry.entries)
            elif isinstance(entry, Elements):
                if not entry.fields or entry.fields[0].type is not U16:
                    raise self._wrong(
                        f"{entry.kernel} has structs that do not begin with a u16, their length"
                    )
                self._fields(name, entry.fields, listed=True)
                self._entries(name, entry.prefix, entry.entries, listed=True)
            else:
                for text, (inner, cases) in entry.cases.items():
                    if not 0 < len(text.encode()) <= CASE_TEXT:
                        raise self._wrong(f"{entry.kernel} has a case of 0 or more than {CASE_TEXT} bytes")
                    self._entries(joined(lead, text), inner, cases)

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
            flags=getattr(of, "flags", None),
            nullable=nullable,
            attribute=attribute,
            display=of.display or type.display,
            family=type.family or (FAMILY if type.kind == "ADDRESS" and self.has_family else ""),
        )
        before = self.columns.get(name)
        if before is not None:
            if _kind(before) != _kind(column):
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
        self.columns[name] = column

    # -- the program --------------------------------------------------------------------------------

    def build(self) -> Compiled:
        schema = self.schema
        columns = [self.columns[name] for name in self.cell]
        fields = self._field_ops("", schema.header, header=True)
        # Texts come last: the decoder fills them row by row, together with attributes of the same column.
        texts = [op for op in fields if columns[op["cell"]].storage != "fixed"]
        first = self._add([op for op in fields if op not in texts] + texts)
        root = self._level("", schema.prefix, schema.entries) if schema.entries else NOWHERE
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
            cases=_array([(text, len(text), level) for text, level in self.cases], CASE),
            rules=_array(
                [
                    (
                        op.type,
                        op.mask,
                        op.value,
                        HAPPENED[op.op],
                        op.group,
                        op.seq,
                        *(op.has or (NOWHERE, 0)),
                    )
                    for op in schema.ops
                ],
                RULE,
            ),
            specs=_array([_spec(column) for column in columns], SPEC),
            lists=np.array(self.lists, np.int32),
            fields=(first, len(fields), len(texts)),
            header=sum(field.type.size for field in schema.header),
            root=root,
            selector=schema.selector or schema.unless or (0, 0, 0),
            others=schema.selector is None and schema.unless is not None,
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
                op = _op(kind, size=field.type.size, at=at, cell=cell)
                if field.type.by:
                    op |= self._family_of(fields, field.type.by, at)
                if field.absent is not None:
                    op |= {
                        "flags": FLAGS["MAY_LACK"],
                        "absent": field.absent & (1 << 8 * field.type.size) - 1,
                    }
                ops.append(op)
            at += field.type.size
        return ops

    def _family_of(self, fields: Sequence[Field], name: str, at: int) -> dict[str, int]:
        """Where the address family of a UNION_ADDRESS at `at` is, in the same struct."""
        offset = 0
        for field in fields:
            if field.name == name:
                return {"first": offset - at, "count": field.type.size}
            offset += field.type.size
        raise self._wrong(f"no field {name!r} beside the address that it is the family of")

    def _level(self, lead: str, prefix: str, entries: Sequence[Entry]) -> int:
        number = len(self.levels)
        self.levels.append({})
        for entry in entries:
            op = self._entry(lead, prefix, entry)
            self.levels[number][entry.number] = len(self.ops)
            self.ops.append(op)
        return number

    def _entry(self, lead: str, prefix: str, entry: Entry) -> dict[str, int]:
        name = entry_column(lead, prefix, entry)
        cell = self.cell.get(name, NOWHERE)
        if isinstance(entry, Attr):
            if cell < 0 and not entry.selects:
                return _op("SKIP")
            kind = _fastest(entry.type, self.columns[name]) if cell >= 0 else entry.type.kind
            flags = FLAGS["SELECTS"] if entry.selects else 0
            return _op(kind, size=entry.type.size, count=entry.type.longest, cell=cell, flags=flags)
        if isinstance(entry, List):
            if cell < 0:
                return _op("SKIP")
            if entry.repeated:
                return self._item(entry, cell) | {"flags": FLAGS["APPEND"]}
            return _op("LIST", cell=cell, first=self._add([self._item(entry, cell)]))
        if isinstance(entry, Struct):
            ops = self._field_ops(name, entry.fields)
            whole = sum(field.type.size for field in entry.fields)
            return (
                _op("STRUCT", size=entry.min_size or whole, first=self._add(ops), count=len(ops))
                if ops
                else _op("SKIP")
            )
        if isinstance(entry, Nest):
            return _op("NEST", level=self._level(name, entry.prefix, entry.entries))
        if isinstance(entry, Elements | Structs):
            return self._side_by_side(name, entry)
        levels = [
            (text.encode(), self._level(joined(lead, text), inner, cases))
            for text, (inner, cases) in entry.cases.items()
        ]
        self.cases += levels
        return _op("SELECT", first=len(self.cases) - len(levels), count=len(levels))

    def _side_by_side(self, name: str, entry: Elements | Structs) -> dict[str, int]:
        """The op of lists that grow together, an item each per struct."""
        names = [joined(name, field.name) for field in entry.fields if field.name]
        if isinstance(entry, Elements):
            names += [entry_column(name, entry.prefix, inner) for inner in entry.entries]
        cells = [self.cell[each] for each in dict.fromkeys(names) if each in self.cell]
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
            at=sum(field.type.size for field in entry.fields),
            first=first,
            count=len(ops),
            level=level,
            lists=len(self.lists) - len(cells),
            list_count=len(cells),
        )

    @staticmethod
    def _item(entry: List, cell: int) -> dict[str, int]:
        return _op(entry.type.kind, size=entry.type.size, count=entry.type.longest, cell=cell)

    def _add(self, ops: list[dict[str, int]]) -> int:
        self.ops += ops
        return len(self.ops) - len(ops)


def _op(kind: str, **fields: int) -> dict[str, int]:
    op = dict.fromkeys(OP.names or (), 0) | {"kind": KINDS[kind], "cell": NOWHERE}
    return op | fields


def _fastest(type: Type, column: Column) -> str:
    """The fastest kind that stores such a value."""
    straight = column.dtype.itemsize == type.dtype.itemsize and not column.list
    return PLAIN.get((type.kind, type.size), type.kind) if straight else type.kind


def _kind(column: Column) -> tuple[str, bool, str]:
    """What entries of one column must have in common; integers may differ in width."""
    dtype = column.dtype
    return column.storage, column.list, dtype.str if dtype.kind == "V" else dtype.kind


def _spec(column: Column) -> tuple[int, int, int]:
    width = column.dtype.itemsize if column.storage == "fixed" else 0
    return width, int(column.list), int(column.nullable)


def _array(rows: list[Any], dtype: np.dtype[Any]) -> Any:
    return np.array(rows, dtype) if rows else np.empty(0, dtype)


def entry_column(lead: str, prefix: str, entry: Entry) -> str:
    """The column of an entry; for a nest, the prefix of its columns."""
    if isinstance(entry, Select):
        return lead
    own = entry.column or entry.kernel.removeprefix(prefix).lower()
    return lead if own == "-" else joined(lead, own)


def joined(lead: str, name: str) -> str:
    """The name with what leads to it, if anything does."""
    return f"{lead}_{name}" if lead else name
