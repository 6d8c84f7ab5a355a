"""Decoding from bytes in memory, beside C that stores the same columns; and tables as polars reads them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import bars
import messages
import numpy as np
import pytest

from nlbus import Batch
from nlbus.bench.native import compiled
from nlbus.schema.types import Column, Values
from nlbus.table.table import Table

BLOCK = 1 << 20  # bytes of messages: what one receive brings at most
KINDS = {"route": 0, "link": 1, "conntrack": 2, "fork": 3, "packet": 4}  # happened() of columns.c
TURN_NS = 4_000_000
BYTES = 2  # enum shape
LIST = 3
MANY = 1_000_000


class CColumn(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("width", ctypes.c_uint32), ("shape", ctypes.c_int))


class CTable(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_uint32),
        ("rows", ctypes.c_uint32),
        ("columns", ctypes.POINTER(CColumn)),
        ("values", ctypes.c_void_p * 96),
        ("valid", ctypes.c_void_p * 96),
        ("offsets", ctypes.c_void_p * 96),
        *(
            (name, ctypes.c_void_p)
            for name in ("nl_row", "nl_group", "nl_nsid", "nl_op", "damaged", "memory")
        ),
    )


@cache
def library() -> ctypes.CDLL:
    lib = ctypes.CDLL(str(compiled(Path(__file__).with_name("columns.c"), shared=True)))
    of = (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    lib.columns_of.argtypes = of
    lib.columns_of.restype = ctypes.POINTER(CTable)
    lib.columns_free.argtypes = (ctypes.POINTER(CTable),)
    lib.columns_run.argtypes = (*of, ctypes.c_int)
    lib.columns_run.restype = ctypes.c_uint32
    return lib


MAKERS: dict[str, tuple[str, str, Callable[[int], list[bytes]]]] = {  # source, table
    "route": ("route", "route", messages.routes),
    "link": ("route", "link", messages.links),
    "link, shapes differ": ("route", "link", messages.changing_links),
    "conntrack": ("conntrack", "conntrack", messages.connections),
    "fork": ("proc", "fork", messages.forks),
    "packet": ("nflog", "packet", messages.packets),
}


def batch_of(what: str) -> Batch:
    source, _, make = MAKERS[what]
    (one,) = make(1)
    return Batch.from_datagrams(source, make(BLOCK // len(one)))


# -- C ----------------------------------------------------------------------------------------------


class Floor:
    """columns.c on a batch."""

    def __init__(self, table: str, batch: Batch) -> None:
        self._kept = batch.data, np.ascontiguousarray(batch.messages)
        self._args = (KINDS[table], self._kept[0].ctypes.data, self._kept[1].ctypes.data, len(batch))

    def run(self, times: int) -> int:
        return times * library().columns_run(*self._args, times)

    def check(self, table: Table) -> None:
        """All that C stores is what nlbus has, and nlbus has no value beyond."""
        found = library().columns_of(*self._args)
        c = found.contents
        assert c.rows == len(table)
        stored = {c.columns[i].name.decode(): i for i in range(c.count)}
        for number, column in enumerate(table.columns):
            values = table.chunks[0].values(number)
            if column.name in stored:
                self._same(c, stored.pop(column.name), column, values)
            elif not column.name.startswith("nl_"):
                assert values.valid is not None, column.name
                assert not values.valid.any(), column.name
        assert not stored
        for name, dtype in (("nl_row", "u4"), ("nl_group", "u4"), ("nl_nsid", "i4"), ("nl_op", "u1")):
            assert np.array_equal(table[name], array(getattr(c, name), c.rows, dtype)), name
        library().columns_free(found)

    @staticmethod
    def _same(c: CTable, i: int, column: Column, values: Values) -> None:
        rows, width, shape = c.rows, c.columns[i].width, c.columns[i].shape
        data = values.values
        if shape >= BYTES:
            assert values.offsets is not None
            scale = width if shape == LIST else 1
            offsets = array(c.offsets[i], rows + 1, "i4")
            assert np.array_equal(offsets, values.offsets * scale), column.name
            data = values.items.values if values.items is not None else values.values
            assert data is not None
            assert data.tobytes() == ctypes.string_at(c.values[i], int(offsets[-1])), column.name
        else:
            assert data is not None
            assert data.tobytes() == ctypes.string_at(c.values[i], rows * width), column.name
        if c.valid[i]:
            assert np.array_equal(values.valid, array(c.valid[i], rows, "?")), column.name


def array(at: int, count: int, dtype: str) -> np.ndarray:
    size = np.dtype(dtype).itemsize
    return np.frombuffer(ctypes.string_at(at, count * size), dtype)


# -- benchmarks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "bar"),
    [
        ("route", 15),
        ("link", 3),
        ("link, shapes differ", None),
        ("conntrack", 5),
        ("fork", 20),
        ("packet", None),
    ],
)
def bench_decode(benchmark, one_core, what: str, bar: float | None) -> None:
    table, batch = MAKERS[what][1], batch_of(what)
    floor = Floor(table, batch)
    floor.check(batch.table(table))
    times = max(1, round(TURN_NS / (200 * len(batch))))

    def ours() -> int:
        return sum(len(batch.table(table)) for _ in range(times))

    def c() -> int:
        return floor.run(times)

    result = bars.Result(f"decode {what}, all {len(batch.table(table).columns)} columns", 0.50, "message")
    bars.compare(result, bars.timed(c), bars.timed(c), bars.timed(ours))
    rate = 1000 / float(np.median(result.ours_ns))
    judged = "no bar" if bar is None else f"the bar is {bar}: {'met' if rate >= bar else 'NOT met'}"
    bars.REMARKS.append(f"decode {what}: {rate:.1f} M messages a second, {judged}")
    benchmark.extra_info["ratio"] = result.ratio
    benchmark.pedantic(ours, rounds=5)
    bars.judge(result)


def bench_polars(benchmark, one_core) -> None:
    """A million routes as a DataFrame, beside a memcpy of all its columns."""
    polars = pytest.importorskip("polars", reason="polars is not installed: pip install polars")
    batch = batch_of("route")
    tables = [batch.table("route") for _ in range(-(-MANY // len(batch)))]
    table = Table.concat(tables)
    sources = [
        part for chunk in table.chunks for i in range(len(table.columns)) for part in arrays(chunk.values(i))
    ]
    targets = [np.empty_like(part) for part in sources]

    def ours() -> int:
        return len(table.to_polars(text=False))

    def text() -> int:
        return len(polars.DataFrame(table))

    def copy() -> int:
        for target, part in zip(targets, sources, strict=True):
            np.copyto(target, part)
        return len(table)

    result = bars.Result(f"{len(table):,} routes to polars, beside a memcpy", 1 / 1.5, "row")
    bars.compare(result, bars.timed(copy), bars.timed(copy), bars.timed(ours))
    readable = bars.Result(f"{len(table):,} routes to polars as text, beside a memcpy", 0, "row")
    bars.compare(readable, bars.timed(copy), bars.timed(copy), bars.timed(text))
    bars.REMARKS.append(f"routes to polars as text, beside a memcpy: {readable.ratio:.2f}, no bar")
    benchmark.extra_info["ratio"] = result.ratio
    benchmark.pedantic(ours, rounds=5)
    bars.judge(result)


def arrays(values: Values) -> list[np.ndarray]:
    own = [each for each in (values.values, values.valid, values.offsets) if each is not None]
    return own + (arrays(values.items) if values.items is not None else [])
