"""A capture reads like a Subscriber."""

import io
import logging
import os
import struct
import threading
from pathlib import Path

import pytest

from nlbus import (
    Batch,
    BusyError,
    ClosedError,
    KernelError,
    LossError,
    NlbusError,
    SchemaError,
    UnknownSource,
    open_capture,
    wait,
)
from tests.support.captures import (
    MESSAGES,
    NS,
    TIMES,
    comment,
    cooked,
    halves,
    interface,
    opened,
    packet,
    payloads,
    read,
    section,
    statistics,
)
from tests.support.reference import bus_batch

DATA = Path(__file__).parents[2] / "data"
NLMON = sorted(DATA.glob("*nlmon*"))


def lossy() -> bytes:
    by = comment("nlbus source=bus protocol=2 group=0 portid=0 uid=0 nsid=-1")
    lost = (2, halves(1)), (3, halves(7)), (7, struct.pack("<Q", 4))
    data = section() + interface(NS, by) + packet(cooked(bus_batch(b"a", record_size=1), 2), 5)
    data += statistics(comment("nlbus cause=gap stream=0x12 exact=1"), *lost, ticks=9)
    data += statistics(comment("nlbus open=6 grew=1"), ticks=9)
    return data + packet(cooked(bus_batch(b"b", record_size=1, first_seq=5, dgram_seq=9), 2), 9)


def test_recorded_losses_come_with_their_batch() -> None:
    capture = opened(lossy())
    first, second = capture
    assert not first.loss
    assert second.loss.rows.tolist() == [("gap", 0x12, 4, True, 1, 7)]
    assert (second.loss.events, second.loss.open, second.loss.grew) == (4, 6, True)
    stats = capture.stats()
    assert (stats["lost"], stats["open"], stats["delivered"]) == (4, 6, 2)


def test_on_loss_raise_raises_before_the_batch() -> None:
    with open_capture(io.BytesIO(lossy()), on_loss="raise") as capture:
        assert payloads([capture.recv()]) == [b"a"]
        with pytest.raises(LossError, match="4 events lost") as caught:
            capture.recv()
        assert payloads([capture.recv()]) == [b"b"]
        assert caught.value.loss
        with pytest.raises(ClosedError, match="end of capture"):
            capture.recv(timeout=5)


def test_on_loss_may_log_or_ignore(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "nlbus"):
        assert len(read(lossy())) == 2
        assert not caplog.records
        assert len(list(open_capture(io.BytesIO(lossy())))) == 2
    assert ["4 events lost" in r.getMessage() for r in caplog.records] == [True]
    with pytest.raises(SchemaError, match="on_loss"):
        open_capture(io.BytesIO(lossy()), on_loss="shrug")  # type: ignore[arg-type]


def test_a_capture_reads_like_a_subscriber() -> None:
    data = section() + interface(NS)
    for time, one in zip(TIMES, MESSAGES, strict=True):
        data += packet(cooked(one), time)
    assert len(list(opened(data).batches(timeout=0))) == 5
    assert len(list(opened(data).batches(stop_after=2))) == 2
    with opened(data) as capture:
        assert len(capture.recv(timeout=0)) == 1
    assert capture.closed
    with pytest.raises(ClosedError, match="already closed"):
        capture.recv()
    assert list(capture) == []
    capture.close()


def test_a_capture_reads_the_same_twice() -> None:
    path = NLMON[0]
    once, twice = (list(open_capture(path)) for _ in range(2))
    assert [b.data.tobytes() for b in once] == [b.data.tobytes() for b in twice]
    assert [b.messages.tolist() for b in once] == [b.messages.tolist() for b in twice]


def test_a_capture_is_always_ready() -> None:
    with opened(lossy()) as capture:
        with pytest.raises(NlbusError, match="does not wait"):
            capture.fileno()
        with pytest.raises(NlbusError, match="does not wait"):
            wait([capture])  # type: ignore[list-item]


def test_one_consumer_and_close_from_another_thread() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as pipe, open(writer, "wb", buffering=0) as out:  # noqa: PTH123
        out.write(section() + interface(NS) + packet(cooked(MESSAGES[1]), 1))
        capture = open_capture(pipe)
        got: list[Batch] = []
        thread = threading.Thread(target=lambda: got.extend(capture))
        thread.start()
        while not capture._consuming.locked():
            pass
        with pytest.raises(BusyError):
            capture.recv()
        capture.close()
        out.close()
        thread.join()
        assert payloads(got) == [b"\x01" * 4]


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="opening /nowhere/x: No such file"):
        open_capture("/nowhere/x")
    with pytest.raises(KernelError, match="Is a directory"):
        open_capture(tmp_path)
    with pytest.raises(UnknownSource):
        opened(lossy(), "marsupials")
