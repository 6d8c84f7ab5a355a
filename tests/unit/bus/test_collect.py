"""An interrupted collect() keeps its rows for the next one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus import Batch, Capture, SchemaError, Table, open_capture

DATA = Path(__file__).parents[2] / "data/route-nlmon-6.1.pcap"


def whole(name: str) -> Table:
    with open_capture(str(DATA), on_loss="ignore") as capture:
        return capture.collect(name)


def rows(table: Table) -> list[object]:
    return [row | {"nl_row": 0} for row in table.iter_rows(absent=False)]


def interrupt(capture: Capture, patch: pytest.MonkeyPatch, kinds: Iterator[int]) -> None:
    """Let recv raise before it takes a batch (1), or decoding after it was taken (2)."""
    recv, table = capture.recv, Batch.table
    decoding = False

    def interrupted_recv(timeout: float | None = None) -> Batch:
        nonlocal decoding
        kind = next(kinds, 0)
        if kind == 1:
            raise KeyboardInterrupt
        decoding = kind == 2
        return recv(timeout)

    def interrupted_table(batch: Batch, name: str) -> Table:
        nonlocal decoding
        if decoding:
            decoding = False
            raise KeyboardInterrupt
        return table(batch, name)

    patch.setattr(capture, "recv", interrupted_recv)
    patch.setattr(Batch, "table", interrupted_table)


@given(st.lists(st.integers(0, 2), max_size=12))
def test_interrupted_rows_come_with_the_next_call_once_and_in_order(kinds: list[int]) -> None:
    for name in ("link", "addr"):
        with open_capture(str(DATA), on_loss="ignore") as capture, pytest.MonkeyPatch.context() as patch:
            interrupt(capture, patch, iter(kinds))
            raised = 0
            while True:
                try:
                    found = capture.collect(name)
                    break
                except KeyboardInterrupt:
                    raised += 1
            assert raised <= len(kinds)
            assert rows(found) == rows(whole(name))
            assert len(capture.collect(name)) == 0


def test_a_wrong_name_takes_no_batch() -> None:
    with open_capture(str(DATA), on_loss="ignore") as capture:
        with pytest.raises(SchemaError):
            capture.collect("lnk")
        assert np.array_equal(capture.collect("link")["ifindex"], whole("link")["ifindex"])
