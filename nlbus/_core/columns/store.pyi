"""Columns in memory, for the decoders: a cell each, and what is known of every row's message."""

from typing import Any, Final, TypeAlias

import numpy as np
from typing_extensions import disjoint_base

_Array: TypeAlias = np.ndarray[tuple[int], np.dtype[Any]]
_Items: TypeAlias = tuple[_Array, _Array, _Array | None]

__pyx_capi__: dict[str, object]  # what the decoders cimport

SPEC: Final[np.dtype[Any]]  # struct spec of cells.pxd

@disjoint_base
class Region: ...

@disjoint_base
class Plan:
    @property
    def cells(self) -> int: ...

@disjoint_base
class Store:
    def __len__(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def unknown(self) -> int: ...
    @property
    def malformed(self) -> int: ...
    @property
    def messages(self) -> _Array: ...
    @property
    def times(self) -> _Array: ...
    @property
    def groups(self) -> _Array: ...
    @property
    def nsids(self) -> _Array: ...
    @property
    def happened(self) -> _Array: ...
    @property
    def marks(self) -> _Array: ...
    def absent(self, i: int) -> bool: ...
    def values(
        self, i: int, dtype: np.dtype[Any]
    ) -> tuple[_Array | None, _Array | None, _Array | None, _Items | None]: ...
