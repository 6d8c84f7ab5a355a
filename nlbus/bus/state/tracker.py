"""Tracker: keeps the State of a subscriber true, by asking the kernel for what it did not say.

An event can make rows doubtful, also rows of other tables: the schemas say which (nlbus.schema.manners). A
tracker collects doubts, dumps what is doubtful when the subscriber lets it, and makes a batch of the
differences.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakMethod

import numpy as np

from nlbus.bus.state.alarm import Alarm
from nlbus.bus.state.changes import Changes
from nlbus.bus.state.difference import difference
from nlbus.bus.state.doubts import Doubts
from nlbus.bus.state.objects import NAMES, Objects
from nlbus.bus.state.scopes import Scope, kernel_filter, of_doubt, of_slots
from nlbus.bus.state.state import State
from nlbus.bus.stream import log
from nlbus.errors import NlbusError, SchemaError
from nlbus.kernel.arguments import optional_seconds
from nlbus.kernel.groups import Groups
from nlbus.sources import resolve_groups
from nlbus.table.query import Query
from nlbus.table.received import REPAIR, RESYNC
from nlbus.table.table import Table

if TYPE_CHECKING:
    from nlbus.bus.batch import Batch
    from nlbus.bus.snapshot import Snapshots
    from nlbus.schema.manners import Doubt
    from nlbus.sources import Source
    from nlbus.table.chunks import Chunk


@dataclass
class Dumped:
    """What the kernel had when it was asked; it waits in the inbox behind what came before it."""

    origin_code: int
    tables: list[tuple[str, Scope, list[Batch]]] = field(default_factory=list)
    complete: bool = False  # all that was lost is made up for


class Tracker:
    """The State of a subscriber, and the doubts about it.

    `wake` is called, by any thread, when a repair is due. `groups`: those that carry the events which raise
    doubts. audit: seconds from one look at everything to the next; None: never.
    """

    def __init__(self, source: Source, snapshots: Snapshots, audit: float | None) -> None:
        self.wake: Callable[[], None] = lambda: None
        self._query = Query(source, snapshots.tables)
        self.state = State.of(self._query)
        self.state.auditor = WeakMethod(self.audit)  # a State that outlives its subscriber asks by itself
        self._snapshots = snapshots
        self._raised: dict[str, list[tuple[str, Doubt]]] = {}  # by the table of the event
        for name in snapshots.tables:
            for doubt in self._query.schema(name).manners.doubts:
                self._raised.setdefault(doubt.of, []).append((name, doubt))
        others = [name for name in self._raised if name not in self.state]
        self._hints = Query(source, others) if others else None
        self._hinted: dict[str, Objects] = {}
        if self._hints is not None:
            for name in others:
                self._hinted[name] = Objects(self._hints.schema(name), self._hints.empty(name).columns)
        self.groups = Groups() if self._hints is None else resolve_groups(source, self._hints.groups)
        self._doubts = Doubts(audit)
        self._audited = self._lost = False  # somebody asked for it; messages were lost
        self.repairs = self.repaired = 0  # dumps of what was in doubt, and rows that differed
        self._alarm = Alarm(self._ring)
        self._arm()

    @classmethod
    def wanted(
        cls, repair: bool | None, snapshots: Snapshots | None, source: Source, audit: float | None
    ) -> Tracker | None:
        """That of Subscriber(repair=..., audit=...), None for none. SchemaError."""
        if snapshots is None:
            if repair or audit is not None:
                raise SchemaError("repair= and audit= compare with a snapshot: pass snapshot=True, too")
            return None
        schemas = {schema.name: schema for schema in source.schemas}
        keyless = [name for name in snapshots.tables if not schemas[name].key]
        if repair and keyless:
            raise SchemaError(f"repair=True: {', '.join(keyless)} of {source.name} has no key")
        if repair is False or keyless:
            return None
        return cls(source, snapshots, optional_seconds(audit, "audit"))

    # -- doubts ------------------------------------------------------------------------------------------

    def follow(self, batch: Batch) -> None:
        """Apply a batch to the State, and note the doubts that it raises."""
        done = self.state.follow(batch)
        if batch.origin != "live":
            return
        for name, applied in done.items():
            objects = self.state.objects(name)
            for each in applied:
                if each.uncertain.any():
                    self.doubt({name: of_slots(objects.schema, objects, each.chunk, each.uncertain)})
                self._note(name, objects, each.chunk)
        if self._hints is not None:
            for name in self._hints.present(batch):
                for chunk in self._hints.table(batch, name).chunks:
                    self._note(name, self._hinted[name], chunk)

    def _note(self, name: str, objects: Objects, chunk: Chunk) -> None:
        """Note the doubts that events of a table raise."""
        for doubtful, doubt in self._raised.get(name, ()):
            ops = objects.ops(chunk)
            marks = np.isin(ops, [NAMES[op] for op in doubt.ops])
            if doubt.having:
                marks &= objects.has(chunk, doubt.having)
            if doubt.lacking:
                marks &= ~objects.has(chunk, doubt.lacking)
            if marks.any():
                self.doubt({doubtful: of_doubt(doubt, objects, chunk, marks)})

    def doubt(self, found: Mapping[str, set[Scope]]) -> None:
        """Note that rows may be others than the State has."""
        self._doubts.add(found)
        self._arm()

    def audit(self) -> None:
        """Compare everything with what the kernel has, as soon as recv can. From any thread."""
        self._audited = True
        self.wake()

    def lost(self) -> None:
        """Messages were lost: everything is in doubt. The batch that repairs it has the origin "resync"."""
        self._lost = True
        self._doubts.add_all(self._snapshots.tables)
        self._arm()

    # -- repairs -------------------------------------------------------------------------------------------

    @property
    def due(self) -> bool:
        """Whether it is time to dump what is doubtful."""
        return self._audited or self._doubts.due

    def _arm(self) -> None:
        """Wake the consumer when something is due."""
        at = self._doubts.next
        if at is not None:
            self._alarm.set(at) if at > time.monotonic() else self.wake()

    def _ring(self) -> None:
        self.wake() if self.due else self._arm()

    def close(self) -> None:
        """Wake nobody any more."""
        self._alarm.close()

    def dump(self) -> Dumped:
        """Ask the kernel for what is doubtful and due. What it refuses remains in doubt, and is logged."""
        began = time.monotonic()
        if self._audited:
            self._audited = False
            self._doubts.add_all(self._snapshots.tables, at_once=True)
        scopes, last = self._doubts.take(self._snapshots.tables)
        found = Dumped(RESYNC if self._lost else REPAIR)
        try:
            if last or self._lost:
                self._snapshots.barrier()
            for name in [*scopes]:
                for scope in scopes[name]:
                    limits = kernel_filter(self._query.schema(name), scope)
                    found.tables.append((name, scope, self._snapshots.again(name, limits)))
                del scopes[name]
            found.complete, self._lost = self._lost, False
            self._doubts.done(time.monotonic() - began)
        except NlbusError as error:
            wait = self._doubts.failed(scopes)
            log.warning("%s: the state may be wrong until it works: next try in %.0f s", error, wait)
        except BaseException:
            self._doubts.failed(scopes)
            raise
        finally:
            self._arm()
        return found

    def settle(self, dumped: Dumped) -> Changes:
        """Make the State what the kernel had, and return the differences."""
        found: dict[str, list[Chunk]] = {}
        for name, scope, batches in dumped.tables:
            chunks = [chunk for batch in batches for chunk in self.state.decoded(batch, name)]
            changed = difference(self.state.objects(name), chunks, scope, dumped.origin_code)
            if changed:
                found.setdefault(name, []).extend(changed)
        made = {name: Table(self.state[name].columns, chunks) for name, chunks in found.items()}
        changes = Changes(self._snapshots.query, made, dumped.origin_code)
        changes.complete = dumped.complete
        self.state.settled(found)
        self.repairs += 1
        self.repaired += len(changes)
        return changes

    def explain(self) -> str:
        """What was repaired, and what is in doubt now, in words."""
        doubtful = self._doubts.tables
        now = f"; in doubt now: {', '.join(doubtful)}" if doubtful else ""
        return (
            f"keeps the state of {', '.join(self.state)}: {self.repairs} dumps of what was in doubt found "
            f"{self.repaired} rows that differed{now}"
        )
