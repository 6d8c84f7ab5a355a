"""From rows to arrays: records, events, payloads.

`selected` are rows that were chosen from the block's own, of batch.MESSAGE or, on the bus, batch.SEGMENT.
"""

from collections.abc import Set
from typing import Self, TypeVar, final

import numpy as np

from nlbus._core.block import Block
from nlbus._typing import Structured

__pyx_capi__: dict[str, object]  # what other extensions cimport

_T = TypeVar("_T", bound=np.generic)

@final
class Rows:
    def __new__(cls, block: Block, selected: Structured | None) -> Self: ...

def view(
    block: Block, dtype: np.dtype[_T], count: int, offset: int, stride: int = 0
) -> np.ndarray[tuple[int], np.dtype[_T]]: ...
def records(
    block: Block,
    selected: Structured | None,
    dtype: np.dtype[_T],
    type: int | None,
    fingerprint: int | None,
    groups: int,
) -> tuple[np.ndarray[tuple[int], np.dtype[_T]], int]: ...
def payloads(
    block: Block,
    selected: Structured | None,
    dtype: np.dtype[_T],
    type: int | None,
    groups: Set[int] | None,
) -> tuple[np.ndarray[tuple[int], np.dtype[_T]], int]: ...
def events(block: Block, selected: Structured | None, dtype: np.dtype[np.void], count: int) -> Structured: ...
def compact(block: Block, selected: Structured | None) -> Block: ...
def from_datagrams(
    kind: int, datagrams: list[bytes], group: int, uid: int, time_ns: int = 0
) -> tuple[Block, dict[str, int]]: ...
