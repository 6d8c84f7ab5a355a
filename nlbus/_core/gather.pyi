"""From rows to arrays: records, events, payloads.

`selected` are rows that were chosen from the block's own, of batch.MESSAGE or, on the bus, batch.SEGMENT.
"""

from collections.abc import Set
from typing import Self, final

from nlbus._core.arena import Block
from nlbus._typing import Bytes, Structured

@final
class Rows:
    def __new__(cls, block: Block, selected: Structured | None) -> Self: ...

def find_records(
    block: Block,
    selected: Structured | None,
    itemsize: int,
    type: int | None,
    fingerprint: int | None,
    groups: int,
) -> tuple[int, int, int]: ...
def copy_records(
    block: Block,
    selected: Structured | None,
    itemsize: int,
    type: int | None,
    fingerprint: int | None,
    groups: int,
    out: Bytes,
) -> None: ...
def find_payloads(
    block: Block, selected: Structured | None, itemsize: int, type: int | None, groups: Set[int] | None
) -> tuple[int, int]: ...
def copy_payloads(
    block: Block,
    selected: Structured | None,
    itemsize: int,
    type: int | None,
    groups: Set[int] | None,
    out: Bytes,
) -> None: ...
def fill_events(block: Block, selected: Structured | None, out: Bytes) -> None: ...
def compact(block: Block, selected: Structured | None) -> Block: ...
def from_datagrams(
    kind: int, datagrams: list[bytes], group: int, uid: int
) -> tuple[Block, dict[str, int]]: ...
