"""Tables as pyarrow, polars, pandas and DuckDB read them, each as lists of Python values per column."""

import math
from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from nlbus import Table
from nlbus.schema.types import Column
from nlbus.table.values import to_python

DUCK = duckdb.connect()
Reader = Callable[[Table], dict[str, list[Any]]]


def by_pyarrow(table: Table) -> dict[str, list[Any]]:
    return cells_in(pa.table(table), table)


def by_views(table: Table) -> dict[str, list[Any]]:
    """pyarrow, through the string and binary views that polars and DuckDB receive."""
    return cells_in(unnamed(table), table)


def unnamed(table: Table) -> pa.Table:
    return pa.RecordBatchReader._import_from_c_capsule(table.__arrow_c_stream__()).read_all()


def cells_in(read: pa.Table, table: Table) -> dict[str, list[Any]]:
    read.validate(full=True)
    # Times as integers: datetime has no nanoseconds.
    columns = {
        each.name: read[each.name].cast("i8") if each.display == "time" else read[each.name]
        for each in table.columns
    }
    return {name: cells.to_pylist() for name, cells in columns.items()}


def by_polars(table: Table) -> dict[str, list[Any]]:
    frame = pl.DataFrame(table)
    times = [each.name for each in table.columns if each.display == "time"]
    return frame.with_columns(pl.col(name).to_physical() for name in times).to_dict(as_series=False)


def by_pandas(table: Table) -> dict[str, list[Any]]:
    frame = pd.DataFrame.from_arrow(table)
    return {each.name: [*map(plain, column_of(frame[each.name], each))] for each in table.columns}


def column_of(series: Any, of: Column) -> list[Any]:
    if of.display == "time":
        return [None if time is pd.NaT else time.value for time in series]
    return series.tolist()


def plain(cell: Any) -> Any:
    """A value from pandas, which turns nullable integers into floats and lists into arrays."""
    if isinstance(cell, np.ndarray):
        return [*map(plain, cell.tolist())]
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    return cell


def by_duckdb(table: Table) -> dict[str, list[Any]]:
    quoted = {each.name: f'"{each.name}"' for each in table.columns}
    times = {each.name: f"epoch_ns({quoted[each.name]})" for each in table.columns if each.display == "time"}
    selected = ", ".join((quoted | times).values())
    DUCK.register("t", table)
    try:
        rows = DUCK.sql(f"select {selected} from t").fetchall()
    finally:
        DUCK.unregister("t")
    cells = list(zip(*rows, strict=True)) or [()] * len(table.columns)
    return {each.name: list(column) for each, column in zip(table.columns, cells, strict=True)}


READERS = [by_pyarrow, by_views, by_polars, by_pandas, by_duckdb]
all_readers = pytest.mark.parametrize("read", READERS)


def expected(table: Table) -> dict[str, list[Any]]:
    """What a reader must find: the table's rows, with flags as numbers and binary data as bytes."""
    found: dict[str, list[Any]] = {}
    for i, each in enumerate(table.columns):
        bare = Column(name=each.name, dtype=each.dtype, type=each.type, storage=each.storage, enum=each.enum)
        cells = [cell for chunk in table.chunks for cell in to_python(bare, chunk.values(i))]
        # A number without an enum name appears as its digits.
        named = each.enum is not None
        found[each.name] = [digits(cell) for cell in cells] if named else cells
    return found


def digits(cell: Any) -> Any:
    if isinstance(cell, list):
        return [*map(digits, cell)]
    return cell if cell is None else str(cell)
