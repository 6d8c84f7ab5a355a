from collections.abc import Callable, Sequence
from typing import Any, Final, Self, TypeAlias, final

import numpy as np

from nlbus._core.render.cells import Cells
from nlbus._core.render.style import Style

_Ends: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]
_Template: TypeAlias = list[bytes | tuple[int, Style]]

MODES: Final[tuple[str, ...]]

@final
class Shapes:
    @property
    def modes(self) -> bytearray: ...
    @property
    def pairs(self) -> list[tuple[int, int]]: ...
    @property
    def made(self) -> int: ...
    @property
    def used(self) -> int: ...
    @property
    def slow(self) -> bool: ...
    def __new__(cls, columns: int) -> Self: ...
    def depend(self, column: int, mode: str) -> None: ...
    def compare(self, column: int, other: int) -> None: ...
    def forget(self) -> None: ...

@final
class Text:
    def __new__(
        cls,
        shapes: Shapes,
        columns: Sequence[Cells | None],
        rows: int,
        make: Callable[[int], _Template | None],
        line: Callable[[int], bytes],
    ) -> Self: ...
    def write(self, first: int, last: int) -> tuple[bytes, _Ends]: ...
    def values(self, row: int) -> list[tuple[int, Any]]: ...
