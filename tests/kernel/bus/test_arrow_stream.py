"""Live rows as Arrow streams: how they end, what they keep, and what readers see of errors."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import duckdb
import nanoarrow
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import nlbus
from nlbus import Publisher, SchemaError, Subscriber, Topic
from tests.support.sockets import ip

Tick = Topic("tick", [("id", "<u4"), ("name", "S4")], groups=3, type=0x100)
Subscribe = Callable[..., Subscriber]


def links(count: int, start: int = 0) -> None:
    """A NEWLINK for each, of the loopback device."""
    for n in range(start, start + count):
        ip(f"link set lo mtu {2000 + n}")


def in_duckdb(stream: Any) -> int:
    with duckdb.connect() as con:
        con.register("live", stream)
        return len(con.sql("select mtu from live").fetchall())


READERS: dict[str, Callable[[Any], int]] = {
    "pyarrow": lambda stream: pa.RecordBatchReader.from_stream(stream).read_all().num_rows,
    "polars": lambda stream: pl.DataFrame(stream).height,
    "nanoarrow": lambda stream: len(nanoarrow.ArrayStream(stream).read_all()),
    "duckdb": in_duckdb,
}


@pytest.mark.parametrize("reader", READERS)
def test_each_reader_reads_a_stream_until_it_has_its_rows(subscribe: Subscribe, reader: str) -> None:
    sub = subscribe("route", tables=["link"])
    links(5)
    stream = sub.stream(rows=3)
    assert READERS[reader](stream) == 3
    assert stream.rows == 3
    assert not stream.loss
    assert len(sub.collect("link", seconds=0.2)) == 2  # the other rows are not lost


@pytest.mark.parametrize("reader", READERS)
def test_each_reader_ends_after_the_seconds(subscribe: Subscribe, reader: str) -> None:
    sub = subscribe("route", tables=["link"])
    links(2)
    start = time.monotonic()
    assert READERS[reader](sub.stream("link", seconds=0.3)) == 2
    assert 0.25 < time.monotonic() - start < 5


@pytest.mark.parametrize("reader", READERS)
def test_each_reader_ends_when_the_subscriber_closes(subscribe: Subscribe, reader: str) -> None:
    sub = subscribe("route", tables=["link"])
    links(2)

    def close_when_read() -> None:
        while sub.stats()["delivered"] < 2:  # a reader may take long to begin
            time.sleep(0.02)
        time.sleep(0.1)
        sub.close()

    closing = threading.Thread(target=close_when_read)
    closing.start()
    assert READERS[reader](sub) == 2
    closing.join()


def test_rows_come_while_others_are_awaited(subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["link"])
    reader = pa.RecordBatchReader.from_stream(sub.stream("link", seconds=10))
    assert reader.schema.field("address").type == pa.string()
    for n in range(3):
        links(1, n)
        batch = reader.read_next_batch()
        assert batch["mtu"].to_pylist() == [2000 + n]
        assert batch["ifname"].to_pylist() == ["lo"]


def test_queued_rows_come_as_one_record_batch_and_the_rest_returns(subscribe: Subscribe) -> None:
    sub = subscribe(topics=[Tick])
    with Publisher() as pub:
        for start in range(0, 100, 10):
            pub.publish_many(np.array([(n, b"x") for n in range(start, start + 10)], Tick.dtype), topic=Tick)
    batches = [*pa.RecordBatchReader.from_stream(sub.stream(Tick, rows=73, seconds=5))]
    assert len(batches) < 5
    assert [n for batch in batches for n in batch["id"].to_pylist()] == [*range(73)]
    assert sub.collect(Tick, rows=27, seconds=5)["id"].tolist() == [*range(73, 100)]


def test_a_stream_can_be_read_again(subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["link"])
    stream = sub.stream(rows=2)
    with duckdb.connect() as con:
        con.register("live", stream)
        for n in (0, 2):
            links(2, n)
            found = con.sql("select mtu from live").fetchall()
            assert found == [(2000 + n,), (2001 + n,)]
    assert stream.rows == 4


def test_the_loss_is_beside_the_rows(subscribe: Subscribe) -> None:
    sub = subscribe(topics=[Tick], buffer_events=1, on_loss="ignore")
    with Publisher() as pub:
        for _ in range(400):
            pub.publish_many(np.zeros(100, Tick.dtype), topic=Tick)
        stream = sub.stream(Tick, seconds=0.5)
        rows = pa.table(stream).num_rows
    assert rows == stream.rows
    assert stream.loss.events + stream.loss.open
    assert repr(stream).startswith("<ArrowStream of <Subscriber ")


def test_which_table_must_be_known(subscribe: Subscribe) -> None:
    sub = subscribe("route", tables=["link", "addr"])
    with pytest.raises(SchemaError, match="which table of route"):
        pa.table(sub)
    with pytest.raises(SchemaError, match="did you mean"):
        sub.stream("lnk")
    with pytest.raises(SchemaError):
        sub.stream("link", rows=-1)


def test_an_error_comes_after_the_rows_before_it(
    subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    sub = subscribe("route", tables=["link"])
    links(1)
    real, calls = sub.recv, []

    def recv(timeout: float | None = None) -> Any:
        calls.append(timeout)
        if len(calls) > 1:
            raise nlbus.KernelError(5, "receiving from route: broken")
        return real(timeout)

    monkeypatch.setattr(sub, "recv", recv)
    reader = pa.RecordBatchReader.from_stream(sub.stream("link"))
    assert reader.read_next_batch().num_rows == 1
    with pytest.raises(OSError, match=r"KernelError: .*broken"):
        reader.read_next_batch()


@pytest.mark.parametrize("reader", ["pyarrow", "polars", "nanoarrow"])
def test_ctrl_c_ends_the_program_whichever_library_waits(reader: str) -> None:
    code = """
import sys, nlbus, pyarrow as pa, polars as pl, nanoarrow
read = {"pyarrow": lambda s: pa.RecordBatchReader.from_stream(s).read_all(), "polars": pl.DataFrame,
        "nanoarrow": lambda s: nanoarrow.ArrayStream(s).read_all()}[sys.argv[1]]
try:
    with nlbus.Subscriber("route", tables=["link"]) as sub:
        print("ready", flush=True)
        read(sub)
        print("nothing happened")
except KeyboardInterrupt:
    print("interrupted")
"""
    child = subprocess.Popen([sys.executable, "-c", code, reader], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.3)
    os.kill(child.pid, signal.SIGINT)
    assert child.communicate(timeout=20)[0] == "interrupted\n"


def test_a_capture_streams_to_its_end(subscribe: Subscribe, tmp_path: Any) -> None:
    sub = subscribe("route", tables=["link"])
    links(4)
    nlbus.record(tmp_path / "c.pcapng", sub, seconds=0.3)
    with nlbus.open_capture(tmp_path / "c.pcapng") as capture:
        assert pl.DataFrame(capture.stream("link"))["mtu"].to_list() == [2000, 2001, 2002, 2003]
    with nlbus.open_capture(tmp_path / "c.pcapng") as capture:
        assert pl.DataFrame(capture.stream("link", rows=1)).height == 1
        assert pl.DataFrame(capture.stream("link")).height == 3
