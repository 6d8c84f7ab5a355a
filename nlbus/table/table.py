"""Table: decoded messages of one kind, as columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from nlbus.errors import SchemaError, UnknownColumn
from nlbus.schema.types import Column, Values
from nlbus.table import arrow
from nlbus.table.chunks import Chunk, Mask, Picked, empty, joined_families, joined_valid, kept
from nlbus.table.expressions import Expression, expression
from nlbus.table.loss import Loss
from nlbus.table.repr import preview
from nlbus.table.values import to_array, to_python

if TYPE_CHECKING:
    from nlbus._typing import Array, Structured

_NONE_LOST = Loss()
_UNNAMED = object()


class Table:
    """Rows of one kind of message: `table["ifname"]` is a column, `table.columns` says what there is.

    A table owns its data. It never changes, so any threads may read it. `loss` is what was lost while its
    rows came in; `malformed` counts messages that have no row, being too short or without what their kind
    must have, `unknown` attributes that the schema lacks: of all that came, whatever `filter` leaves.

    pandas, polars, pyarrow, DuckDB and whatever else knows Arrow's C stream read it as it is:
    `polars.DataFrame(table)`, `pyarrow.table(table)`.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        chunks: Iterable[Chunk] = (),
        loss: Loss = _NONE_LOST,
        unknown: int = 0,
        malformed: int = 0,
    ) -> None:
        self.columns = tuple(columns)
        self.loss = loss
        self.unknown = unknown
        self.malformed = malformed
        self.chunks = tuple(chunk for chunk in chunks if len(chunk))  # the rows, in pieces
        self._length = sum(map(len, self.chunks))
        self._arrays: dict[str, Array] = {}

    @classmethod
    def concat(cls, tables: Iterable[Table]) -> Table:
        """The rows of all these tables, which have the same columns; not copied, losses and counts added."""
        tables = list(tables)
        if not tables:
            raise SchemaError("concat: of no table at all, which has no columns either")
        columns = tables[0].columns
        if any(table.columns != columns for table in tables):
            raise SchemaError("concat: the tables have different columns")
        chunks = [chunk for table in tables for chunk in table.chunks]
        return cls(
            columns,
            chunks,
            reduce(add, [table.loss for table in tables]),
            sum(table.unknown for table in tables),
            sum(table.malformed for table in tables),
        )

    def _with(self, columns: Sequence[Column], chunks: Iterable[Chunk]) -> Table:
        """What is true of this table, of some of its rows or columns."""
        return Table(columns, chunks, self.loss, self.unknown, self.malformed)

    def __len__(self) -> int:
        return self._length

    # -- columns ------------------------------------------------------------------------------------

    def column(self, name: str) -> Column:
        """What the column holds: its type, unit, names of values. UnknownColumn."""
        return self.columns[self._find(name)]

    def _find(self, name: str) -> int:
        for i, column in enumerate(self.columns):
            if column.name == name:
                return i
        names = [column.name for column in self.columns]
        close = get_close_matches(str(name), names, 3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names)}"
        raise UnknownColumn(f"no column {name!r}: {hint}")

    def __getitem__(self, name: str) -> Array:
        """A column as a read-only array. UnknownColumn.

        Integers, also those with names, addresses (V16) and other bytes of fixed size are as they were
        stored, and not copied where the table came in one piece. Times are datetime64, texts StringDType,
        bytes and lists objects. Where a row has no value, there is 0, zero bytes, "", or, if the type has it,
        NaT or None: `valid` tells.
        """
        array = self._arrays.get(name)
        if array is None:
            i = self._find(name)
            parts = [to_array(self.columns[i], values) for values in self._parts(i)]
            array = parts[0].view() if len(parts) == 1 else np.concatenate(parts)
            array.flags.writeable = False
            self._arrays[name] = array
        return array

    def valid(self, name: str) -> Mask:
        """Which rows have a value in this column. UnknownColumn."""
        valid = joined_valid(self._parts(self._find(name)))
        return np.ones(len(self), np.bool_) if valid is None else valid

    @property
    def families(self) -> Array | None:
        """The address family of each row, AF_*; None where no column needs it, or there is no row."""
        return joined_families(self.chunks)

    @property
    def damaged(self) -> Mask:
        """Which rows lack a value of these columns that came cut, too short, or as text that is no number."""
        damaged = np.concatenate([np.empty(0, np.bool_), *(chunk.damaged for chunk in self.chunks)])
        damaged.flags.writeable = False
        return damaged

    def _parts(self, i: int) -> list[Values]:
        return [chunk.values(i) for chunk in self.chunks] or [empty(self.columns[i])]

    # -- rows ---------------------------------------------------------------------------------------

    def filter(self, which: Expression | Mask | Sequence[bool]) -> Table:
        """The rows for which an expression of `field` is true, or which bools mark, one a row; `loss` stays.

        SchemaError for a comparison that the column's type does not allow. UnknownColumn.
        """
        rows = which.mask(self) if isinstance(which, Expression) else _marks(which, len(self))
        chunks, start = [], 0
        for chunk in self.chunks:
            chunks.append(kept(chunk, rows[start : start + len(chunk)], len(self.columns)))
            start += len(chunk)
        return self._with(self.columns, chunks)

    def select(self, names: Iterable[str]) -> Table:
        """These columns alone, in this order; nothing is copied. UnknownColumn."""
        places = [self._find(name) for name in names]
        columns = [self.columns[i] for i in places]
        return self._with(columns, [Picked(chunk, places) for chunk in self.chunks])

    def head(self, n: int = 10) -> Table:
        """The first n rows."""
        return self.filter(np.arange(len(self)) < n)

    def iter_rows(self, *, absent: bool = True) -> Iterator[dict[str, Any]]:
        """Rows as dicts of plain Python values: None where there is none; absent=False leaves these out.

        Numbers with names are these names, or the number where it has none; flags are lists of names.
        Addresses, hardware addresses and bytes meant for reading are text. Times are integers, ns since 1970
        in UTC where the column's unit says nothing else: datetime ends at microseconds.
        """
        for chunk in self.chunks:
            if not len(chunk):
                continue  # the usual case in Batch.rows, where most tables are
            names, cells = [], []
            families = chunk.families
            nothing = [None] * len(chunk)
            for i, column in enumerate(self.columns):
                if chunk.absent(i):
                    if absent:
                        names.append(column.name)
                        cells.append(nothing)
                    continue
                names.append(column.name)
                cells.append(to_python(column, chunk.values(i), families if column.family else None))
            for row in zip(*cells, strict=True):
                pairs = zip(names, row, strict=True)
                yield dict(pairs) if absent else {name: value for name, value in pairs if value is not None}

    def to_numpy(self, columns: Iterable[str] | None = None) -> Structured:
        """These columns, or all, as one structured array: as `table[...]` has them, texts as str objects."""
        names = [column.name for column in self.columns] if columns is None else list(columns)
        arrays = [self[name] for name in names]
        # numpy has no StringDType within a structured dtype.
        types = [np.dtype(object) if array.dtype.kind == "T" else array.dtype for array in arrays]
        rows = np.empty(len(self), np.dtype(list(zip(names, types, strict=True))))
        for name, array in zip(names, arrays, strict=True):
            rows[name] = array
        return rows

    def __arrow_c_schema__(self) -> object:
        return arrow.schema(self.columns)

    def __arrow_c_stream__(self, requested_schema: object = _UNNAMED) -> object:
        # polars and DuckDB name no schema, and hold texts and bytes as views themselves: they get these. Who
        # passes a schema, if only None, reads by pyarrow, which could not filter or sort a table of views.
        return arrow.stream(self.columns, self.chunks, views=requested_schema is _UNNAMED)

    def __repr__(self) -> str:
        rows = f"{self._length} row{'s' * (self._length != 1)}"
        columns = f"{len(self.columns)} column{'s' * (len(self.columns) != 1)}"
        lost = f", {self.loss}" if self.loss else ""
        return f"<Table of {rows}, {columns}{lost}{self._faults()}>{preview(self)}"

    def _faults(self) -> str:
        """What did not fit, if anything."""
        faults = {"damaged": int(np.count_nonzero(self.damaged)), "malformed": self.malformed}
        return "".join(f", {count} {what}" for what, count in faults.items() if count)


def add_to(tables: list[Table], table: Table) -> None:
    """Append it, but without rows only what it says of loss and faults: many of those must take no memory."""
    if len(table) or not tables:
        tables.append(table)
    elif table.loss or table.unknown or table.malformed:
        tables[-1] = Table.concat([tables[-1], table])


def _marks(which: object, rows: int) -> Mask:
    marks = np.asarray(which)
    if not marks.ndim:
        expression(which, "filter")  # raises
    if not marks.size:
        marks = marks.astype(np.bool_)  # of nothing numpy makes floats
    if marks.dtype != np.bool_ or marks.shape != (rows,):
        raise SchemaError(f"filter: a mask of {marks.dtype} {marks.shape} for {rows} rows")
    return marks
