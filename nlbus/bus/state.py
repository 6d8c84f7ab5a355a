"""State: the current objects of a source, kept up to date by batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nlbus._text import html_table, html_text
from nlbus.errors import SchemaError
from nlbus.schema.schema import TextSchema
from nlbus.sources import find
from nlbus.table.query import Query

if TYPE_CHECKING:
    from nlbus.bus.batch import Batch

Key = Any  # the value of the one key column, or a tuple of all
Row = dict[str, Any]

MOVED = "devpath_old"  # of a uevent: the key that the device had before


class State(Mapping[str, Mapping[Key, Row]]):
    """The current objects of the named tables, by key: `state["link"][2]["mtu"]`.

    `apply` each batch of a Subscriber(snapshot=True) of these tables, without where= and in order. A snapshot
    counts once its last batch was applied; then objects missing from it are removed. Until the first one,
    `complete` is false, and State has only the objects of which there were events.

    A key is the value of the table's one key column (see `nlbus.schema`), or a tuple of them all. Rows are as
    those of `Table.iter_rows(absent=False)`. State is as true as the events are: the kernel does not
    announce each route that goes with its link, nor the new path of each child of a device that moves.
    SchemaError for a table without a key.
    """

    def __init__(self, source: str, *tables: str) -> None:
        self._query = Query(find(source), tables or None)
        schemas = {name: self._query.schema(name) for name in self._query.tables}
        self._keys = {name: tuple(schema.key) for name, schema in schemas.items()}
        if keyless := [name for name, key in self._keys.items() if not key]:
            raise SchemaError(
                f"no state of {source} {', '.join(keyless)}: each row is an event of its own, without a key"
            )
        self._partial = {name: getattr(schema, "partial", False) for name, schema in schemas.items()}
        self._moves = {name for name, schema in schemas.items() if isinstance(schema, TextSchema)}
        self._rows: dict[str, dict[Key, Row]] = {name: {} for name in schemas}
        self._snapshot: dict[str, dict[Key, Row]] | None = None  # the one that is arriving
        self.complete = False

    def apply(self, batch: Batch) -> None:
        """Apply the changes of a batch, or one batch of a snapshot."""
        if batch.origin == "live":
            for name in self._rows:
                for row in batch.table(name).iter_rows(absent=False):
                    self._change(name, row)
            return
        if self._snapshot is None:
            self._snapshot = {name: {} for name in self._rows}
        for name, objects in self._snapshot.items():
            objects.update((self._key(name, row), row) for row in batch.table(name).iter_rows(absent=False))
        if batch.complete:
            for name, objects in self._snapshot.items():
                self._rows[name].clear()
                self._rows[name].update(objects)
            self._snapshot, self.complete = None, True

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
        self._query.schema(table)
        return MappingProxyType(self._rows[table])

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        counts: Iterable[str] = (f"{len(rows)} {name}" for name, rows in self._rows.items())
        return f"<State of {self._query.source.name}: {', '.join(counts)}>"

    def _repr_html_(self) -> str:
        rows = [(name, str(len(rows)), ", ".join(self._keys[name])) for name, rows in self._rows.items()]
        known = "" if self.complete else ", no snapshot yet"
        about = html_text(f"State of {self._query.source.name}{known}")
        return f"<div>{about}{html_table(('table', 'rows', 'key'), rows)}</div>"

    def _ipython_key_completions_(self) -> list[str]:
        return [*self._rows]
