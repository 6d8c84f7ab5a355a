"""The bytes of a capture, one window at a time."""

from __future__ import annotations

import errno
import os
import select
import zlib
from collections.abc import Callable
from typing import BinaryIO

from nlbus.capture.pcapng import Malformed
from nlbus.errors import kernel_error

CHUNK = 1 << 20
# zlib copies the input that it leaves over on each call, so many tiny members of a large input cost much.
GZIP_CHUNK = 1 << 14
GZIP = b"\x1f\x8b"
COMPRESSED = {  # by name: how a file begins (the first four bytes), and what decompresses it
    "zstd": (b"\x28\xb5\x2f\xfd", "zstd -d"),
    "xz": (b"\xfd7zX", "xz -d"),
    "lz4": (b"\x04\x22\x4d\x18", "lz4 -d"),
    "bzip2": (b"BZh", "bzip2 -d"),
}


class Input:
    """A file, possibly a pipe. `data` from `at` on is read and not used yet.

    It is not mapped into memory: a mapped file that shrinks kills its reader.
    """

    def __init__(self, file: str | os.PathLike[str] | BinaryIO) -> None:
        self.data = b""
        self.at = 0
        self._before = 0  # bytes before `data`
        self._ended = False
        self._ours = isinstance(file, (str, os.PathLike))
        if isinstance(file, (str, os.PathLike)):
            self.name = os.fspath(file)
            try:
                file = open(file, "rb", buffering=0)  # noqa: PTH123, SIM115 - `close` does
            except OSError as error:
                raise kernel_error(error.errno or 0, f"opening {self.name}") from error
            except ValueError as error:  # a NUL in the name
                raise kernel_error(errno.EINVAL, f"opening {self.name}") from error
        else:
            self.name = str(getattr(file, "name", "a file"))
        self._file: BinaryIO = file
        # read() of a buffered pipe would wait for all requested bytes.
        self._read: Callable[[int], bytes] = getattr(file, "read1", file.read)
        self._gzip: _Gzip | None = None

    @property
    def compressed(self) -> bool:
        """Whether the file is gzip; offsets are then those of the decompressed data."""
        return self._gzip is not None

    def decompress(self) -> None:
        """Decompress the file as gzip from here on. Nothing of it may have been used."""
        self._gzip = _Gzip(self._read, self.data)
        self._read = self._gzip.read
        self.data = b""

    @property
    def offset(self) -> int:
        """The offset of `at` in the file."""
        return self._before + self.at

    @property
    def left(self) -> int:
        """The number of bytes read from `at` on."""
        return len(self.data) - self.at

    def has(self, wanted: int) -> bool:
        """Read until `data` has `wanted` bytes from `at` on; False if the file ends first. KernelError."""
        while self.left < wanted:
            if self._ended:
                return False
            try:
                news = self._read(max(CHUNK, wanted - self.left))
            except OSError as error:
                raise kernel_error(error.errno or 0, f"reading {self.name}") from error
            if not news:
                self._end()
                return False
            self._before += self.at
            self.data = self.data[self.at :] + news
            self.at = 0
        return True

    def ready(self) -> bool:
        """Whether a read would not wait; True if unknown."""
        if self._gzip is not None and (self._gzip.pending or self._gzip.begin):
            return True
        try:
            poll = select.poll()
            poll.register(self._file.fileno(), select.POLLIN)
            return bool(poll.poll(0))
        except (OSError, ValueError):  # not a file of the system
            return True

    def close(self) -> None:
        """Stop reading."""
        self.data = b""
        self.at = 0
        self._end()

    def _end(self) -> None:
        self._ended = True
        if self._ours:
            self._file.close()


class _Gzip:
    """Decompresses a stream of gzip members, never more at a time than requested."""

    def __init__(self, read: Callable[[int], bytes], begin: bytes) -> None:
        self.begin = memoryview(begin)  # what was read of the file before
        self.pending = b""  # input that zlib has not used
        self._read = read
        self._member = zlib.decompressobj(wbits=31)
        self._begun = True  # within a member; zeros may separate members
        self._harm = ""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end. Malformed, then on each further call; OSError."""
        while not self._harm:
            if not self.pending:
                self.pending = self._more()
                if not self.pending:
                    if self._begun:
                        self._harm = "the gzip data ends too early"
                        break
                    return b""
            if not self._begun:
                self.pending = self.pending.lstrip(b"\0")
                if not self.pending:
                    continue
                self._member = zlib.decompressobj(wbits=31)
                self._begun = True
            try:
                data = self._member.decompress(self.pending, size)
            except zlib.error as error:
                self._harm = f"damaged gzip data ({error})"
                break
            self._begun = not self._member.eof
            self.pending = self._member.unconsumed_tail if self._begun else self._member.unused_data
            if data:
                return data
        raise Malformed(self._harm)

    def _more(self) -> bytes:
        more, self.begin = bytes(self.begin[:GZIP_CHUNK]), self.begin[GZIP_CHUNK:]
        return more or self._read(GZIP_CHUNK)
