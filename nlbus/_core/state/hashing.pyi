import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

def hash_start(salt: int) -> int: ...
def hash_cell(h: int, cell: bytes, column: int, fixed: bool) -> int: ...
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
