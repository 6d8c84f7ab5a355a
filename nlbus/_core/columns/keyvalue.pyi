"""The decoder of text: datagrams of KEY=VALUE to columns, by tables that a schema was compiled to."""

from typing import Self, final

from nlbus._core.block import Block
from nlbus._core.columns.store import Plan, Store
from nlbus._typing import Structured

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
        title: bool,
        envelope: tuple[bytes, bytes, int, int, int] | None,
    ) -> Self: ...

@final
class Texts(Store):
    def __new__(cls, keys: Keys, block: Block, selected: Structured | None) -> Self: ...
