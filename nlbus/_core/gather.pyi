"""From rows to arrays: records, events, payloads. Rows are of batch.MESSAGE or, on the bus, of batch.SEGMENT."""

from collections.abc import Set

from nlbus._core.arena import Block
from nlbus._typing import Bytes, Structured

def find_records(
    rows: Structured,
    data: Bytes,
    itemsize: int,
    type: int | None,
    fingerprint: int | None,
    groups: int,
) -> tuple[int, int, int]: ...
def copy_records(
    rows: Structured,
    data: Bytes,
    itemsize: int,
    type: int | None,
    fingerprint: int | None,
    groups: int,
    out: Bytes,
) -> None: ...
def find_payloads(
    rows: Structured, itemsize: int, type: int | None, groups: Set[int] | None
) -> tuple[int, int]: ...
def copy_payloads(
    rows: Structured,
    data: Bytes,
    itemsize: int,
    type: int | None,
    groups: Set[int] | None,
    out: Bytes,
) -> None: ...
def fill_events(rows: Structured, data: Bytes, out: Structured) -> None: ...
def compact(kind: int, rows: Structured, data: Bytes) -> Block: ...
def from_datagrams(
    kind: int, datagrams: list[bytes], group: int, uid: int
) -> tuple[Block, dict[str, int]]: ...
