"""Tables as data frames of pyarrow, polars, pandas and DuckDB. Each library is imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlbus.errors import extra

if TYPE_CHECKING:
    from nlbus.table.arrow import Exported


def to_arrow(exported: Exported) -> Any:
    """See Table.to_arrow."""
    return extra("pyarrow", "to_arrow()").table(exported)


def to_polars(exported: Exported) -> Any:
    """See Table.to_polars."""
    return extra("polars", "to_polars()").DataFrame(exported)


def to_pandas(exported: Exported) -> Any:
    """See Table.to_pandas."""
    pandas = extra("pandas", "to_pandas()")
    pyarrow = extra("pyarrow", "to_pandas()")
    rows = pyarrow.table(exported)
    parts = []
    for nullable, mapper in ((True, _nullable(pandas, pyarrow).get), (False, None)):
        names = [field.name for field in rows.schema if field.nullable is nullable]
        parts.append(rows.select(names).to_pandas(types_mapper=mapper))
    frame = pandas.concat(parts, axis="columns")[rows.column_names]
    for field in rows.schema:
        if pyarrow.types.is_dictionary(field.type):
            frame[field.name] = _with_few_categories(frame[field.name])
    return frame


def _nullable(pandas: Any, pyarrow: Any) -> dict[Any, Any]:
    """pandas' types of integers and bools that can be missing; others become floats, above 2^53 rounded."""
    bits = (8, 16, 32, 64)
    found = {getattr(pyarrow, f"int{n}")(): getattr(pandas, f"Int{n}Dtype")() for n in bits}
    found |= {getattr(pyarrow, f"uint{n}")(): getattr(pandas, f"UInt{n}Dtype")() for n in bits}
    return found | {pyarrow.bool_(): pandas.BooleanDtype()}


def _with_few_categories(column: Any) -> Any:
    """The column without those categories that are digits, unless a row has them: they are most of 256."""
    categories = column.cat.categories
    used = set(column.cat.codes.unique().tolist())
    names = [name for i, name in enumerate(categories) if i in used or not name.isdecimal()]
    return column.cat.set_categories(names)


def to_duckdb(exported: Exported, con: Any, name: str) -> Any:
    """See Table.to_duckdb."""
    extra("duckdb", "to_duckdb()")
    con.register(name, exported)
    return con.view(name)
