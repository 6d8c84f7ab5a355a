"""Recording tables: Arrow streams readable at any time, complete Parquet files, numbered files."""

import contextlib
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nlbus import Batch, KernelError, Loss, LossError, MissingExtra, SchemaError, Table, Topic, record
from nlbus.capture.tablefiles import ArrowFile, Target
from nlbus.capture.tables import JOINED, TableRecorder
from nlbus.sources import find
from nlbus.table.query import Query
from tests.support.feeds import Given, Sent, batches
from tests.support.reference import attribute, bus_batch, kernel_chain, message

SECOND = 10**9
GAP = ("overrun", 0, 7, False, 3 * SECOND, 5 * SECOND)


def link(index: int, state: int = 6) -> bytes:
    header = struct.pack("=BxHiII", 0, 1, index, 1, 0)
    return message(16, header + attribute(3, b"v%d\0" % index) + attribute(16, bytes([state])))


def links(*indices: int, state: int = 6) -> list[Batch]:
    """One batch per link, a second apart."""
    return batches("route", [Sent(i * SECOND, kernel_chain(link(i, state)), 1) for i in indices])


def lost(batch: Batch, *rows: tuple[Any, ...], still_open: int = 0) -> Batch:
    batch.loss = Loss.of(rows, still_open, False)
    return batch


def names(path: Path) -> list[str]:
    """The names read by polars and pyarrow, which must agree."""
    if path.suffix == ".parquet":
        found = pl.read_parquet(path)["ifname"].to_list()
        assert pq.read_table(path)["ifname"].to_pylist() == found
    else:
        found = pl.read_ipc_stream(path)["ifname"].to_list()
        with pa.OSFile(str(path)) as file:
            assert pa.ipc.open_stream(file).read_all()["ifname"].to_pylist() == found
    return list(found)


@pytest.mark.parametrize("suffix", ["arrows", "parquet"])
def test_all_readers_read_the_rows_back(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"links.{suffix}"
    recorded = record(path, Given("route", links(1, 2, 3)), table="link")
    assert recorded == (3, 3, path.stat().st_size, 0, 0, 0, 1)
    assert names(path) == ["v1", "v2", "v3"]
    assert [*tmp_path.iterdir()] == [path]
    schema = pq.read_schema(path) if suffix == "parquet" else pa.ipc.open_stream(path.read_bytes()).schema
    assert schema.metadata[b"nlbus.source"] == b"route"
    assert schema.metadata[b"nlbus.table"] == b"link"
    if suffix == "parquet":
        query = "select ifindex, operstate, nl_op, epoch_ns(nl_time) from read_parquet(?) order by ifindex"
        assert duckdb.execute(query, [str(path)]).fetchall() == [
            (i, "up", "change", i * SECOND) for i in (1, 2, 3)
        ]


@pytest.mark.parametrize("after_each", ["_flush", "_join"])
@pytest.mark.parametrize("suffix", ["arrows", "parquet"])
def test_numbers_without_a_name_may_appear_later(suffix: str, after_each: str, tmp_path: Path) -> None:
    """The dictionary of names then changes from batch to batch."""
    path = tmp_path / f"links.{suffix}"
    some = [*links(1), *links(2, state=77), *links(3, state=78), *links(4)]
    target = Target(path, "arrow" if suffix == "arrows" else suffix, numbered=False)
    query = Query(find("route"))
    recorder = TableRecorder(target, query.empty("link"), lambda b: b.table("link"), about={})
    for batch in some:
        recorder.write(batch)
        getattr(recorder, after_each)()
    recorder.close()
    read = pq.read_table(path) if suffix == "parquet" else pa.ipc.open_stream(path.read_bytes()).read_all()
    assert read["operstate"].to_pylist() == ["up", "77", "78", "up"]
    assert names(path) == ["v1", "v2", "v3", "v4"]
    frame = pl.read_parquet(path) if suffix == "parquet" else pl.read_ipc_stream(path)
    assert frame["operstate"].cast(pl.String).to_list() == ["up", "77", "78", "up"]


def test_waiting_rows_are_joined_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands at once would delay the receiver."""
    most, concat = 0, Table.concat

    def counted(tables: list[Table]) -> Table:
        nonlocal most
        most = max(most, len(tables))
        return concat(tables)

    monkeypatch.setattr(Table, "concat", counted)
    path = tmp_path / "links.parquet"
    target, empty = Target(path, "parquet", numbered=False), Query(find("route")).empty("link")
    recorder = TableRecorder(target, empty, lambda b: b.table("link"), about={})
    for batch in links(*range(200)):
        recorder.write(batch)
    assert (recorder.messages, recorder.waiting) == (200, 200)
    recorder.close()
    assert (recorder.waiting, most) == (0, JOINED)
    assert names(path) == [f"v{i}" for i in range(200)]


@pytest.mark.parametrize("suffix", ["arrows", "parquet"])
def test_a_recording_without_rows_is_an_empty_table(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"none.{suffix}"
    assert record(path, Given("route", []), table="link").messages == 0
    assert names(path) == []


def test_count_counts_rows(tmp_path: Path) -> None:
    path = tmp_path / "some.arrows"
    (many,) = batches("route", [Sent(1, kernel_chain(*map(link, range(1, 6))), 1)])
    assert record(path, Given("route", [many, many]), table="link", count=7).messages == 7
    assert names(path) == ["v1", "v2", "v3", "v4", "v5", "v1", "v2"]


def test_the_bus_is_recorded_by_topic(tmp_path: Path) -> None:
    tick = Topic("tick", [("id", "<u4")], groups=1)
    data = struct.pack("<3I", 7, 8, 9)
    some = batches(
        "bus", [Sent(1, bus_batch(data, record_size=4, fingerprint=tick.fingerprint, groups=1), 1, 5)]
    )
    path = tmp_path / "ticks.parquet"
    assert record(path, Given("bus", some), table=tick).messages == 3
    assert pq.read_table(path)["id"].to_pylist() == [7, 8, 9]


def test_losses_are_in_the_metadata(tmp_path: Path) -> None:
    expected = {
        "events": 0,
        "datagrams": 7,
        "unbuilt": 0,
        "open": 2,
        "earliest": 3 * SECOND,
        "latest": 5 * SECOND,
    }
    for suffix in ("arrows", "parquet"):
        one, two = links(1, 2)
        path = tmp_path / f"x.{suffix}"
        recorded = record(path, Given("route", [one, lost(two, GAP, still_open=2)]), table="link")
        assert (recorded.dropped, recorded.open) == (7, 2)
        if suffix == "parquet":
            notes = pq.read_metadata(path).metadata
        else:
            notes = (
                pa.ipc.open_stream(path.read_bytes()).read_next_batch_with_custom_metadata().custom_metadata
            )
        assert json.loads(notes[b"nlbus.loss"]) == expected


def test_a_loss_without_rows_is_in_the_metadata_too(tmp_path: Path) -> None:
    (quiet,) = batches("route", [Sent(1, kernel_chain(message(3, b"")), 1)])
    path = tmp_path / "x.arrows"
    record(path, Given("route", [lost(quiet, GAP)]), table="link")
    batch, notes = pa.ipc.open_stream(path.read_bytes()).read_next_batch_with_custom_metadata()
    assert (batch.num_rows, json.loads(notes[b"nlbus.loss"])["datagrams"]) == (0, 7)


# -- many files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["arrows", "parquet"])
def test_files_are_numbered_and_numbering_continues(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"x-000041.{suffix}").write_bytes(b"dear")
    (tmp_path / f"x-000099.{suffix}.part").write_bytes(b"left by a kill")
    (tmp_path / f"xy-000077.{suffix}").touch()
    path = tmp_path / f"x.{suffix}"
    recorded = record(path, _Slow("route", links(1, 2, 3)), table="link", roll_seconds=0.05)
    assert (recorded.messages, recorded.files) == (3, 3)
    assert [names(tmp_path / f"x-0000{n}.{suffix}") for n in (42, 43, 44)] == [["v1"], ["v2"], ["v3"]]
    assert (tmp_path / f"x-000041.{suffix}").read_bytes() == b"dear"
    assert not path.exists()


class _Slow(Given):
    def recv(self, timeout: float | None = None) -> Batch:
        batch = super().recv(timeout)
        time.sleep(0.06)
        return batch


def test_a_file_has_about_the_requested_size(tmp_path: Path) -> None:
    some = batches("route", [Sent(1, kernel_chain(*(link(i) for i in range(1, 3001))), 1)]) * 40
    path = tmp_path / "x.arrows"
    recorded = record(path, Given("route", some), table="link", roll_bytes=2_000_000)
    files = sorted(tmp_path.iterdir())
    assert len(files) == recorded.files > 3
    assert sum(file.stat().st_size for file in files) == recorded.bytes
    assert all(file.stat().st_size > 2_000_000 for file in files[:-1])
    assert sum(len(names(file)) for file in files) == recorded.messages == 120_000


# -- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "more", "words"),
    [
        ("x.arrows", {}, "which table of route\\? table= one of link, addr"),
        ("x.arrows", {"table": "lnk"}, "did you mean 'link'"),
        ("x.arrows", {"table": "link", "roll_bytes": 0}, "roll_bytes=0"),
        ("x.arrows", {"table": "link", "roll_seconds": 0.0}, "roll_seconds=0.0"),
        ("x.pcapng", {"table": "link"}, "pcapng has all messages in one"),
        ("x.pcapng", {"roll_seconds": 1.0}, "pcapng has all messages in one"),
    ],
)
def test_unsuitable_arguments_are_refused(file: str, more: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=words):
        record(tmp_path / file, Given("route", links(1)), **more)
    assert not list(tmp_path.iterdir())


def test_without_pyarrow_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match="needs pyarrow: pip install pyarrow"):
        record(tmp_path / "x.parquet", Given("route", links(1)), table="link")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["arrows", "parquet"])
@pytest.mark.parametrize("make", [os.symlink, os.link, lambda _, part: os.mkfifo(part)])
def test_a_part_file_that_is_a_link_is_refused(suffix: str, make: Any, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"keep me")
    make(victim, tmp_path / f"x.{suffix}.part")
    with pytest.raises(KernelError, match=r"its \.part is a link, or not a regular file: remove it"):
        record(tmp_path / f"x.{suffix}", Given("route", links(1)), table="link")
    assert victim.read_bytes() == b"keep me"


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    for more in ({}, {"roll_bytes": 9}):
        with pytest.raises(KernelError, match=r"recording to .*: No such file"):
            record(tmp_path / "nowhere" / "x.arrows", Given("route", links(1)), table="link", **more)


def test_a_second_recording_to_the_same_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    schema = pa.schema({"a": pa.int32()})
    first = Target(path, "parquet", numbered=False)
    writes = first.begin(schema)
    with pytest.raises(KernelError, match="another recording writes to it"):
        Target(path, "parquet", numbered=False).begin(schema)
    writes.write(pa.table({"a": pa.array([1], pa.int32())}), {})
    writes.close({})
    first.end()
    assert pq.read_table(path).num_rows == 1


class _Raises(Given):
    def recv(self, timeout: float | None = None) -> Batch:
        batch = super().recv(timeout)
        if batch.loss:
            raise LossError("lost", batch.loss)
        return batch


@pytest.mark.parametrize("suffix", ["arrows", "parquet"])
def test_an_error_leaves_a_complete_file(suffix: str, tmp_path: Path) -> None:
    one, two = links(1, 2)
    path = tmp_path / f"x.{suffix}"
    with pytest.raises(LossError):
        record(path, _Raises("route", [one, lost(two, GAP)]), table="link")
    assert names(path) == ["v1"]


# -- a kill ---------------------------------------------------------------------------------------------


def test_an_arrow_stream_cut_within_any_write_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each write, and after part of each, the file has everything written before."""
    from nlbus.capture import tablefiles

    path = tmp_path / "x.arrows"
    seen: list[int] = []

    def piecemeal(descriptor: int, data: bytes, at: int) -> None:
        step = len(data) if len(data) == 8 else len(data) // 7 + 1
        for start in range(0, len(data), step):
            os.pwrite(descriptor, data[start : start + step], at + start)
            if path.exists():
                seen.append(len(names(path)))

    monkeypatch.setattr(tablefiles, "_write_at", piecemeal)
    table = Batch.from_datagrams("route", [kernel_chain(link(1), link(2))]).table("link")
    rows = pa.table(table)
    target = Target(path, "arrow", numbered=False)
    file = target.begin(rows.schema)
    for _ in range(4):
        file.write(rows, {})
    file.close({})
    target.end()
    assert seen == sorted(seen)
    assert {*seen} == {0, 2, 4, 6, 8}


CHILD = """
import sys, nlbus
from tests.unit.capture.test_capture_tables import TICK, Endless
suffix, where, roll = sys.argv[1:]
nlbus.record(f"{where}/x.{suffix}", Endless(), table=TICK, roll_bytes=int(roll) or None)
"""
TICK = Topic("tick", [("id", "<u8"), ("px", "<f8"), ("text", "S40")], groups=1)


class Endless(Given):
    """Events as fast as they can be written, with ids from 0."""

    def __init__(self) -> None:
        super().__init__("bus", [])
        self._next = 0

    def recv(self, timeout: float | None = None) -> Batch:
        rows = np.zeros(500, TICK.dtype)
        rows["id"] = np.arange(self._next, self._next + 500)
        self._next += 500
        size, fingerprint = TICK.dtype.itemsize, TICK.fingerprint
        data = bus_batch(rows.tobytes(), record_size=size, fingerprint=fingerprint, groups=1)
        return Batch.from_datagrams("bus", [data], group=1)


@pytest.fixture
def child() -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*args: str) -> "subprocess.Popen[bytes]":
        root = Path(__file__).parents[3]
        started.append(subprocess.Popen([sys.executable, "-c", CHILD, *args], cwd=root))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("suffix", ["arrows", "parquet"])
@pytest.mark.parametrize("roll", ["0", "1000000"])
def test_a_kill_during_a_write_leaves_complete_files(
    suffix: str, roll: str, child: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    for nth in range(3):
        where = tmp_path / str(nth)
        where.mkdir()
        process = child(suffix, str(where), roll)
        while _size(where) < 4_000_000 * (nth + 1):
            assert process.poll() is None
            time.sleep(0.003)
        process.kill()
        process.wait()
        files = sorted(where.glob(f"*.{suffix}"))
        read = pl.read_parquet if suffix == "parquet" else pl.read_ipc_stream
        found = [number for file in files for number in read(file)["id"].to_list()]
        assert found == list(range(len(found)))
        if suffix == "arrows" or roll != "0":
            assert len(found) > 5000
        assert len(files) > 1 or roll == "0"


def _size(where: Path) -> int:
    total = 0
    for path in where.iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was just renamed
            total += path.stat().st_size
    return total


def test_a_pipe_receives_the_file_in_order() -> None:
    read, write = os.pipe()
    table = Batch.from_datagrams("route", [kernel_chain(link(1))]).table("link")
    rows = pa.table(table.select(["ifindex", "ifname"]))
    with os.fdopen(read, "rb") as out, os.fdopen(write, "wb") as file:
        stream = ArrowFile(file, rows.schema, None)
        stream.write(rows, {})
        assert pa.ipc.open_stream(out).read_next_batch().num_rows == 1
        stream.close({})
