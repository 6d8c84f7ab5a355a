"""Writing captures: rows of a block as packets of a pcapng file."""

from typing import Self, final

from nlbus._core.block import Block
from nlbus._typing import Structured

@final
class Packer:
    def __new__(cls, kind: int, protocol: int) -> Self: ...
    def begin_section(self) -> None: ...
    def learn(
        self, block: Block, selected: Structured | None, start: int
    ) -> tuple[int, list[tuple[int, int, int, int]]]: ...
    def pack(self, block: Block, selected: Structured | None, start: int, stop: int) -> bytes: ...
