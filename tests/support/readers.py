"""Tables as pyarrow, polars, pandas, DuckDB and nanoarrow read them: lists of Python values per column."""

import math
from collections.abc import Callable
from typing import Any

import duckdb
import nanoarrow
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from nlbus import Table
from nlbus._text import as_utf8
from nlbus.schema.types import Column
from nlbus.table.arrow import Exported

DUCK = duckdb.connect()
Reader = Callable[[Table], dict[str, list[Any]]]


def by_pyarrow(table: Table) -> dict[str, list[Any]]:
    return cells_in(pa.table(table), table)


def by_views(table: Table) -> dict[str, list[Any]]:
    """pyarrow, through the string and binary views that polars and DuckDB receive."""
    return cells_in(unnamed(table), table)


def unnamed(table: Table, *, text: bool = True) -> pa.Table:
    exported = Exported(table.columns, table.chunks, text=text)
    return pa.RecordBatchReader._import_from_c_capsule(exported.__arrow_c_stream__()).read_all()


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
    frame = table.to_pandas()
    return {each.name: [*map(plain, column_of(frame[each.name], each))] for each in table.columns}


def by_nanoarrow(table: Table) -> dict[str, list[Any]]:
    read = nanoarrow.ArrayStream(table).read_all()
    return {
        each.name: nanoseconds(child) if each.display == "time" else child.to_pylist()
        for each, child in zip(table.columns, read.iter_children(), strict=True)
    }


def nanoseconds(times: Any) -> list[Any]:
    """Times as integers: nanoarrow itself converts them to datetime."""
    return [cell for chunk in times.iter_chunks() for cell in pa.array(chunk).cast("i8").to_pylist()]


def column_of(series: Any, of: Column) -> list[Any]:
    if of.display == "time":
        return [None if time is pd.NaT else time.value for time in series]
    return series.tolist()


def plain(cell: Any) -> Any:
    """A value from pandas, which turns lists into arrays and misses values in several ways."""
    if isinstance(cell, np.ndarray):
        return [*map(plain, cell.tolist())]
    if cell is None or cell is pd.NA or (isinstance(cell, float) and math.isnan(cell)):
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


READERS = [by_pyarrow, by_views, by_polars, by_pandas, by_duckdb, by_nanoarrow]
all_readers = pytest.mark.parametrize("read", READERS)


def expected(table: Table) -> dict[str, list[Any]]:
    """What a reader must find: what iter_rows yields, with a number that has no name as its digits.

    Arrow's times have a sign.
    """
    rows = [*table.iter_rows()]
    cells = {each.name: [row[each.name] for row in rows] for each in table.columns}
    for each in table.columns:
        if each.display == "time":
            cells[each.name] = [signed(cell) for cell in cells[each.name]]
        if each.storage == "text":
            cells[each.name] = utf8(cells[each.name])
    named = {each.name for each in table.columns if each.enum is not None}
    return {name: [*map(digits, column)] if name in named else column for name, column in cells.items()}


def utf8(cell: Any) -> Any:
    if isinstance(cell, list):
        return [*map(utf8, cell)]
    return cell if cell is None else as_utf8(cell)


def signed(cell: int | None) -> int | None:
    return cell if cell is None else (cell + 2**63) % 2**64 - 2**63


def digits(cell: Any) -> Any:
    if isinstance(cell, list):
        return [*map(digits, cell)]
    return cell if cell is None else str(cell)
