"""Table: decoded messages of one kind, as columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np

from nlbus._core.render.rows import Rows
from nlbus._typing import UNNAMED
from nlbus.errors import SchemaError
from nlbus.schema.types import Column, Values
from nlbus.schema.words import unknown_column
from nlbus.table import exports
from nlbus.table.chunks import Chunk, Mask, Picked, empty, joined_families, joined_valid, kept, sliced, stored
from nlbus.table.expressions import Expression, expression
from nlbus.table.loss import Loss
from nlbus.table.repr import html, preview
from nlbus.table.values import chunk_cells, to_array

if TYPE_CHECKING:
    from nlbus._typing import Array, Structured
    from nlbus.kernel.interfaces import Interfaces
    from nlbus.table.arrow import Exported

_NONE_LOST = Loss()


class Table:
    """Rows of one kind of message: `table["ifname"]` is a column, `table.columns` describes all columns.

    A table owns its data. It never changes, so any threads may read it. `loss` is what was lost while its
    rows arrived. `malformed` counts messages without a row, because they are too short or lack a required
    part. `unknown` counts attributes that the schema lacks. `filter` changes none of these counts.

    pandas, polars, pyarrow, DuckDB and other readers of Arrow's C stream read it directly:
    `polars.DataFrame(table)`, `pyarrow.table(table)`; see also `to_polars` and its like. They find what
    people read: addresses as text, names for numbers, flags as lists of names.

    `table[10:20]` are rows; `copy` returns the table itself; pickling copies the columns that have a value.
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
        self.interfaces: Interfaces | None = None  # their names, for conditions

    @classmethod
    def concat(cls, tables: Iterable[Table]) -> Table:
        """The rows of all tables, which must have the same columns. Rows are not copied; losses add up."""
        tables = list(tables)
        if not tables:
            raise SchemaError("concat: no tables")
        columns = tables[0].columns
        if any(table.columns != columns for table in tables):
            raise SchemaError("concat: the tables have different columns")
        chunks = [chunk for table in tables for chunk in table.chunks]
        found = cls(
            columns,
            chunks,
            reduce(add, [table.loss for table in tables]),
            sum(table.unknown for table in tables),
            sum(table.malformed for table in tables),
        )
        found.interfaces = tables[0].interfaces
        return found

    def with_chunks(self, columns: Sequence[Column], chunks: Iterable[Chunk]) -> Table:
        """A table of such columns and rows, with the same loss and counts."""
        found = Table(columns, chunks, self.loss, self.unknown, self.malformed)
        found.interfaces = self.interfaces
        return found

    def __len__(self) -> int:
        return self._length

    # -- columns ------------------------------------------------------------------------------------

    def column(self, name: str) -> Column:
        """The description of a column: type, unit, names of values. UnknownColumn."""
        return self.columns[self._find(name)]

    def _find(self, name: str) -> int:
        for i, column in enumerate(self.columns):
            if column.name == name:
                return i
        raise unknown_column(name, self.columns)

    @overload
    def __getitem__(self, name: str) -> Array: ...
    @overload
    def __getitem__(self, name: slice) -> Self: ...
    def __getitem__(self, name: str | slice) -> Array | Table:
        """A column as a read-only array, or for a slice these rows as a table. UnknownColumn, SchemaError.

        Integers, also those with names, addresses (V16) and other bytes of fixed size are as they were
        stored; they are not copied if the table is one piece. Times are datetime64, texts StringDType, bytes
        and lists objects. A row without a value has 0, zero bytes, "", or NaT or None if the type allows it:
        `valid` tells them apart.
        """
        if isinstance(name, slice):
            return self._slice(name)
        array = self._arrays.get(name)
        if array is None:
            i = self._find(name)
            parts = [to_array(self.columns[i], values) for values in self._parts(i)]
            array = parts[0].view() if len(parts) == 1 else np.concatenate(parts)
            array.flags.writeable = False
            self._arrays[name] = array
        return array

    def valid(self, name: str) -> Mask:
        """Marks the rows that have a value in this column. UnknownColumn."""
        valid = joined_valid(self._parts(self._find(name)))
        return np.ones(len(self), np.bool_) if valid is None else valid

    @property
    def families(self) -> Array | None:
        """The address family of each row, AF_*; None if no column needs it, or without rows."""
        return joined_families(self.chunks)

    @property
    def damaged(self) -> Mask:
        """Marks the rows that lack a value because it was cut, too short, or text that is not a number."""
        damaged = np.concatenate([np.empty(0, np.bool_), *(chunk.damaged for chunk in self.chunks)])
        damaged.flags.writeable = False
        return damaged

    def _parts(self, i: int) -> list[Values]:
        return [chunk.values(i) for chunk in self.chunks] or [empty(self.columns[i])]

    # -- rows ---------------------------------------------------------------------------------------

    def filter(self, which: Expression | Mask | Sequence[bool]) -> Table:
        """The rows for which an expression of `field` is true, or that bools mark, one per row; `loss` stays.

        SchemaError for a comparison that the column's type does not allow. UnknownColumn.
        """
        rows = which.mask(self) if isinstance(which, Expression) else _marks(which, len(self))
        chunks, start = [], 0
        for chunk in self.chunks:
            chunks.append(kept(chunk, rows[start : start + len(chunk)], self.columns))
            start += len(chunk)
        return self.with_chunks(self.columns, chunks)

    def select(self, names: Iterable[str]) -> Table:
        """Only these columns, in this order; nothing is copied. UnknownColumn."""
        places = [self._find(name) for name in names]
        columns = [self.columns[i] for i in places]
        return self.with_chunks(columns, [Picked(chunk, places) for chunk in self.chunks])

    def head(self, n: int = 10) -> Table:
        """The first n rows."""
        return self[: max(n, 0)]

    def tail(self, n: int = 10) -> Table:
        """The last n rows."""
        return self[max(len(self) - max(n, 0), 0) :]

    def _slice(self, rows: slice) -> Table:
        try:
            start, stop, step = rows.indices(len(self))
        except (TypeError, ValueError) as error:
            raise SchemaError(f"rows {rows}: {error}") from None
        if step < 0:
            raise SchemaError(f"rows {rows}: a step backwards; rows keep their order")
        if step > 1:
            marks = np.zeros(len(self), np.bool_)
            marks[rows] = True
            return self.filter(marks)
        chunks = []
        for chunk in self.chunks:
            begin, end = max(start, 0), min(stop, len(chunk))
            if begin < end:
                chunks.append(sliced(chunk, begin, end, self.columns))
            start, stop = start - len(chunk), stop - len(chunk)
        return self.with_chunks(self.columns, chunks)

    def iter_rows(self, *, absent: bool = True) -> Iterator[dict[str, Any]]:
        """Rows as dicts of plain Python values. A missing value is None; absent=False omits it.

        A number with a name is that name; flags are lists of names. Addresses, hardware addresses and bytes
        with a text form are text. Times are integers since 1970 in UTC, in ns unless the column's unit says
        otherwise, because datetime ends at microseconds.
        """
        return self.rows_with({}, absent=absent)

    def rows_with(self, first: dict[str, Any], *, absent: bool = True) -> Iterator[dict[str, Any]]:
        """`iter_rows`, where each dict begins with these items."""
        names = [column.name for column in self.columns]
        for chunk in self.chunks:
            yield from Rows(names, chunk_cells(self.columns, chunk), len(chunk), absent, first)

    def to_numpy(self, columns: Iterable[str] | None = None) -> Structured:
        """These columns, or all, as one structured array, as in `table[...]`; texts are str objects."""
        names = [column.name for column in self.columns] if columns is None else list(columns)
        arrays = [self[name] for name in names]
        # numpy has no StringDType within a structured dtype.
        types = [np.dtype(object) if array.dtype.kind == "T" else array.dtype for array in arrays]
        rows = np.empty(len(self), np.dtype(list(zip(names, types, strict=True))))
        for name, array in zip(names, arrays, strict=True):
            rows[name] = array
        return rows

    # -- other libraries ------------------------------------------------------------------------------

    def __arrow_c_schema__(self) -> object:
        return self._exported().__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = UNNAMED) -> object:
        return self._exported().__arrow_c_stream__(requested_schema)

    def _exported(self, text: bool = True) -> Exported:
        from nlbus.table.arrow import Exported  # noqa: PLC0415 - most tables are read without it

        return Exported(self.columns, self.chunks, text=text)

    def to_arrow(self, *, text: bool = True) -> Any:
        """A pyarrow.Table. MissingExtra.

        text: addresses, hardware addresses and the like are text, flags lists of names, numbers with names
        these names: a dictionary that is the same in all tables, or text if the number has more than a byte.
        Else numbers and bytes, as in `table[...]`. A missing value is null. Times are timestamps in UTC.
        """
        return exports.to_arrow(self._exported(text))

    def to_polars(self, *, text: bool = True) -> Any:
        """A polars.DataFrame; text: as of `to_arrow`, names of bytes are Categorical. MissingExtra."""
        return exports.to_polars(self._exported(text))

    def to_pandas(self, *, text: bool = True) -> Any:
        """A pandas.DataFrame, through pyarrow; text: as of `to_arrow`. MissingExtra.

        Integers and bools that may be missing have pandas' nullable types (UInt64, boolean), so that they
        stay exact. Names of bytes are categories.
        """
        return exports.to_pandas(self._exported(text))

    def to_duckdb(self, con: Any, name: str, *, text: bool = True) -> Any:
        """Make this table a view `name` of a DuckDB connection, and return it as a relation. MissingExtra.

        The view is temporary and replaces one of the same name. `create table kept as from name` copies it.
        text: as of `to_arrow`; names and texts are VARCHAR.
        """
        return exports.to_duckdb(self._exported(text), con, name)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        chunks = tuple(stored(chunk, self.columns, len(chunk)) for chunk in self.chunks)
        return self.__dict__ | {"chunks": chunks, "_arrays": {}}

    # -- interactive use ------------------------------------------------------------------------------

    def _ipython_key_completions_(self) -> list[str]:
        return [column.name for column in self.columns]

    def _repr_html_(self) -> str:
        return html(self, self._summary())

    def __repr__(self) -> str:
        return f"{self._summary()}{preview(self)}"

    def _summary(self) -> str:
        rows = f"{self._length} row{'s' * (self._length != 1)}"
        columns = f"{len(self.columns)} column{'s' * (len(self.columns) != 1)}"
        lost = f", {self.loss}" if self.loss else ""
        return f"<Table of {rows}, {columns}{lost}{self._faults()}>"

    def _faults(self) -> str:
        """The counts of damaged rows and malformed messages, if any."""
        faults = {"damaged": int(np.count_nonzero(self.damaged)), "malformed": self.malformed}
        return "".join(f", {count} {what}" for what, count in faults.items() if count)


def add_to(tables: list[Table], table: Table) -> None:
    """Append a table. An empty one only adds its loss and counts, so that many of them take no memory."""
    if len(table) or not tables:
        tables.append(table)
    elif table.loss or table.unknown or table.malformed:
        tables[-1] = Table.concat([tables[-1], table])


def _marks(which: object, rows: int) -> Mask:
    marks = np.asarray(which)
    if not marks.ndim:
        expression(which, "filter")  # raises
    if not marks.size:
        marks = marks.astype(np.bool_)  # numpy makes an empty list floats
    if marks.dtype != np.bool_ or marks.shape != (rows,):
        raise SchemaError(f"filter: a mask of {marks.dtype} {marks.shape} for {rows} rows")
    return marks
