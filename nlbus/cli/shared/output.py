"""Files that commands write: by format, never over an existing file unless forced."""

import errno
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

import click

from nlbus import Table
from nlbus.capture.suffixes import SUFFIXES
from nlbus.errors import kernel_error

STDOUT = "-"
BINARY = ("arrow", "parquet", "pcapng")
BY_SUFFIX = SUFFIXES | {".arrow": "arrow", ".json": "json", ".csv": "csv"}


def format_of(file: str) -> str:
    """The format of a table in a file of this name; text for an unknown suffix."""
    return BY_SUFFIX.get(Path(file).suffix, "text")


def check_binary(output: str, file: str = STDOUT) -> None:
    """Raise UsageError for a binary format on a terminal, MissingExtra without its package."""
    if output not in BINARY:
        return
    if file == STDOUT and sys.stdout.isatty():
        raise click.UsageError(f"{output} is not text: redirect it, or name a file")
    if output != "pcapng":
        from nlbus.capture.tablefiles import need_pyarrow  # noqa: PLC0415 - see `export`

        need_pyarrow(f"-o {output}")


def new_file(file: str, force: bool, action: str, buffering: int = -1) -> AbstractContextManager[BinaryIO]:
    """Open FILE for writing; - is stdout. KernelError if it exists, unless forced, or cannot be written.

    Never blocks: a FIFO without a reader is an error.
    """
    if file == STDOUT:
        return nullcontext(sys.stdout.buffer)
    try:
        return open(file, "wb" if force else "xb", buffering, opener=_open_nonblocking)
    except OSError as error:
        raise _refused(error, file, action) from error


def _open_nonblocking(file: str, flags: int) -> int:
    descriptor = os.open(file, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    os.set_blocking(descriptor, True)
    return descriptor


def refuse_existing(file: str, force: bool, action: str) -> None:
    """Raise KernelError if FILE exists, unless forced: for files that get their name later."""
    if file != STDOUT and not force and os.path.lexists(file):
        raise _refused(FileExistsError(errno.EEXIST, ""), file, action)


def _refused(error: OSError, file: str, action: str) -> Exception:
    help = ""
    if isinstance(error, FileExistsError):
        help = "--force overwrites it"
    elif error.errno == errno.ENXIO:
        help = "it is a socket, or a FIFO that no process reads"
    return kernel_error(error.errno or 0, f"{action} {file}", help)


def export(output: str, table: Table, file: str, force: bool) -> None:
    """Write a table as an Arrow IPC stream or as Parquet. BrokenPipeError, KernelError."""
    from nlbus.capture.tablefiles import Target, need_pyarrow  # noqa: PLC0415 - text needs neither

    refuse_existing(file, force, "writing to")
    pyarrow = need_pyarrow(f"-o {output}")
    rows = pyarrow.table(table)
    target = Target(sys.stdout.buffer if file == STDOUT else file, output, numbered=False)
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
