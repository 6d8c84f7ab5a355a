"""Tables as files for other programs: csv by Python's csv, Arrow's stream and Parquet by pyarrow."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import BinaryIO

from nlbus import MissingExtra, Table
from nlbus.cli.viewing import prepared
from nlbus.sources import Source

BINARY = ("arrow", "parquet")


def need_pyarrow(output: str) -> None:
    """MissingExtra without the package."""
    try:
        import_module("pyarrow")
    except ImportError as error:
        raise MissingExtra(f"-o {output} needs pyarrow: pip install 'nlbus[parquet]'") from error


def export(output: str, table: Table, columns: list[str], file: BinaryIO) -> None:
    """Write a table in one of BINARY: these columns in this order, or all. BrokenPipeError."""
    pyarrow = import_module("pyarrow")
    data = pyarrow.table(table)
    if columns:
        data = data.select(columns)
    if output == "parquet":
        import_module("pyarrow.parquet").write_table(data, file)
        return
    with pyarrow.ipc.new_stream(file, data.schema) as writer:
        writer.write_table(data)


def csv_lines(source: Source, table: Table, columns: Iterable[str]) -> Iterator[str]:
    """A header and a line a row: nothing where there is no value, lists and variables as JSON."""
    names = list(columns)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="")

    def line(cells: Iterable[object]) -> str:
        text.seek(0)
        text.truncate()
        writer.writerow(cells)
        return text.getvalue()

    yield line(names)
    for row in table.iter_rows():
        shown = prepared(source, row)
        yield line(_cell(shown[name]) for name in names)


def _cell(value: object) -> object:
    if isinstance(value, list | dict | bool):
        return json.dumps(value, default=bytes.hex)
    return value.hex() if isinstance(value, bytes) else value
