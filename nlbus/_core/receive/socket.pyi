"""One receiving socket: its slots, its gauge, its ledger."""

from collections.abc import Collection, Iterable
from typing import Literal, Self, final

from nlbus._core.receive.ledger import Ledger

@final
class Socket:
    def __new__(
        cls,
        protocol: int,
        kind: Literal["nlmsg", "datagram", "bus"],
        groups: Collection[int],
        *,
        buffer_bytes: int,
        buffer_limit: int,
        trust_kernel: bool,
        user_groups: int,
        trust_uids: Collection[int] | None,
        sentinel: bool = False,
        all_nsid: bool = False,
        stamped: bool = False,
        reliable: bool = False,
        filters: Iterable[bytes] = (),
        gappy: bool = False,
    ) -> Self: ...
    @property
    def fd(self) -> int: ...
    @property
    def protocol(self) -> int: ...
    @property
    def portid(self) -> int: ...
    @property
    def kind(self) -> int: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def filtered(self) -> int: ...
    def filter(self, filters: Iterable[bytes]) -> None: ...
    def open_drops(self) -> int: ...
    def buffer(self) -> tuple[int, int]: ...
    def strangers(self) -> tuple[list[tuple[int, int, int, int]], int]: ...
    def counters(self) -> dict[str, int]: ...
