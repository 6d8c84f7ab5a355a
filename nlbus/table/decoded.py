"""Decoded messages as part of a table; the arrays of a column are made on first access."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nlbus._core.columns.decode import Decoded
from nlbus._core.columns.keyvalue import Texts
from nlbus._core.columns.store import Store
from nlbus.schema.compile_attributes import Compiled, compiled
from nlbus.schema.compile_text import CompiledText, compiled_text
from nlbus.schema.schema import Schema, TextSchema
from nlbus.schema.types import Column, Values

if TYPE_CHECKING:
    from nlbus._core.block import Block
    from nlbus._typing import Array, Structured
    from nlbus.table.chunks import Mask

NL_ROW, NL_TIME, NL_OP, NL_ORIGIN, NL_GROUP, NL_NSID = range(6)


class Decoder(NamedTuple):
    """Decodes messages of one kind to rows."""

    columns: tuple[Column, ...]
    # Of a block, its selected rows, and their origin.
    rows: Callable[[Block, Structured | None, int], DecodedRows]


@cache
def decoder(schema: Schema | TextSchema, wanted: frozenset[str] | None) -> Decoder:
    """The decoder of these columns, None for all. SchemaError for one that the schema lacks."""
    if isinstance(schema, TextSchema):
        text = compiled_text(schema, wanted)
        return Decoder(text.columns, partial(DecodedRows, text, partial(Texts, text.program)))
    found = compiled(schema, wanted)
    return Decoder(found.columns, partial(DecodedRows, found, partial(Decoded, found.program)))


class DecodedRows:
    """The messages of one kind in a batch, as a chunk of a Table. It holds no view of the batch."""

    def __init__(
        self,
        compiled: Compiled | CompiledText,
        decode: Callable[[Block, Structured | None], Store],
        block: Block,
        selected: Structured | None,
        origin: int,
    ) -> None:
        self._compiled = compiled
        self._decoded = decode(block, selected)
        self._origin = origin

    def __len__(self) -> int:
        return self._decoded.rows

    @property
    def store(self) -> Store:
        """The columns, for compiled code."""
        return self._decoded

    @property
    def cells(self) -> tuple[int, ...]:
        """The cell of each column in the store; negative for those that have none."""
        return self._compiled.cells

    @property
    def family(self) -> int:
        """The cell in the store with the address family of each row, -1: none."""
        return self._compiled.family

    @property
    def origin(self) -> int:
        """ORIGINS of nlbus.schema.types, of all rows."""
        return self._origin

    @property
    def unknown(self) -> int:
        """Attributes that the schema lacks, in the parts that were decoded."""
        return self._decoded.unknown

    @property
    def malformed(self) -> int:
        """Messages without a row: too short for their header, or without a required part."""
        return self._decoded.malformed

    @property
    def damaged(self) -> Mask:
        """Marks the rows of which a value was shorter than its type, or cut."""
        return self._decoded.marks

    @property
    def families(self) -> Array | None:
        """The address family of each row, AF_*; None where no column needs it."""
        cell = self._compiled.family
        return None if cell < 0 else self._decoded.values(cell, np.dtype("u1"))[0]

    def absent(self, i: int) -> bool:
        """Whether no row has a value in column i."""
        cell = self._compiled.cells[i]
        if cell < 0:
            return i == NL_NSID and not self._decoded.foreign
        return self._decoded.absent(cell)

    def values(self, i: int) -> Values:
        """The values of column i."""
        cell = self._compiled.cells[i]
        if cell < 0:
            return self._about_the_message(i)
        column = self._compiled.columns[i]
        values, valid, offsets, items = self._decoded.values(cell, column.dtype)
        if items is None:
            return Values(values, valid, offsets)
        item_values, item_valid, item_offsets = items
        return Values(None, valid, offsets, Values(item_values, item_valid, item_offsets))

    def _about_the_message(self, i: int) -> Values:
        rows = self._decoded.rows
        if i == NL_ROW:
            return Values(self._decoded.messages)
        if i == NL_TIME:
            return Values(self._decoded.times)
        if i == NL_OP:
            # In a snapshot every object is new, whatever the message says.
            return Values(np.zeros(rows, np.uint8) if self._origin else self._decoded.happened)
        if i == NL_ORIGIN:
            return Values(np.full(rows, self._origin, np.uint8))
        if i == NL_GROUP:
            return Values(self._decoded.groups)
        nsids = self._decoded.nsids
        return Values(nsids, nsids >= 0)
