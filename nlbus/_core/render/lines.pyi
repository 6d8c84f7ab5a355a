from collections.abc import Sequence
from typing import Self, TypeAlias, final

import numpy as np

from nlbus._core.render.cells import Cells
from nlbus._core.render.style import Style
from nlbus._typing import Array

_Field: TypeAlias = bytes | tuple[bytes, Style, Cells | None, bytes | None]
_Ends: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]

@final
class Lines:
    def __new__(
        cls, fields: Sequence[_Field], rows: int, begin: bytes, end: bytes, skip: int, lone: bool = False
    ) -> Self: ...
    def write(self, first: int, last: int) -> tuple[bytes, _Ends]: ...

def merged(parts: Sequence[tuple[Array, bytes, _Ends]], most: int = -1) -> tuple[bytes, int]: ...
