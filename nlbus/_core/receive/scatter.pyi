"""Scatter receive: for other extensions only."""

from collections.abc import Collection
from typing import Self, final

MAX_TRUSTED: int

@final
class Scatter:
    def __new__(
        cls,
        kind: int,
        *,
        trust_kernel: bool,
        user_groups: int,
        trust_uids: Collection[int] | None,
        nsid: bool,
    ) -> Self: ...
