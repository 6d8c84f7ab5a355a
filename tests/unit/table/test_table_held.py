"""The lifetime of a Table's memory: until its last reader releases it."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from nlbus import Table
from nlbus.schema.types import Values
from nlbus.table.arrow import BATCH_ROWS
from nlbus.table.chunks import Stored
from tests.support.tables import column


def memory_of(table: Table) -> list[weakref.ref[Any]]:
    return [weakref.ref(chunk.values(0).values) for chunk in table.chunks]


def big(rows: int = 100_000) -> Table:
    return Table([column("x", "i8")], [Stored(rows, [Values(np.arange(rows) * (i + 1))]) for i in range(2)])


@pytest.mark.parametrize(
    ("keep", "total"),
    [
        (pa.table, lambda held: held["x"].to_numpy().sum()),
        (pl.DataFrame, lambda held: held["x"].sum()),
        (lambda table: pl.DataFrame(table)[5:], lambda held: held["x"].sum() + 10),
        (lambda table: pa.table(table).column("x").chunk(1), lambda held: held.to_numpy().sum() * 3 // 2),
        (lambda table: pa.table(table)["x"].slice(5), lambda held: held.to_numpy().sum() + 10),
    ],
)
def test_memory_lives_while_a_reader_holds_it(keep: Callable[..., Any], total: Callable[..., int]) -> None:
    table = big()
    memory = memory_of(table)
    held = keep(table)
    del table
    gc.collect()
    np.arange(100_000)  # would reuse freed memory
    assert total(held) == sum(range(100_000)) * 3
    assert any(each() is not None for each in memory)
    del held
    gc.collect()
    assert [each() for each in memory] == [None, None]


def test_memory_is_freed_wherever_reading_stops() -> None:
    def untouched(table: Table) -> None:
        table.__arrow_c_stream__()

    def unread(table: Table) -> None:
        pa.RecordBatchReader.from_stream(table)

    def half_read(table: Table) -> None:
        pa.RecordBatchReader.from_stream(table).read_next_batch()

    def by_schema(table: Table) -> None:
        pa.schema(table)

    for stop in (untouched, unread, half_read, by_schema):
        table = big()
        memory = memory_of(table)
        stop(table)
        del table
        gc.collect()
        assert [each() for each in memory] == [None, None], stop.__name__


def test_a_reader_outlives_the_table() -> None:
    reader = pa.RecordBatchReader.from_stream(big())
    gc.collect()
    assert sum(batch.column(0).to_numpy().sum() for batch in reader) == sum(range(100_000)) * 3


def test_a_failure_while_reading_is_an_error_and_not_the_end() -> None:
    class Failing(Stored):
        def values(self, i: int) -> Values:
            raise ValueError("no memory of it")

    stored = Values(np.zeros(BATCH_ROWS, np.int64))
    table = Table([column("x")], [big(9).chunks[0], Failing(BATCH_ROWS, [stored])])
    with pytest.raises(OSError, match="ValueError: no memory of it"):
        pa.RecordBatchReader.from_stream(table).read_all()
    with pytest.raises(pl.exceptions.ComputeError, match="no memory of it"):
        pl.DataFrame(table)


def test_a_non_contiguous_column_is_refused() -> None:
    scattered = np.arange(10, dtype=np.uint32)[::2]
    table = Table([column("x")], [Stored(5, [Values(scattered)])])
    with pytest.raises(OSError, match="not C-contiguous"):
        pa.table(table)
