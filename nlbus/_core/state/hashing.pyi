from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbus._core.columns.store import Store

_Hashes = npt.NDArray[np.uint64]
_Bytes = npt.NDArray[np.uint8]
_Part = tuple[dict[Any, bytes], Callable[[Any], bytes], int, bool, bool, int]

def address_cell(value: object) -> bytes: ...
def hash_key(
    values: tuple[Any, ...], parts: list[_Part], nsid: tuple[int, bytes] | None
) -> tuple[int, int]: ...
def mix_store(into: _Hashes, store: Store, columns: npt.NDArray[np.int32]) -> list[int]: ...
def hashes(rows: int, salt: int) -> _Hashes: ...
def mix_fixed(into: _Hashes, data: _Bytes, width: int, valid: _Bytes | None, column: int) -> None: ...
def mix_spans(
    into: _Hashes,
    data: _Bytes,
    offsets: npt.NDArray[np.int32],
    width: int,
    valid: _Bytes | None,
    column: int,
) -> None: ...
