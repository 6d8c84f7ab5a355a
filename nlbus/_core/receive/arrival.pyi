"""Looking out for a kernel module that may be loaded."""

from typing import Self, final

@final
class Arrival:
    def __new__(cls, module: bytes, path: bytes, *, uevents: bool) -> Self: ...
