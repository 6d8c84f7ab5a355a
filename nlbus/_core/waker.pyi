"""Waiting for a socket: for other extensions only."""

from typing import Self, final

@final
class Waker:
    def __new__(cls, fd: int, sentinel: int) -> Self: ...
