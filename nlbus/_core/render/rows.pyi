from collections.abc import Iterator, Sequence
from typing import Any, Self, final

from nlbus._core.render.cells import Cells

@final
class Rows(Iterator[dict[str, Any]]):
    def __new__(
        cls,
        names: Sequence[str],
        columns: Sequence[Cells | None],
        count: int,
        absent: bool,
        first: dict[str, Any],
    ) -> Self: ...
    def __next__(self) -> dict[str, Any]: ...
    def row(self, number: int) -> dict[str, Any]: ...

def key_of(row: dict[str, Any], names: tuple[str, ...]) -> tuple[Any, ...]: ...
