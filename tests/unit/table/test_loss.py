"""Loss: sums of the ledger's rows."""

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nlbus import Loss

GAP, OVERRUN = 0, 1


def row(cause: int, count: int, stream: int = 0, earliest: int = 0, latest: int = 0) -> bytes:
    """struct loss_row of _core/receive/ledger.pxd."""
    return struct.pack("=QQqqBB6x", stream, count, earliest, latest, cause, cause == GAP)


def test_no_loss_is_false_and_empty() -> None:
    loss = Loss()
    assert not loss
    assert loss.events == loss.datagrams == loss.open == len(loss.rows) == 0
    assert str(loss) == "nothing lost"


def test_new_open_drops_are_a_loss() -> None:
    assert Loss(open=3, grew=True)
    assert not Loss(open=3)
    assert Loss(open=3).open == 3


def test_a_row_names_its_cause_stream_count_and_interval() -> None:
    loss = Loss(row(GAP, 7, 2**64 - 1, 5, 9) + row(OVERRUN, 3, 0, 1, 2))
    assert loss.rows.tolist() == [("gap", 2**64 - 1, 7, True, 5, 9), ("overrun", 0, 3, False, 1, 2)]
    assert set(loss.rows.dtype.names or ()) == {"cause", "stream", "count", "exact", "earliest", "latest"}


rows = st.lists(st.tuples(st.sampled_from((GAP, OVERRUN)), st.integers(0, 2**50)), max_size=8)


@given(rows, rows, st.integers(0, 9), st.integers(0, 9))
def test_losses_add_up(
    first: list[tuple[int, int]], second: list[tuple[int, int]], before: int, now: int
) -> None:
    a = Loss(b"".join(row(*r) for r in first), before)
    b = Loss(b"".join(row(*r) for r in second), now, grew=now > before)
    both = a + b
    assert both.events == a.events + b.events == sum(n for cause, n in first + second if cause == GAP)
    assert both.datagrams == sum(n for cause, n in first + second if cause == OVERRUN)
    assert both.open == now  # a level, not a count
    assert bool(both) == (bool(a) or bool(b))
    assert np.array_equal(both.rows, np.concatenate([a.rows, b.rows]))


def test_sums_do_not_wrap() -> None:
    assert Loss(row(GAP, 2**64 - 1) * 2).events == 2**65 - 2


def test_text_has_counts_and_kinds() -> None:
    assert str(Loss(row(GAP, 1))) == "1 event lost"
    assert str(Loss(row(GAP, 2) + row(OVERRUN, 1), 4)) == (
        "2 events lost, 1 datagram dropped, 4 dropped datagrams not explained yet"
    )
    assert repr(Loss(row(GAP, 2), 1)) == "Loss(events=2, datagrams=0, unbuilt=0, open=1)"
