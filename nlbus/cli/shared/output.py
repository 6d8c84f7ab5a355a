"""Tables for other programs: csv by Python's csv; Arrow's stream and Parquet as recordings are."""

import errno
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

import click

from nlbus import Table
from nlbus.capture.tablefiles import SUFFIXES, Target, need_pyarrow
from nlbus.errors import kernel_error

STDOUT = "-"
BINARY = ("arrow", "parquet", "pcapng")
BY_SUFFIX = SUFFIXES | {".arrow": "arrow", ".json": "json", ".csv": "csv"}


def format_of(file: str) -> str:
    """What a table is written as to a file of this name: text, where it says no other."""
    return BY_SUFFIX.get(Path(file).suffix, "text")


def check_binary(output: str, file: str = STDOUT) -> None:
    """UsageError where it would be written to a terminal, MissingExtra without the package."""
    if output not in BINARY:
        return
    if file == STDOUT and sys.stdout.isatty():
        raise click.UsageError(f"{output} is no text: redirect it, or name a file")
    if output != "pcapng":
        need_pyarrow(f"-o {output}")


def new_file(file: str, force: bool, action: str, buffering: int = -1) -> AbstractContextManager[BinaryIO]:
    """FILE, or stdout for -. KernelError where it exists, unless forced."""
    if file == STDOUT:
        return nullcontext(sys.stdout.buffer)
    try:
        return open(file, "wb" if force else "xb", buffering)  # noqa: PTH123
    except OSError as error:
        raise _refused(error, file, action) from error


def refuse_existing(file: str, force: bool, action: str) -> None:
    """KernelError where FILE exists, unless that is forced: for what gets its name later."""
    if file != STDOUT and not force and Path(file).exists():
        raise _refused(FileExistsError(errno.EEXIST, ""), file, action)


def _refused(error: OSError, file: str, action: str) -> Exception:
    help = "--force overwrites it" if isinstance(error, FileExistsError) else ""
    return kernel_error(error.errno or 0, f"{action} {file}", help)


def export(output: str, table: Table, file: str, force: bool) -> None:
    """Write a table as Arrow's stream or as Parquet. BrokenPipeError, KernelError."""
    refuse_existing(file, force, "writing to")
    pyarrow = need_pyarrow(f"-o {output}")
    rows = pyarrow.table(table)
    where: str | BinaryIO = sys.stdout.buffer if file == STDOUT else file
    target = Target(where, output, numbered=False)
    writes = target.begin(rows.schema)
    try:
        writes.write(rows, {})
        writes.close({})
    except BrokenPipeError:
        raise
    except OSError as error:
        raise target.failed(error) from error
    finally:
        target.end()
