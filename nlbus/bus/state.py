"""State: what there is now, kept up to date by batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nlbus.errors import SchemaError
from nlbus.schema.schema import TextSchema
from nlbus.sources import find
from nlbus.table.query import Reading

if TYPE_CHECKING:
    from nlbus.bus.batch import Batch

Key = Any  # the value of the one key column, or a tuple of all
Row = dict[str, Any]

MOVED = "devpath_old"  # of a uevent: the key that the device had before


class State(Mapping[str, Mapping[Key, Row]]):
    """The objects that there are, by key: `state["link"][2]["mtu"]`, of the tables that were named.

    `apply` each batch of a Subscriber(snapshot=True) of these tables, without where= and in order. A snapshot
    counts when its last batch was applied, and then removes what it did not have. Until the first one,
    `complete` is false, and there are only the objects that were heard of.

    A key is the value of the table's one key column (see `nlbus.schema`), or a tuple of them all. Rows are as
    of `Table.iter_rows(absent=False)`. It is as true as the events are: the kernel does not tell each route
    that goes with its link, nor the new path of each child of a device that moves. SchemaError for a table
    without a key.
    """

    def __init__(self, source: str, *tables: str) -> None:
        self._reading = Reading(find(source), tables or None)
        schemas = {name: self._reading.schema(name) for name in self._reading.tables}
        self._keys = {name: tuple(schema.key) for name, schema in schemas.items()}
        if keyless := [name for name, key in self._keys.items() if not key]:
            raise SchemaError(
                f"no state of {source} {', '.join(keyless)}: each row is an event of its own, without a key"
            )
        self._partial = {name: getattr(schema, "partial", False) for name, schema in schemas.items()}
        self._moves = {name for name, schema in schemas.items() if isinstance(schema, TextSchema)}
        self._rows: dict[str, dict[Key, Row]] = {name: {} for name in schemas}
        self._told: dict[str, dict[Key, Row]] | None = None  # by the snapshot that is coming in
        self.complete = False

    def apply(self, batch: Batch) -> None:
        """Take in what this batch tells."""
        if batch.origin == "live":
            for name in self._rows:
                for row in batch.table(name).iter_rows(absent=False):
                    self._change(name, row)
            return
        if self._told is None:
            self._told = {name: {} for name in self._rows}
        for name, told in self._told.items():
            told.update((self._key(name, row), row) for row in batch.table(name).iter_rows(absent=False))
        if batch.complete:
            for name, told in self._told.items():
                self._rows[name].clear()
                self._rows[name].update(told)
            self._told, self.complete = None, True

    def _change(self, name: str, row: Row) -> None:
        key, rows = self._key(name, row), self._rows[name]
        if name in self._moves and MOVED in row:
            rows.pop(row[MOVED], None)
        if row["nl_op"] == "del":
            rows.pop(key, None)
        elif row["nl_op"] == "change" and self._partial[name]:
            rows[key] = rows.get(key, {}) | row
        else:
            rows[key] = row

    def _key(self, name: str, row: Row) -> Key:
        key = self._keys[name]
        return row.get(key[0]) if len(key) == 1 else tuple(map(row.get, key))

    def __getitem__(self, table: str) -> Mapping[Key, Row]:
        """The rows of a table as they are now, by key; a view that follows `apply`. SchemaError."""
        self._reading.schema(table)
        return MappingProxyType(self._rows[table])

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        counts: Iterable[str] = (f"{len(rows)} {name}" for name, rows in self._rows.items())
        return f"<State of {self._reading.source.name}: {', '.join(counts)}>"
