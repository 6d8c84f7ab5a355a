"""Arrays of memory that something else owns, and dtypes of structs."""

from typing import TypeVar

import numpy as np

from nlbus._core.block import Block

__pyx_capi__: dict[str, object]  # what other extensions cimport

_T = TypeVar("_T", bound=np.generic)

def view(
    block: Block, dtype: np.dtype[_T], count: int, offset: int, stride: int = 0
) -> np.ndarray[tuple[int], np.dtype[_T]]: ...
