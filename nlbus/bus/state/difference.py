"""Differences: what a dump says otherwise than a State, as rows; afterwards the State says the same."""

from __future__ import annotations

from collections.abc import Iterable
from time import time_ns
from typing import TYPE_CHECKING

import numpy as np

from nlbus.bus.state.gather import rows_of
from nlbus.bus.state.objects import CHANGE, DEL, NEW
from nlbus.bus.state.scopes import Scope, marked
from nlbus.schema.types import Column, Values
from nlbus.table.chunks import Chunk, Stored

if TYPE_CHECKING:
    from nlbus._typing import Array
    from nlbus.bus.state.objects import Objects


def difference(objects: Objects, dump: Iterable[Chunk], scope: Scope, origin: int) -> list[Chunk]:
    """Make the rows those of the dump, as far as they are in its scope; the new, changed and gone ones."""
    objects.compact()
    before = objects.table()
    numbers = objects.numbers()
    missing = np.zeros(objects.index.rows, np.bool_)
    missing[numbers[marked(before, scope)]] = True
    changes: list[Chunk] = []
    for chunk in dump:
        slots, keys, contents = objects.keys.hashes(chunk)
        old = objects.index.find(slots, keys)
        known = old >= 0
        same = known.copy()
        same[known] = objects.index.contents_of(old[known]) == contents[known]
        seen = old[known]
        missing[seen[seen < len(missing)]] = False
        if not same.all():
            rows = np.flatnonzero(~same)
            ops = np.where(known[rows], CHANGE, NEW).astype(np.uint8)
            changed = told(rows_of(chunk, rows, objects.columns), objects.columns, ops, origin)
            objects.apply(changed, snapshot=True)
            changes.append(changed)
    gone = np.flatnonzero(missing)
    if len(gone):
        ops = np.full(len(gone), DEL, np.uint8)
        changes.append(told(objects.gather(gone), objects.columns, ops, origin))
        objects.remove(gone)
    return changes


def told(chunk: Chunk, columns: tuple[Column, ...], ops: Array, origin: int) -> Stored:
    """The rows as if just told: with these ops, now, by no message."""
    rows = len(chunk)
    fresh = {
        "nl_time": np.full(rows, time_ns(), np.int64),
        "nl_op": ops,
        "nl_origin": np.full(rows, origin, np.uint8),
        "nl_group": np.zeros(rows, np.uint32),
    }
    found = [
        Values(fresh[column.name]) if column.name in fresh else column if chunk.absent(i) else chunk.values(i)
        for i, column in enumerate(columns)
    ]
    damaged = chunk.damaged
    return Stored(rows, found, damaged if damaged.any() else None, chunk.families)
