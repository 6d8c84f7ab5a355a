from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbus._core.columns.store import Store

Hashes = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

Part = tuple[dict[Any, bytes], Callable[[Any], bytes], int, bool, bool, int]

def hash_key(
    values: tuple[Any, ...], parts: list[Part], nsid: tuple[int, bytes] | None
) -> tuple[int, int]: ...
def mix_store(into: Hashes, store: Store, columns: npt.NDArray[np.int32]) -> list[int]: ...
def hashes(rows: int, salt: int) -> Hashes: ...
def mix_fixed(into: Hashes, data: Bytes, width: int, valid: Bytes | None, column: int) -> None: ...
def mix_spans(
    into: Hashes,
    data: Bytes,
    offsets: npt.NDArray[np.int32],
    width: int,
    valid: Bytes | None,
    column: int,
) -> None: ...
