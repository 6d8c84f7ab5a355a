"""Compiles a schema of text to the tables that its decoder reads and the columns that it fills."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from nlbus._core.columns.keyvalue import KEY, KINDS, WORD, Keys
from nlbus._core.columns.store import SPEC
from nlbus.schema.schema import TextSchema
from nlbus.schema.types import NL_COLUMNS, OPS, Column
from nlbus.schema.words import unknown_column, with_words

NOWHERE = -1
HEAD = ("type", "timestamp", "serial")  # columns of what comes before the pairs of a record
HAPPENED = {name: number for number, name in OPS.items()}


class CompiledText(NamedTuple):
    """A schema compiled for some columns; `cells` has the number of the decoder's cell for each of them."""

    schema: TextSchema
    columns: tuple[Column, ...]  # with the nl_ columns, which have no cell (-1)
    cells: tuple[int, ...]
    program: Keys
    family: int = NOWHERE  # no text has one


@cache
def compiled_text(schema: TextSchema, wanted: frozenset[str] | None = None) -> CompiledText:
    """Return the schema compiled for these columns, None for all. UnknownColumn."""
    every = _columns(schema)
    if lacking := sorted(set(wanted or ()) - {column.name for column in (*NL_COLUMNS, *every)}):
        raise unknown_column(lacking[0], (*NL_COLUMNS, *every), schema.name)
    columns = [column for column in every if wanted is None or column.name in wanted]
    cell = {column.name: number for number, column in enumerate(columns)}
    keys = [
        (
            _key(schema, field.name).encode(),
            len(field.name),
            KINDS["ENCODED" if field.name in schema.encoded else field.type.kind],
            cell.get(field.name, NOWHERE),
            field.name in schema.required,
        )
        for field in schema.keys
    ]
    words = [(word.encode(), len(word.encode()), HAPPENED[op]) for word, op in schema.ops.items()]
    specs = [(_width(column), column.list, column.nullable) for column in columns]
    names = [field.name for field in schema.keys]
    e = schema.envelope
    program = Keys(
        keys=np.array(keys, KEY),
        words=np.array(words, WORD),
        specs=np.array(specs, SPEC),
        env=cell.get(schema.env, NOWHERE),
        op_key=names.index(schema.op) if schema.op else NOWHERE,
        otherwise=HAPPENED["change" if schema.records is None else "new"],
        record=None if schema.records is None else tuple(cell.get(name, NOWHERE) for name in HEAD),
        title=schema.title,
        envelope=None if e is None else (e.begin, e.magic, e.size, e.start, e.length),
    )
    cells = (*(NOWHERE for _ in NL_COLUMNS), *range(len(columns)))
    return CompiledText(schema, (*NL_COLUMNS, *columns), cells, program)


def _columns(schema: TextSchema) -> list[Column]:
    columns = [
        Column(
            name=field.name,
            dtype=field.type.dtype,
            type=field.type.name,
            storage=field.type.storage,
            unit=field.unit,
            enum=field.enum,
            flags=field.flags,
            nullable=field.name not in schema.required or field.type.storage == "fixed",
            attribute=_key(schema, field.name),
            display=field.display or field.type.display,
        )
        for field in schema.keys
    ]
    if schema.env:
        columns.append(
            Column(
                name=schema.env,
                dtype=np.dtype("V1"),
                type="string",
                storage="text",
                list=True,
                nullable=False,
            )
        )
    if schema.records is not None:
        columns = [
            Column(name="type", dtype=np.dtype("u2"), type="u16", enum=schema.records, nullable=False),
            Column(
                name="timestamp", dtype=np.dtype("i8"), type="s64", unit="ns", display="time", nullable=False
            ),
            Column(name="serial", dtype=np.dtype("u8"), type="u64", nullable=False),
            *columns,
        ]
    return with_words(columns, schema.words)


def _key(schema: TextSchema, name: str) -> str:
    """The key of a column: uevents have theirs in capitals."""
    return name.upper() if schema.records is None else name


def _width(column: Column) -> int:
    return column.dtype.itemsize if column.storage == "fixed" else 0
