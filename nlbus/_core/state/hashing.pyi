from collections.abc import Callable
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt

from nlbus._core.columns.store import Store

_Hashes = npt.NDArray[np.uint64]
_Bytes = npt.NDArray[np.uint8]

def address_cell(value: object) -> bytes: ...

@final
class KeyColumn:
    def __new__(
        cls, encode: Callable[[Any], bytes], column: int, number: int, *, fixed: bool, in_slot: bool
    ) -> Self: ...

def hash_key(
    values: tuple[Any, ...], columns: tuple[KeyColumn, ...], nsid: tuple[int, bytes] | None
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
