"""Blocks that no receive filled: copies of some rows, and datagrams given as bytes."""

from nlbus._core.block import Block
from nlbus._typing import Structured

def compact(block: Block, selected: Structured | None) -> Block: ...
def from_datagrams(
    kind: int, datagrams: list[bytes], group: int, uid: int, time_ns: int = 0
) -> tuple[Block, dict[str, int]]: ...
