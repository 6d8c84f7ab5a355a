"""The decoder of text: datagrams of KEY=VALUE to columns, by tables that a schema was compiled to."""

from typing import Any, Self, TypeAlias, final

import numpy as np

from nlbus._core.arena import Block
from nlbus._typing import Structured

_Array: TypeAlias = np.ndarray[tuple[int], np.dtype[Any]]
_Items: TypeAlias = tuple[_Array, _Array, _Array]

@final
class Keys:
    def __new__(
        cls,
        *,
        keys: Structured,
        words: Structured,
        specs: Structured,
        env: int,
        op_key: int,
        title: bool,
        envelope: tuple[bytes, bytes, int, int, int] | None,
    ) -> Self: ...
    @property
    def cells(self) -> int: ...

@final
class Share: ...

@final
class Texts:
    def __new__(cls, keys: Keys, block: Block, selected: Structured | None) -> Self: ...
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
    def groups(self) -> _Array: ...
    @property
    def nsids(self) -> _Array: ...
    @property
    def happened(self) -> _Array: ...
    @property
    def marks(self) -> _Array: ...
    def values(
        self, i: int, dtype: np.dtype[Any]
    ) -> tuple[_Array | None, _Array | None, _Array | None, _Items | None, bool]: ...
