"""The streams of a sender: for other extensions only."""

from typing import Self, final

@final
class Streams:
    def __new__(cls, out: object, limit: int, linger_ns: int) -> Self: ...
