"""Arrays of numpy as Arrow's C streams: any library that knows these reads the memory where it lies."""

from collections.abc import Iterable
from typing import Self, TypeAlias, final

from nlbus._typing import Array

# name, format (Arrow's letters), nullable, children, dictionary
_Layout: TypeAlias = tuple[str, str, bool, tuple[_Layout, ...], _Layout | None]
# length, null count, buffers (C-contiguous; None: there is none), children, dictionary
_Part: TypeAlias = tuple[int, int, tuple[Array | None, ...], tuple[_Part, ...], _Part | None]

@final
class Source:
    """What a stream has still to give."""

    def __new__(cls, layout: _Layout, batches: Iterable[_Part]) -> Self: ...

def look_up(numbers: Array, table: Array, out: Array) -> bool: ...
def schema(layout: _Layout) -> object: ...
def stream(layout: _Layout, batches: Iterable[_Part]) -> object: ...
