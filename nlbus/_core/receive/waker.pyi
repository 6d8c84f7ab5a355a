"""Waiting for sockets: and which objects were waited for."""

from typing import Any, Self, final

@final
class Identities:
    def __new__(cls, objects: list[Any]) -> Self: ...
    def same(self, objects: list[Any]) -> bool: ...

@final
class Waker:
    def __new__(cls) -> Self: ...
