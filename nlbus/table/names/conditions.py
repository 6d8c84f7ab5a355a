"""Conditions that compare the names of interfaces, where a column has their indices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from nlbus._text import is_utf8
from nlbus.errors import SchemaError
from nlbus.kernel.interfaces import OURS
from nlbus.schema.types import Column
from nlbus.table.chunks import Mask
from nlbus.table.comparisons import Cells, Columns, elements_of, is_in, is_whole, rows_of

if TYPE_CHECKING:
    from nlbus._typing import Array
    from nlbus.kernel.interfaces import Interfaces

Name = TypeVar("Name", str, str | None)
Test = Callable[[Cells], Mask]
log = logging.getLogger("nlbus")

UNKNOWN = (
    "names of interfaces are not known here: compare with an index, or with names in a snapshot, "
    "a Subscriber or a capture of route"
)
NL_NSID = "nl_nsid"
LOW = 0xFFFF_FFFF


def asks_for_names(column: Column, sign: str, argument: object) -> bool:
    """Whether this test of a column compares names of interfaces, not their indices."""
    if column.display != "interface" or (column.list and sign != "has"):
        return False
    values = argument if isinstance(argument, list | tuple) else [argument]
    if column.list:
        return any(isinstance(value, str) for value in values)
    return sign == "matches" or any(isinstance(value, str) for value in values)


def tree_asks(tree: tuple[Any, ...], columns: Sequence[Column]) -> bool:
    """Whether an expression, as Expression.tree() has it, compares names of interfaces."""
    sign, *parts = tree
    if sign in ("and", "or", "not"):
        return any(tree_asks(part, columns) for part in parts)
    found = [column for column in columns if column.name == parts[0]]
    return len(parts) == 2 and any(asks_for_names(column, sign, parts[1]) for column in found)


def test_of_names(test: Test, argument: object, cells: Cells, table: Columns) -> Mask:
    """The rows whose interface has a name for which the test is true; in a list there may be indices, too.

    SchemaError for a table that belongs to no network namespace and no capture.
    """
    names = table.interfaces
    if names is not None:
        names.update()
    if names is None:
        raise SchemaError(f"{cells.column.name}: {UNKNOWN}")
    if names.empty and len(cells.array) and not names.missed:
        names.missed = True
        log.warning("%s: no link message has named any interface so far", cells.column.name)
    nsids = _nsids_of(table)
    if cells.column.list:
        return _lists_with(argument, cells, nsids, names)
    found, places = distinct_names(cells.array, nsids, names.name)
    kept = np.dtypes.StringDType() if all(map(is_utf8, found)) else np.dtype(object)
    column = replace(cells.column, dtype=np.dtype("V1"), storage="text", display="", enum=None)
    named = Cells(column, np.array(found, kept), None)
    if not isinstance(argument, list):
        return test(named)[places]
    texts: list[object] = [value for value in argument if isinstance(value, str)]
    numbers = [value for value in argument if not isinstance(value, str)]
    return is_in(texts, named)[places] | is_in(numbers, cells)


def _lists_with(argument: object, cells: Cells, nsids: Array | None, names: Interfaces) -> Mask:
    """The rows in whose list all these interfaces are, by name or by index."""
    elements, rows = elements_of(cells)
    found, places = distinct_names(elements.array, None if nsids is None else nsids[rows], names.name)
    texts = np.array(found, object)[places]
    every = np.ones(len(cells.array), np.bool_)
    for value in argument if isinstance(argument, tuple) else ():
        hits = np.asarray(texts == value, np.bool_)
        if not isinstance(value, str) or is_whole(value):
            hits |= is_in([int(value)], elements)
        every &= rows_of(hits, rows, len(every))
    return every


def distinct_names(
    indices: Array, nsids: Array | None, name: Callable[[int, int], Name]
) -> tuple[list[Name], Array]:
    """The names of these interfaces, each once, and for each index the place of its name."""
    keys = indices.astype(np.int64) & LOW
    if nsids is not None:
        keys |= (nsids.astype(np.int64) - OURS) << 32
    distinct, places = np.unique(keys, return_inverse=True)
    signed = indices.dtype.kind == "i"
    found = list[Name]()
    for key in distinct.tolist():
        index = key & LOW
        found.append(name(index - (1 << 32) if signed and index >> 31 else index, (key >> 32) + OURS))
    return found, places


def _nsids_of(table: Columns) -> Array | None:
    """The namespace of each row, OURS where it has none; None if that is so of all rows."""
    if all(column.name != NL_NSID for column in table.columns):
        return None
    valid = table.valid(NL_NSID)
    return np.where(valid, table[NL_NSID], OURS) if valid.any() else None
