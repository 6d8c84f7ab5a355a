"""What a schema of attributes was compiled to: the tables by which the decoder goes."""

from typing import Self, final

from nlbus._core.columns.store import Plan
from nlbus._typing import Array, Structured

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
    ) -> Self: ...
