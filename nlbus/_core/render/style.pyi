from collections.abc import Callable
from typing import Any, Final, Self, final

FORMS: Final[tuple[str, ...]]

@final
class Style:
    def __new__(
        cls,
        form: str,
        encode: Callable[[Any], str],
        *,
        by_number: bool = False,
        pairs: bool = False,
        after: bytes = b"",
        inner: Style | None = None,
    ) -> Self: ...
    def forget(self) -> None: ...
