"""scan and duckdb_view of this machine: snapshots, events, captures and recordings; what was not received."""

import threading
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

import nlbus
import nlbus.bus.snapshot
from nlbus import Publisher, SchemaError, Subscriber, Topic, UnknownSource, field
from nlbus.frames import duckdb_view, plans, scan
from nlbus.table.query import Query
from tests.support.sockets import ip

ENGINES = pytest.mark.parametrize("engine", ["in-memory", "streaming"])
Subscribe = Callable[..., Subscriber]


@pytest.fixture
def routes() -> None:
    """127.0.0.1 and some routes, in tables main and 100."""
    ip(
        "link set lo up",
        *[f"route add 10.0.{n}.0/24 dev lo table {'main' if n % 2 else 100}" for n in range(6)],
    )


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collects the messages of each batch that is decoded."""
    counts: list[int] = []
    real = Query.table

    def table(self: Query, received: Any, name: Any) -> Any:
        counts.append(len(received))
        return real(self, received, name)

    monkeypatch.setattr(Query, "table", table)
    return counts


@ENGINES
@pytest.mark.usefixtures("routes")
def test_the_kernel_sends_only_the_routes_that_a_query_wants(engine: Any, received: list[int]) -> None:
    lazy = scan("route", "route")
    everything = lazy.collect(engine=engine)
    assert sum(received) == len(everything) > 6
    received.clear()
    with plans() as found:
        some = lazy.filter(pl.col("table") == "100").select("dst", "table").collect(engine=engine)
    assert some.equals(everything.filter(pl.col("table") == "100").select("dst", "table"))
    assert some["dst"].to_list() == ["10.0.0.0", "10.0.2.0", "10.0.4.0"]
    assert sum(received) == 3
    assert str(found[0].where) == "(field('table') == 100)"


@ENGINES
@pytest.mark.usefixtures("routes")
def test_a_snapshot_is_taken_anew_and_in_the_namespace_of_scan(engine: Any) -> None:
    lazy = scan("route", "addr").filter(pl.col("address") == "127.0.0.1").select("ifindex")
    assert lazy.collect(engine=engine)["ifindex"].to_list() == [1]
    assert scan("route", "link").collect(engine=engine).height == 1  # this namespace has only lo
    ip("link set lo down")
    ip("addr del 127.0.0.1/8 dev lo")
    assert lazy.collect(engine=engine).height == 0


@pytest.fixture
def storm() -> Iterator[Callable[[int], None]]:
    """Change the MTU of lo again and again, in a while."""
    threads: list[threading.Thread] = []

    def start(count: int) -> None:
        ip("link set lo mtu 1000")
        namespace = nlbus.frames.reading.HERE
        with open(namespace) as here:  # noqa: PTH123
            import os

            fd = os.dup(here.fileno())

        def make() -> None:
            from nlbus._core.netsock import enter_netns

            enter_netns(fd)
            os.close(fd)
            time.sleep(0.3)
            for n in range(count):
                ip(f"link set lo mtu {2000 + n}")

        threads.append(threading.Thread(target=make))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join()


@ENGINES
def test_events_of_some_seconds(engine: Any, storm: Callable[[int], None]) -> None:
    storm(4)
    lazy = scan("route", "link", seconds=1.5).filter(pl.col("mtu") >= 2002).select("ifname", "mtu")
    with plans() as found:
        rows = lazy.collect(engine=engine).rows()
    assert rows == [("lo", 2002), ("lo", 2003)]
    [plan] = found
    assert (plan.columns, str(plan.where)) == (["ifname", "mtu"], "(field('mtu') >= 2002)")
    assert plan.messages == plan.rows == 2  # the others were not received
    assert "link: mtu >= 2002: kernel" in str(plan)


@ENGINES
def test_head_ends_the_listening(engine: Any, storm: Callable[[int], None]) -> None:
    storm(4)
    start = time.monotonic()
    assert scan("route", "link", seconds=30).head(2).collect(engine=engine).height == 2
    assert time.monotonic() - start < 10


@ENGINES
def test_a_topic_of_the_bus(engine: Any, subscribe: Subscribe) -> None:
    tick = Topic("tick", [("id", "<u4"), ("px", "<f8")], groups=3, type=0x100)
    sub = subscribe(topics=[tick])
    with Publisher() as pub:
        rows = [(1, 0.5), (2, float("nan")), (3, 2.5)]
        pub.publish_many(np.array(rows, tick.dtype), topic=tick)
    lazy = scan(sub, tick, seconds=0.3).filter(pl.col("px") > 1).select("id")
    assert lazy.collect(engine=engine)["id"].to_list() == [2, 3]  # polars counts NaN as the largest


@ENGINES
def test_the_condition_of_a_subscriber_holds_as_well(engine: Any, subscribe: Subscribe) -> None:
    sub = subscribe("route", tables={"link": ["mtu"]}, where=field("mtu") > 2000)
    for n in range(4):
        ip(f"link set lo mtu {2000 + n}")
    lazy = scan(sub, seconds=0.3)
    assert [name for name in lazy.collect_schema() if not name.startswith("nl_")] == ["mtu"]
    assert lazy.filter(pl.col("mtu") != 2002).collect(engine=engine)["mtu"].to_list() == [2001, 2003]


@ENGINES
def test_captures_and_recordings(engine: Any, subscribe: Subscribe, tmp_path: Path) -> None:
    for name in ("c.pcapng", "c.parquet", "c.arrows"):
        sub = subscribe("route", tables=["link"])
        for n in range(4):
            ip(f"link set lo mtu {2000 + n}")
        nlbus.record(tmp_path / name, sub, seconds=0.3)
        lazy = scan(tmp_path / name, "link").filter(pl.col("mtu") > 2001, pl.col("ifname") == "lo")
        assert lazy.select("nl_op", "mtu").collect(engine=engine).rows() == [
            ("change", 2002),
            ("change", 2003),
        ], name
        assert scan(str(tmp_path / name), "link").select(pl.len()).collect(engine=engine).item() == 4
        assert scan(tmp_path / name, "link").head(3).collect(engine=engine).height == 3


@pytest.mark.usefixtures("routes")
def test_a_view_of_duckdb_is_read_anew_and_asks_for_its_rows_alone(received: list[int]) -> None:
    with duckdb.connect() as con:
        view = duckdb_view(con, "r", "route", "route", columns=["dst", "table"], where="table == 100")
        assert [name for name in view.columns if not name.startswith("nl_")] == ["table", "dst"]
        received.clear()
        assert con.sql("select dst from r where dst <> '10.0.0.0' order by dst").fetchall() == [
            ("10.0.2.0",),
            ("10.0.4.0",),
        ]
        assert sum(received) == 3
        ip("route add 10.9.0.0/24 dev lo table 100")
        assert con.sql("select count(*) from r").fetchall() == [(4,)]
        assert con.sql("select count(*) from r a join r b using (dst)").fetchall() == [(4,)]


def test_a_view_of_events(storm: Callable[[int], None]) -> None:
    storm(3)
    with duckdb.connect() as con:
        duckdb_view(con, "links", "route", "link", columns=["mtu"], where=field("mtu") >= 2001, seconds=1.2)
        assert con.sql("select mtu from links order by mtu").fetchall() == [(2001,), (2002,)]


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (("nosuch",), UnknownSource, "nosuch"),
        (("route",), SchemaError, "which table of route"),
        (("route", "lnk"), SchemaError, "did you mean"),
        (("proc", "exit"), SchemaError, "seconds= listens to it"),
    ],
)
def test_mistakes_are_found_at_once(arguments: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        scan(*arguments)


def test_a_wrong_condition_is_found_at_once() -> None:
    with pytest.raises(SchemaError):
        scan("route", "link", where="mtu ~ 5")
    with pytest.raises(SchemaError, match="where= and seconds="):
        scan("x.parquet", where="mtu > 5")
    with pytest.raises(SchemaError):
        scan("route", "link", seconds=-1)


def test_rows_of_batches_snapshots_and_recordings_join_and_group(
    subscribe: Subscribe, tmp_path: Path
) -> None:
    sub = subscribe("route", tables=["route"])
    tables = []
    ip("link set lo up")
    sub.collect("route", seconds=0.2)
    for number in (100, 101, 5000):  # numbers of tables that have no name, and of protocols
        ip(f"route add 10.0.{number % 7}.0/24 dev lo table {number} proto {number % 250}")
        tables.append(sub.recv(timeout=1).table("route").to_arrow())
    tables.append(nlbus.snapshot("route", "route").to_arrow())
    for name in ("r.parquet", "r.arrows"):
        other = subscribe("route", tables=["route"])
        ip("route add 10.9.9.0/24 dev lo table 77", "route del 10.9.9.0/24 dev lo table 77")
        nlbus.record(tmp_path / name, other, seconds=0.3)
    tables.append(pq.read_table(tmp_path / "r.parquet"))
    with pa.ipc.open_stream(tmp_path / "r.arrows") as stream:
        tables.append(stream.read_all())
    joined = pa.concat_tables([table.replace_schema_metadata() for table in tables])
    for name in ("table", "protocol", "type", "nl_op", "nl_origin", "scope"):
        groups = joined.group_by(name).aggregate([([], "count_all")]).to_pylist()
        assert sum(row["count_all"] for row in groups) == len(joined)
    assert {"100", "101", "5000", "77", "local"} <= set(joined["table"].to_pylist())
    dictionaries = joined["protocol"].combine_chunks().type
    assert str(dictionaries).startswith("dictionary<values=string, indices=int32")
