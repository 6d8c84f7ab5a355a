"""Files of a table: an Arrow stream is readable while it grows, a Parquet file once it is complete.

A killed process never leaves a partial file under the final name. A new file is called `NAME.part` and is
renamed later: an Arrow stream once its schema is written, a Parquet file at its end.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from nlbus.errors import extra, kernel_error

PREFIX = 8  # bytes before an Arrow IPC message: the marker, and the length of the metadata
DIGITS = 6  # of a numbered file

Notes = Mapping[str, str]


def need_pyarrow(what: str) -> Any:
    """The package pyarrow. MissingExtra."""
    return extra("pyarrow", what)


class TableFile(Protocol):
    """A file to which rows, a pyarrow.Table, are added. OSError."""

    @property
    def size(self) -> int:
        """Bytes written so far."""

    def write(self, rows: Any, notes: Notes) -> None:
        """Add rows with their notes."""

    def close(self, notes: Notes) -> None:
        """End it, with the notes for the whole file."""


class ArrowFile:
    """An Arrow IPC stream. Each write is readable at once, and wholly or not at all.

    The first eight bytes of a message are written last. Until then they are zeros, which end a stream.
    """

    def __init__(self, file: BinaryIO, schema: Any, path: Path | None) -> None:
        pyarrow = import_module("pyarrow")
        self.size = 0
        self._file = file
        self._in_place = path is not None
        self._buffer = _Buffer()
        self._schema = schema
        self._stream = pyarrow.ipc.new_stream(pyarrow.PythonFile(self._buffer, mode="w"), schema)
        # pyarrow writes the schema only with the first rows.
        self._head = schema.serialize().to_pybytes()
        self._add(self._head)
        if path is not None:
            _part(path).replace(path)

    def write(self, rows: Any, notes: Notes) -> None:
        """Append rows; the notes become the custom metadata of their first batch."""
        none = import_module("pyarrow").RecordBatch.from_pylist
        for batch in rows.to_batches() or [none([], schema=self._schema)]:
            self._stream.write_batch(batch, custom_metadata=dict(notes) or None)
            self._commit()
            notes = {}

    def close(self, notes: Notes) -> None:
        """End the stream; notes come with an empty batch."""
        if notes:
            self.write(self._schema.empty_table(), notes)
        self._stream.close()
        self._commit()

    def _commit(self) -> None:
        written = self._buffer.take()
        if self._head:
            written, self._head = written.removeprefix(self._head), b""
        self._add(written)

    def _add(self, data: bytes) -> None:
        if self._in_place:
            descriptor = self._file.fileno()
            _write_at(descriptor, data[PREFIX:], self.size + PREFIX)
            _write_at(descriptor, data[:PREFIX], self.size)
        else:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
            self._file.flush()
        self.size += len(data)


class ParquetFile:
    """A Parquet file, one row group per write. It is readable once closed; then it gets its name."""

    def __init__(self, file: BinaryIO, schema: Any, path: Path | None) -> None:
        self._file = file
        self._path = path
        self._to = _Counted(file)
        self._writer = import_module("pyarrow.parquet").ParquetWriter(self._to, schema)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._to.size

    def write(self, rows: Any, _: Notes) -> None:
        """Write a row group; Parquet has no notes per group."""
        if rows.num_rows:
            self._writer.write_table(rows)

    def close(self, notes: Notes) -> None:
        """Write the footer with the notes, and rename the file."""
        if notes:
            self._writer.add_key_value_metadata(dict(notes))
        self._writer.close()
        self._file.flush()
        if self._path is not None:
            _part(self._path).replace(self._path)


class _Buffer:
    """Collects what pyarrow writes, until `take`."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._total = 0

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        self._total += len(self._pieces[-1])
        return len(self._pieces[-1])

    def tell(self) -> int:
        return self._total

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


class _Counted:
    """A file that counts the bytes written to it; a pipe has no position."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self.size = 0
        self._file = file

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        length = len(rest)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.size += length
        return length

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self.closed = True


class Target:
    """The destination of a recording: one path, numbered paths beside it, or an open file.

    Numbers continue after those of existing files. KernelError.
    """

    def __init__(self, file: str | os.PathLike[str] | BinaryIO, format: str, *, numbered: bool) -> None:
        self.format = format
        self.name = str(getattr(file, "name", "a file") if hasattr(file, "write") else os.fspath(file))
        self.numbered = numbered
        self.files = 0
        self._path: Path | None = None
        self._open: BinaryIO | None = None
        if isinstance(file, (str, os.PathLike)):
            self._path = Path(file)
        else:
            self._open = file
        if numbered and self._path is not None:
            self._number = _last_number(self._path)

    def begin(self, schema: Any) -> TableFile:
        """Begin the next file."""
        kind: Callable[[BinaryIO, Any, Path | None], TableFile]
        kind = ArrowFile if self.format == "arrow" else ParquetFile
        self.files += 1
        if self._path is None:
            assert self._open is not None
            return kind(self._open, schema, None)
        path = self._path
        if self.numbered:
            self._number += 1
            path = path.with_name(f"{path.stem}-{self._number:0{DIGITS}}{path.suffix}")
        try:
            self._open = _open_part(path)
            return kind(self._open, schema, path)
        except BaseException as error:
            self.end()
            raise self.failed(error) if isinstance(error, OSError) else error from None

    def end(self) -> None:
        """Close the current file, finished or given up."""
        if self._path is not None and self._open is not None:
            self._open.close()
            self._open = None

    def failed(self, error: OSError) -> Exception:
        """The error to raise for an OSError."""
        help = ""
        if isinstance(error, BlockingIOError):
            help = "another recording writes to it"
        elif error.errno in (errno.ELOOP, errno.EEXIST):
            help = "its .part is a link, or not a regular file: remove it"
        return kernel_error(error.errno or 0, f"recording to {self.name}", help)


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _open_part(path: Path) -> BinaryIO:
    """The file that will become `path`, empty and locked. One that a killed recording left is reused."""
    part = _part(path)
    # Do not follow a link: it could make us truncate another user's file.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(part, flags, 0o666)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise OSError(errno.EEXIST, "not a regular file, or one with several names")
        file = open(descriptor, "r+b", buffering=0)  # noqa: PTH123, SIM115
    except BaseException:
        os.close(descriptor)
        raise
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(file.fileno()), part.stat()):
            raise BlockingIOError(errno.EAGAIN, "renamed meanwhile")
        file.truncate(0)
    except BaseException:
        file.close()
        raise
    return file


def _last_number(path: Path) -> int:
    """The highest number of existing numbered files."""
    fits = re.compile(rf"{re.escape(path.stem)}-(\d{{{DIGITS},}}){re.escape(path.suffix)}")
    try:
        found = [fits.fullmatch(there.name) for there in path.parent.iterdir()]
    except OSError as error:
        raise kernel_error(error.errno or 0, f"recording to {path}") from error
    return max((int(match[1]) for match in found if match), default=0)


def _write_at(descriptor: int, data: bytes, at: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, at)
        rest, at = rest[written:], at + written
