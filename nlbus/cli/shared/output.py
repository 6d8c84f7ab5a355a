"""Files that commands write: by format, never over an existing file unless forced."""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO, cast

import click

from nlbus import Table
from nlbus.capture.suffixes import SUFFIXES, named_format, renamed
from nlbus.errors import kernel_error

STDOUT = "-"
BINARY = ("arrow", "parquet", "pcapng")
WORDS = {"csv": "CSV", "json": "JSON", "text": "text", "arrow": "an Arrow file"}


def snapshot_format(file: str, source: str, table: str) -> str:
    """The format of a snapshot in a file of this name; text for an unknown ending. UsageError."""
    named = named_format(file)
    if named == "pcapng":
        raise click.UsageError(f"a snapshot is no capture: `nlbus record {source} {file}` records events")
    if named.startswith("."):
        raise click.UsageError(
            f"{file}: nlbus does not write {named}: end it in .csv, .json, .arrows, .parquet or .txt, as in "
            f"`nlbus snapshot {source} {table} {renamed(file, '.csv')}`, or pass -o"
        )
    return named or "text"


def recording_format(file: str, source: str, tables: list[str]) -> str:
    """The format of a recording in a file of this name; pcapng for an unknown ending. UsageError."""
    named = named_format(file)
    if not named or named == "pcapng" or Path(file).suffix.lower() in SUFFIXES:
        return named or "pcapng"
    command = f"nlbus record {source} {renamed(file, '.pcapng')}"
    rows = f"-t {tables[0] if tables else 'TABLE'}"
    if named == "arrow":
        command = f"nlbus record {source} {rows} {renamed(file, '.arrows')}"
    elif named in WORDS:
        command = f"nlbus listen {source} {rows + ' ' if named == 'csv' else ''}-o {named} > {file}"
    what = WORDS.get(named, named)
    raise click.UsageError(f"{file}: `nlbus record` does not write {what}: `{command}`, or pass -o")


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
    return _open(file, "wb" if force else "xb", file, action, buffering)


def _open(path: str, mode: str, file: str, action: str, buffering: int = -1) -> BinaryIO:
    try:
        return cast(BinaryIO, open(path, mode, buffering, opener=_open_nonblocking))
    except OSError as error:
        raise _refused(error, file, action) from error


@contextmanager
def whole_file(file: str, force: bool, action: str) -> Iterator[BinaryIO]:
    """Open FILE like `new_file`; a regular one gets its name when it is whole, and until then is FILE.part.

    An exception leaves no file, and leaves an older one as it was.
    """
    path = os.path.realpath(file)  # --force replaces what a link points to
    if file == STDOUT or (os.path.lexists(path) and not os.path.isfile(path)):  # noqa: PTH113 - a name
        with new_file(file, force, action) as out:
            yield out
        return
    refuse_existing(file, force, action)
    part = f"{path}.part"
    try:
        with _open(part, "wb", file, action) as out:
            with suppress(FileNotFoundError):
                os.fchmod(out.fileno(), stat.S_IMODE(os.stat(path).st_mode))  # noqa: PTH116
            yield out
        os.replace(part, path)  # noqa: PTH105
    except BaseException:
        with suppress(OSError):
            os.unlink(part)  # noqa: PTH108
        raise


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
