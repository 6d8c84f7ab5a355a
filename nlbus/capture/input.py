"""The bytes of a capture, a window at a time."""

from __future__ import annotations

import os
import select
import zlib
from collections.abc import Callable
from typing import BinaryIO

from nlbus.capture.pcapng import Malformed
from nlbus.errors import kernel_error

CHUNK = 1 << 20
# What zlib leaves of its input is copied each time, for thousands of tiny members too: so it gets less.
GZIP_CHUNK = 1 << 14
GZIP = b"\x1f\x8b"
COMPRESSED = {  # by name: how a file begins (the first four bytes), and what decompresses it
    "zstd": (b"\x28\xb5\x2f\xfd", "zstd -d"),
    "xz": (b"\xfd7zX", "xz -d"),
    "lz4": (b"\x04\x22\x4d\x18", "lz4 -d"),
    "bzip2": (b"BZh", "bzip2 -d"),
}


class Input:
    """What was read of a file and not used yet: `data` from `at` on. It may be a pipe.

    Not a mapping: a mapped file that shrinks would kill its reader.
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
        else:
            self.name = str(getattr(file, "name", "a file"))
        self._file: BinaryIO = file
        # A buffered pipe would wait until it has all that was asked for.
        self._read: Callable[[int], bytes] = getattr(file, "read1", file.read)
        self._gzip: _Gzip | None = None

    @property
    def compressed(self) -> bool:
        """Whether the file is gzip; offsets are then those of the decompressed data."""
        return self._gzip is not None

    def decompress(self) -> None:
        """From here on the file is gzip, of which nothing was used yet."""
        self._gzip = _Gzip(self._read, self.data)
        self._read = self._gzip.read
        self.data = b""

    @property
    def offset(self) -> int:
        """Where `at` is in the file."""
        return self._before + self.at

    @property
    def left(self) -> int:
        """Bytes from `at` on that are there."""
        return len(self.data) - self.at

    def has(self, wanted: int) -> bool:
        """Read until `wanted` bytes are there from `at` on; False if the file ends before. KernelError."""
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
        """Whether a read would not wait; True where that cannot be known."""
        if self._gzip is not None and (self._gzip.pending or self._gzip.begin):
            return True
        try:
            poll = select.poll()
            poll.register(self._file.fileno(), select.POLLIN)
            return bool(poll.poll(0))
        except (OSError, ValueError):  # no file of the system's
            return True

    def close(self) -> None:
        """Nothing more will be read."""
        self.data = b""
        self.at = 0
        self._end()

    def _end(self) -> None:
        self._ended = True
        if self._ours:
            self._file.close()


class _Gzip:
    """Decompresses a stream of gzip members, at most as much at a time as is asked for."""

    def __init__(self, read: Callable[[int], bytes], begin: bytes) -> None:
        self.pending = b""  # read, not decompressed yet
        self.begin = memoryview(begin)  # read before that
        self._read = read
        self._member = zlib.decompressobj(wbits=31)
        self._begun = True  # the member; between members zeros may stand
        self._harm = ""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end. Malformed, again at each call; OSError."""
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
