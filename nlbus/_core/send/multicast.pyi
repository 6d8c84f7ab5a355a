"""Sending one datagram to many groups: for other extensions only."""

from typing import Self, final

RELIABLE_SECONDS: int

@final
class Multicast:
    def __new__(cls, protocol: int, portid: int, relayed: bool = False, acked: bool = False) -> Self: ...
