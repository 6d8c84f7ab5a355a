"""Packets that wait for a verdict: their ids from messages, and the requests that decide on them."""

from typing import Any, Final

import numpy as np

from nlbus._core.block import Block
from nlbus._typing import Array, Structured

HEAD: Final[np.dtype[Any]]  # row, group, id

def waiting(block: Block, selected: Structured | None, kind: int) -> tuple[Structured, int]: ...
def requests(
    kinds: Array, group: int, codes: Array, ids: Array, marks: Array | None, header: int, mark: int
) -> bytearray: ...
