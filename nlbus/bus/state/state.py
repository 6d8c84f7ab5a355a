"""State: the current objects of a source, kept up to date by batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakMethod

from nlbus._text import html_table, html_text
from nlbus.bus.snapshot import Snapshots
from nlbus.bus.state.changes import Changes
from nlbus.bus.state.difference import difference
from nlbus.bus.state.namespaces import Ends, leave
from nlbus.bus.state.objects import Applied, Objects
from nlbus.bus.state.scopes import WHOLE
from nlbus.bus.state.view import StateTable
from nlbus.errors import SchemaError
from nlbus.kernel.groups import Groups
from nlbus.sources import Source, find
from nlbus.table.chunks import Chunk
from nlbus.table.query import Query
from nlbus.table.received import REPAIR
from nlbus.table.table import Table

if TYPE_CHECKING:
    from nlbus.bus.batch import Batch

HISTORY = 1 << 16  # rows of changes that are remembered


class _Change(NamedTuple):
    position: int
    table: str
    chunk: Chunk


class State(Mapping[str, StateTable]):
    """The current objects of the named tables, by key and in columns: `state["link"][2]["mtu"]`.

    `apply` each batch of a Subscriber(snapshot=True) of these tables, without where= and in order; or take
    `Subscriber.state`, which is the same without a second copy. A snapshot counts once its last batch was
    applied; then objects missing from it are removed. Until the first one, `complete` is false, and State has
    only the objects of which there were events.

    `state["route"]` is a mapping of rows by key and a table, see StateTable. A key is the value of the
    table's one key column (see `nlbus.schema`), or a tuple of them all; where the feed hears other namespaces
    (all_nsid=True), those of another are (nsid, key); they go when it ends, if the group "nsid" of route is
    among those that are heard. Rows are as those of `Table.iter_rows(absent=False)`.

    The kernel does not announce everything. A Subscriber(snapshot=True) asks for what it left out and
    delivers the difference as batches of origin "repair"; docs/state.md says what remains unheard without
    `audit`. SchemaError for a table without a key.
    """

    def __init__(self, source: str | Source, *tables: str) -> None:
        self._open(Query(find(source), tables or None))

    @classmethod
    def of(cls, query: Query) -> State:
        """The State of a query's tables."""
        state = cls.__new__(cls)
        state._open(Query(query.source, query.tables))
        return state

    def _open(self, query: Query) -> None:
        self._query = query
        schemas = {name: query.schema(name) for name in query.tables}
        if keyless := [name for name, schema in schemas.items() if not schema.key]:
            raise SchemaError(
                f"no state of {query.source.name} {', '.join(keyless)}: each row is an event of its own, "
                "without a key"
            )
        self._objects = {name: Objects(schema, query.empty(name).columns) for name, schema in schemas.items()}
        self._tables = {name: StateTable(objects) for name, objects in self._objects.items()}
        self._ends = Ends(query.source)
        self._arriving: dict[str, list[Chunk]] | None = None  # a snapshot
        self._history: deque[_Change] = deque()
        self._remembered = 0  # rows in it
        self._forgotten = 0  # position of the last change that is not in it
        self.complete = False
        self.position = 0
        self.auditor: WeakMethod[Callable[[], None]] | None = None  # of the subscriber that keeps it

    def objects(self, name: str) -> Objects:
        """The rows of a table, for those who repair them. SchemaError."""
        self._query.schema(name)
        return self._objects[name]

    def apply(self, batch: Batch) -> None:
        """Apply the changes of a batch, or one batch of a snapshot."""
        self.follow(batch)

    def follow(self, batch: Batch) -> dict[str, list[Applied]]:
        """Apply a batch, and return what its events did to each table; nothing for a snapshot."""
        if batch.origin != "live" and not isinstance(batch, Changes):
            self._arrive(batch)
            return {}
        self.position += 1
        complete, self.complete = self.complete, False  # unless this ends well
        for objects in self._objects.values():
            objects.compact()
        self.complete = complete
        done: dict[str, list[Applied]] = {}
        for part, ended in self._ends.parts(batch) if batch.made is None else [(batch, [])]:
            for name in self._query.present(part):
                chunks = self.decoded(part, name)
                found = [each for chunk in chunks for each in self._objects[name].apply(chunk)]
                for each in found:
                    done.setdefault(name, []).append(each)
                    self._remember(name, each.chunk)
            for nsid in ended:
                for objects in self._objects.values():
                    leave(objects, nsid)
        if isinstance(batch, Changes) and batch.complete:
            self.complete = True
        return done

    def decoded(self, batch: Batch, name: str) -> tuple[Chunk, ...]:
        """The rows of a table in a batch, with all columns."""
        return self._query.table(batch, name).chunks

    def _arrive(self, batch: Batch) -> None:
        if self._arriving is None:
            self._arriving = {name: [] for name in self._objects}
        for name in self._query.present(batch):
            self._arriving[name] += self.decoded(batch, name)
        if batch.complete:
            for name, chunks in self._arriving.items():
                self._objects[name].clear()
                self._objects[name].index.reserve(sum(map(len, chunks)))
                for chunk in chunks:
                    self._objects[name].apply(chunk, snapshot=True)
            self._arriving, self.complete = None, True
            self.position += 1
            self._history.clear()
            self._remembered, self._forgotten = 0, self.position

    def audit(self) -> None:
        """Compare all tables with what the kernel has, also where no message hinted at a change.

        The State of a subscriber is compared when its recv runs next, which delivers the differences. Any
        other is that of this network namespace and compared at once. The errors of `snapshot`.
        """
        if self.auditor is not None and (audit := self.auditor()) is not None:
            audit()
            return
        snapshots = Snapshots(self._query, self._query.tables, Groups(), None)
        found = {}
        for name, objects in self._objects.items():
            chunks = [chunk for batch in snapshots.again(name, {}) for chunk in self.decoded(batch, name)]
            found[name] = difference(objects, chunks, WHOLE, REPAIR)
        self.settled(found)
        self.complete = True

    # -- what changed ----------------------------------------------------------------------------------

    def _remember(self, name: str, chunk: Chunk) -> None:
        self._history.append(_Change(self.position, name, chunk))
        self._remembered += len(chunk)
        while self._remembered > HISTORY:
            gone = self._history.popleft()
            self._remembered -= len(gone.chunk)
            self._forgotten = gone.position

    def settled(self, changes: Mapping[str, list[Chunk]]) -> None:
        """Note changes that a repair has made to the tables."""
        self.position += 1
        for name, chunks in changes.items():
            for chunk in chunks:
                self._remember(name, chunk)

    def changes(self, since: int) -> dict[str, Table]:
        """The events and repairs since `position` was `since`: a Table per table that has any.

        The last 65,536 rows are remembered, none from before a whole snapshot. SchemaError for an older
        position: take the tables themselves then.
        """
        if since < self._forgotten:
            raise SchemaError(
                f"changes since {since} are not remembered, only those since {self._forgotten}: "
                "take the whole tables"
            )
        found: dict[str, list[Chunk]] = {}
        for change in self._history:
            if change.position > since:
                found.setdefault(change.table, []).append(change.chunk)
        return {name: Table(self._objects[name].columns, chunks) for name, chunks in found.items()}

    # -- as a mapping ------------------------------------------------------------------------------------

    def __getitem__(self, table: str) -> StateTable:
        """The rows of a table as they are now; they follow `apply`. SchemaError."""
        self._query.schema(table)
        return self._tables[table]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(rows)} {name}" for name, rows in self._tables.items())
        return f"<State of {self._query.source.name}: {counts}>"

    def _repr_html_(self) -> str:
        rows = [
            (name, str(len(objects)), ", ".join(objects.keys.names))
            for name, objects in self._objects.items()
        ]
        known = "" if self.complete else ", no snapshot yet"
        about = html_text(f"State of {self._query.source.name}{known}")
        return f"<div>{about}{html_table(('table', 'rows', 'key'), rows)}</div>"

    def _ipython_key_completions_(self) -> list[str]:
        return [*self._tables]
