"""Sources as lazy data frames: `scan` for polars, `duckdb_view` for DuckDB. Both are imported when used."""

from nlbus.frames.duck import duckdb_view
from nlbus.frames.lazy import Plan, plans, scan

__all__ = ["Plan", "duckdb_view", "plans", "scan"]
