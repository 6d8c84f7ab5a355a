"""Holes: what stands for a column's values while a line becomes a template for all rows of its shape.

The functions that word a row may format a hole, test whether it is true, and compare two of them. Whatever
else they do with one makes the line depend on the value: `actual`, and every other operation, raise
DependsError, and the row is worded again, with the value itself.
"""

from __future__ import annotations

import os
import re
from typing import NoReturn, Protocol, TypeVar

T = TypeVar("T")

# Nothing that a row holds reads like this. It is one word for a shell, and needs no escape.
_MARK = f"@{os.urandom(8).hex()}"
MARKED = re.compile(rf"{_MARK}:(\d+):([^@]*)@")

# How a hole is written. Names of interfaces have the number of their namespace behind it.
PLAIN, HEX, WORD, TIME, NAME, DEVICE, VARIABLES = "", "#x", "word", "time", "name", "device", "variables"


class DependsError(Exception):
    """The line depends on these columns, in this way: one of text.MODES, or "equal"."""

    def __init__(self, mode: str, *columns: int) -> None:
        super().__init__(mode, columns)
        self.mode = mode
        self.columns = columns


class Worded(Protocol):
    """The row that is being worded."""

    def is_true(self, column: int) -> bool:
        """Whether its value is true. DependsError."""

    def are_equal(self, column: int, other: int) -> bool:
        """Whether these values are equal. DependsError."""


class Hole:
    """A column's value. `as_written(how)` is a hole whose text is made in another way."""

    __slots__ = ("_column", "_how", "_row")

    def __init__(self, row: Worded, column: int, how: str = PLAIN) -> None:
        self._row = row
        self._column = column
        self._how = how

    def as_written(self, how: str) -> Hole:
        """The same, written in this way."""
        return Hole(self._row, self._column, how)

    def __format__(self, spec: str) -> str:
        if spec not in (PLAIN, HEX) or (spec and self._how):
            self.depend()
        return f"{_MARK}:{self._column}:{self._how or spec}@"

    def __str__(self) -> str:
        return format(self)

    def __bool__(self) -> bool:
        if self._how:
            self.depend()
        return self._row.is_true(self._column)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Hole) and not self._how and not other._how:
            return self._row.are_equal(self._column, other._column)
        return self.depend()

    def depend(self, *_: object) -> NoReturn:
        """Let the line depend on the value."""
        raise DependsError("value", self._column)

    __hash__ = depend
    __int__ = __index__ = __iter__ = __len__ = __getitem__ = __contains__ = depend
    __lt__ = __le__ = __gt__ = __ge__ = __add__ = __radd__ = __sub__ = __rsub__ = depend
    __mul__ = __rmul__ = __truediv__ = __floordiv__ = __mod__ = depend
    __and__ = __or__ = __rshift__ = __lshift__ = __neg__ = __invert__ = depend


def actual(of: T) -> T:
    """The value itself: the line depends on it."""
    if isinstance(of, Hole):
        of.depend()
    return of


def parts(line: str) -> list[str | tuple[int, str]]:
    """A line, cut at its holes: texts, and (column, how it is written)."""
    found: list[str | tuple[int, str]] = []
    at = 0
    for match in MARKED.finditer(line):
        found += [line[at : match.start()], (int(match[1]), match[2])]
        at = match.end()
    return [part for part in [*found, line[at:]] if part != ""]
