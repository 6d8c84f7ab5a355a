from typing import final

import numpy as np
import numpy.typing as npt

from nlbus._core.state.hashing import Bytes, Hashes

Rows = npt.NDArray[np.int64]

UNCERTAIN_MARK: int
SAME_MARK: int

@final
class Index:
    rows: int
    live: int
    def __new__(cls) -> Index: ...
    @property
    def nbytes(self) -> int: ...
    def apply(
        self,
        ops: Bytes,
        slots: Hashes,
        keys: Hashes,
        contents: Hashes,
        merging: Bytes | None,
        replaces: bool,
    ) -> tuple[Rows, Bytes]: ...
    def find(self, slots: Hashes, keys: Hashes) -> Rows: ...
    def one(self, slot: int, key: int) -> int: ...
    def chain(self, slot: int) -> list[int]: ...
    def remove(self, rows: Rows) -> None: ...
    def marks(self) -> npt.NDArray[np.bool_]: ...
    def contents_of(self, rows: Rows) -> Hashes: ...
    def renumber(self) -> None: ...
