"""The column decoder: messages to columns, by tables that a schema was compiled to."""

from typing import Self, final

from nlbus._core.block import Block
from nlbus._core.columns.attributes import Attributes
from nlbus._core.columns.program import Program
from nlbus._typing import Structured

@final
class Decoded(Attributes):
    def __new__(cls, program: Program, block: Block, selected: Structured | None) -> Self: ...
