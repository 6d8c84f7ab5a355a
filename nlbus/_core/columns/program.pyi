"""A compiled schema of attributes: the tables that drive the decoder."""

from typing import Any, Final, Self, final

import numpy as np

from nlbus._core.columns.store import Plan
from nlbus._typing import Array, Structured

OP: Final[np.dtype[Any]]
LEVEL: Final[np.dtype[Any]]
CASE: Final[np.dtype[Any]]
RULE: Final[np.dtype[Any]]
KINDS: Final[dict[str, int]]  # enum kind, less those of slots
FLAGS: Final[dict[str, int]]  # enum op_flag
PACKET_FIELDS: Final[dict[str, tuple[int, int]]]  # H_ fields of headers.pxd, and bytes of a value
SELECTORS: Final[int]  # that a program may have

@final
class Program(Plan):
    def __new__(
        cls,
        *,
        ops: Structured,
        levels: Structured,
        map: Array,
        cases: Structured,
        rules: Structured,
        specs: Structured,
        lists: Array,
        fields: tuple[int, int, int],
        header: int,
        root: int,
        selector: tuple[int, int, int],
        others: bool,
        selectors: int,
        path: Array,
        ignored: Array,
        shared: int,
        part: tuple[int, int, int],
        divided: bool,
    ) -> Self: ...
