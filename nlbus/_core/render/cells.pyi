from collections.abc import Callable
from typing import Any, Self, final

from nlbus._core.columns.store import Store
from nlbus._typing import Array

__pyx_capi__: dict[str, object]

SHAPES: tuple[str, ...]

@final
class Kind:
    @property
    def shape(self) -> int: ...
    def __new__(cls, shape: str, make: Callable[[Any], object] | None = None) -> Self: ...

@final
class Cells:
    @property
    def kind(self) -> Kind: ...
    def __new__(cls, kind: Kind) -> Self: ...
    @staticmethod
    def of(
        kind: Kind,
        rows: int,
        values: Array | None,
        valid: Array | None,
        offsets: Array | None,
        items: tuple[Array | None, Array | None, Array | None] | None,
        families: Array | None,
        six: bool,
    ) -> Cells: ...

def store_cells(
    store: Store, kinds: list[tuple[Kind, str, bool]], places: tuple[int, ...], family: int, origin: int
) -> tuple[list[Cells | None], list[int]]: ...
