"""The decoder of text: datagrams of KEY=VALUE to columns, by tables that a schema was compiled to."""

from typing import Any, Final, Self, final

import numpy as np

from nlbus._core.block import Block
from nlbus._core.columns.store import Plan, Store
from nlbus._typing import Structured

KEY: Final[np.dtype[Any]]
WORD: Final[np.dtype[Any]]
KINDS: Final[dict[str, int]]  # enum value_kind

@final
class Keys(Plan):
    def __new__(
        cls,
        *,
        keys: Structured,
        words: Structured,
        specs: Structured,
        env: int,
        op_key: int,
        otherwise: int,
        title: bool,
        envelope: tuple[bytes, bytes, int, int, int] | None,
        record: tuple[int, ...] | None = None,
    ) -> Self: ...

@final
class Texts(Store):
    def __new__(cls, keys: Keys, block: Block, selected: Structured | None) -> Self: ...
