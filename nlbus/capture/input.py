"""The bytes of a capture, a window at a time."""

from __future__ import annotations

import os
import select
from typing import BinaryIO

from nlbus.errors import kernel_error

CHUNK = 1 << 20


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
        self._read = getattr(file, "read1", file.read)

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
