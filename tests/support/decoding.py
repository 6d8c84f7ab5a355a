"""Compares the compiled decoder with columns_reference: the same messages, every cell, every count.

Each message lies directly before and directly behind an inaccessible page, so a decoder that reads one byte
too many crashes the process.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from nlbus._core.columns.records import MESSAGE
from nlbus.bus.batch import Batch
from nlbus.schema.schema import Schema
from nlbus.schema.types import NL_COLUMNS, OPS, Column, Values
from nlbus.table.decoded import DecodedRows, decoder
from nlbus.table.received import LIVE
from tests.support import columns_reference
from tests.support.reference import kernel_chain, message
from tests.support.schemas import Message
from tests.unit.wire.test_wire_fuzz import EDGE

SOURCE = "route"  # any source with netlink's framing


def batch_of(messages: Iterable[Message], schema: Schema | None = None, *, chained: bool = False) -> Batch:
    """A batch of these messages, of this kind: one datagram per message, or one for all if chained."""
    group, seq = (0, 0) if schema is None else columns_reference.way(schema)
    wire = [message(kind, payload, flags=flags, seq=seq) for kind, flags, payload in messages]
    return Batch.from_datagrams(SOURCE, [kernel_chain(*wire)] if chained else wire, group=group)


def decode(schema: Schema, batch: Batch, wanted: frozenset[str] | None = None) -> DecodedRows:
    rows = decoder(schema, wanted).rows(batch.block, batch.selected, LIVE)
    assert isinstance(rows, DecodedRows)
    return rows


def python(column: Column, values: Values) -> list[Any]:
    """The cells as columns_reference represents them."""
    if column.list:
        assert values.items is not None
        items = _values(column, values.items)
        bounds = _bounds(values)
        assert bounds[-1][1] == len(items) if bounds else not items
        return _or_none([items[a:b] for a, b in bounds], values)
    assert (values.valid is not None) == column.nullable
    return _values(column, values)


def _values(column: Column, values: Values) -> list[Any]:
    assert values.values is not None
    if column.storage == "fixed":
        assert values.values.dtype == column.dtype
        return _or_none(values.values.tolist(), values)
    data = values.values.tobytes()
    cells: list[Any] = [data[a:b] for a, b in _bounds(values)]
    assert sum(map(len, cells)) == len(data)
    if column.storage == "text":
        cells = [cell.decode(errors="surrogateescape") for cell in cells]
    return _or_none(cells, values)


def _bounds(values: Values) -> list[tuple[int, int]]:
    assert values.offsets is not None
    offsets = values.offsets.tolist()
    assert offsets == sorted(offsets)
    assert offsets[0] == 0
    return list(pairwise(offsets))


def _or_none(cells: list[Any], values: Values) -> list[Any]:
    if values.valid is None:
        return cells
    return [cell if there else None for cell, there in zip(cells, values.valid.tolist(), strict=True)]


def rows_of(schema: Schema, found: DecodedRows, wanted: frozenset[str] | None = None) -> list[dict[str, Any]]:
    """All columns but nl_*: one dict per row."""
    columns = decoder(schema, wanted).columns
    nl = len(NL_COLUMNS)
    names = [column.name for column in columns[nl:]]
    cells = [python(column, found.values(i)) for i, column in enumerate(columns) if i >= nl]
    assert all(len(each) == len(found) for each in cells)
    return [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)] or [
        {} for _ in range(len(found))
    ]


def agree(schema: Schema, messages: Sequence[Message], *, chained: bool = False) -> columns_reference.Decoded:
    """Decode with both and compare everything that they return."""
    expected = columns_reference.decode(schema, messages)
    batch = batch_of(messages, schema, chained=chained)
    found = decode(schema, batch)
    compare(schema, found, expected)
    assert found.values(0).values.tolist() == expected.messages  # type: ignore[union-attr]
    return expected


def compare(schema: Schema, found: DecodedRows, expected: columns_reference.Decoded) -> None:
    assert rows_of(schema, found) == expected.rows
    assert [OPS[op] for op in found.values(2).values.tolist()] == expected.ops  # type: ignore[union-attr]
    assert found.damaged.tolist() == expected.damaged
    assert found.unknown == expected.unknown
    assert found.malformed == expected.malformed


def agree_at_the_edge(schema: Schema, messages: Iterable[Message]) -> None:
    """Like agree(), with each message next to an inaccessible page."""
    anything = Batch.from_datagrams(SOURCE, [message(1)])
    base = anything.data.ctypes.data
    group, seq = columns_reference.way(schema)
    for kind, flags, payload in messages:
        expected = columns_reference.decode(schema, [(kind, flags, payload)])
        for view in EDGE.places(payload):
            start = EDGE.start if view.nbytes == 0 else _address(view)
            # A row stores its payload as an offset from the block, which may lead anywhere in memory.
            row = np.array([(start - base, len(payload), kind, flags, seq, 0, group, -1)], MESSAGE)
            compare(schema, decoder(schema, None).rows(anything.block, row, LIVE), expected)  # type: ignore[arg-type]


def _address(view: memoryview) -> int:
    return int(np.frombuffer(view, np.uint8).ctypes.data)
