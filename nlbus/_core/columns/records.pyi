"""From rows to arrays: records, events, payloads.

`selected` holds some of the block's rows: SEGMENT on the bus, MESSAGE elsewhere. None means all.
"""

from collections.abc import Set
from typing import Final, Self, TypeVar, final

import numpy as np

from nlbus._core.block import Block
from nlbus._typing import Structured

_T = TypeVar("_T", bound=np.generic)

EVENT: Final[np.dtype[np.void]]  # batch.events, one row per event
MESSAGE: Final[np.dtype[np.void]]  # batch.messages, one row per message
SEGMENT: Final[np.dtype[np.void]]  # one row per nlbus_batch: its events

@final
class Selection:
    def __new__(cls, block: Block, selected: Structured | None) -> Self: ...

def records_of(
    block: Block,
    selected: Structured | None,
    dtype: np.dtype[_T],
    type: int | None,
    fingerprint: int | None,
    groups: int,
) -> tuple[np.ndarray[tuple[int], np.dtype[_T]], int]: ...
def payloads_of(
    block: Block,
    selected: Structured | None,
    dtype: np.dtype[_T],
    type: int | None,
    groups: Set[int] | None,
) -> tuple[np.ndarray[tuple[int], np.dtype[_T]], int]: ...
def events_of(block: Block, selected: Structured | None, count: int) -> Structured: ...
