"""Arrays of numpy as Arrow's C streams: any library that knows these reads the memory where it lies."""

from collections.abc import Iterable, Sequence
from typing import Self, TypeAlias, final

from nlbus._typing import Array

# name, format (Arrow's letters), nullable, children, dictionary
_Layout: TypeAlias = tuple[str, str, bool, tuple[_Layout, ...], _Layout | None]
# length, null count, buffers (C-contiguous; None: there is none), children, dictionary
_Part: TypeAlias = tuple[int, int, tuple[Array | None, ...], tuple[_Part, ...], _Part | None]
# rows, a part for each column (None: no value in any row), zeros: as many as the largest buffer of these has
_Batch: TypeAlias = tuple[int, Sequence[_Part | None], Array]

@final
class BatchStream:
    """What a stream has still to give."""

    def __new__(cls, layout: _Layout, batches: Iterable[_Batch]) -> Self: ...

def views(data: Array, offsets: Array, out: Array) -> None: ...
def equal_views(data: Array, size: int, out: Array) -> None: ...
def begin_with_zeros(data: Array, size: int, pieces: int) -> bool: ...
def schema(layout: _Layout) -> object: ...
def stream(layout: _Layout, batches: Iterable[_Batch]) -> object: ...
