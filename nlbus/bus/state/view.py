"""The objects of one table of a State: a mapping of rows, and a Table."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from typing import TYPE_CHECKING, Any

from nlbus.bus.state.keys import Key
from nlbus.schema.types import Column

if TYPE_CHECKING:
    from nlbus._typing import Structured
    from nlbus.bus.state.objects import Objects
    from nlbus.table.chunks import Mask
    from nlbus.table.expressions import Expression
    from nlbus.table.table import Table

Row = dict[str, Any]


class StateTable(Mapping[Key, Row]):
    """The rows of a table as they are now; it follows the State.

    As a mapping: `links[2]` is a row, made on demand, as `Table.iter_rows(absent=False)` makes it. As a
    table: `table`, `filter`, `select`, `to_polars` and its like, and any reader of Arrow; `links["mtu"]` is a
    column, where keys are no texts. `table` does not change later.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    # -- rows by key ------------------------------------------------------------------------------------

    def __getitem__(self, key: Key) -> Any:
        number = self._objects.find(key)
        if number is not None:
            return self._objects.row(number)
        if isinstance(key, str) and any(column.name == key for column in self.columns):
            return self.table[key]
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return self._objects.find(key) is not None

    def __iter__(self) -> Iterator[Key]:
        return map(self._objects.keys.key, self.iter_rows(absent=False))

    def __len__(self) -> int:
        return len(self._objects)

    def key_of(self, row: Row) -> Key:
        """The key of a row of this table."""
        return self._objects.keys.key(row)

    def values(self) -> ValuesView[Row]:
        """The rows."""
        return _Rows(self)

    def items(self) -> ItemsView[Key, Row]:
        """The keys and rows."""
        return _Items(self)

    # -- as a table ---------------------------------------------------------------------------------------

    @property
    def table(self) -> Table:
        """The rows as a Table, those that changed last at the end."""
        return self._objects.table()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The descriptions of the columns."""
        return self._objects.columns

    def column(self, name: str) -> Column:
        """The description of a column. UnknownColumn."""
        return self.table.column(name)

    def valid(self, name: str) -> Mask:
        """As of a Table."""
        return self.table.valid(name)

    def filter(self, which: Expression | Mask) -> Table:
        """As of a Table."""
        return self.table.filter(which)

    def select(self, names: Iterable[str]) -> Table:
        """As of a Table."""
        return self.table.select(names)

    def iter_rows(self, *, absent: bool = True) -> Iterator[Row]:
        """As of a Table."""
        return self.table.iter_rows(absent=absent)

    def to_numpy(self, columns: Iterable[str] | None = None) -> Structured:
        """As of a Table."""
        return self.table.to_numpy(columns)

    def to_arrow(self, *, text: bool = True) -> Any:
        """As of a Table."""
        return self.table.to_arrow(text=text)

    def to_polars(self, *, text: bool = True) -> Any:
        """As of a Table."""
        return self.table.to_polars(text=text)

    def to_pandas(self, *, text: bool = True) -> Any:
        """As of a Table."""
        return self.table.to_pandas(text=text)

    def to_duckdb(self, con: Any, name: str, *, text: bool = True) -> Any:
        """As of a Table: the rows as they are now."""
        return self.table.to_duckdb(con, name, text=text)

    def __arrow_c_schema__(self) -> object:
        return self.table.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()

    def __repr__(self) -> str:
        return f"<StateTable {self._objects.schema.name}: {self.table!r}>"


class _Rows(ValuesView[Row]):
    """The rows of a StateTable, without a lookup for each."""

    _mapping: StateTable

    def __iter__(self) -> Iterator[Row]:
        return self._mapping.iter_rows(absent=False)


class _Items(ItemsView[Key, Row]):
    """The keys and rows of a StateTable, without a lookup for each."""

    _mapping: StateTable

    def __iter__(self) -> Iterator[tuple[Key, Row]]:
        return ((self._mapping.key_of(row), row) for row in self._mapping.iter_rows(absent=False))
