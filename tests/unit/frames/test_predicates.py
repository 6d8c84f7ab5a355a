"""Conditions of polars that reach the decoder: the same rows as without, for any table and engine."""

import os
from datetime import UTC, datetime
from random import Random
from typing import Any

import polars as pl
import pytest

import nlbus
from nlbus import Batch, Table, field
from nlbus.frames import plans, scan
from nlbus.frames.predicates import pushed
from nlbus.kernel.requests import message
from nlbus.schema.schema import Schema
from nlbus.sources import find
from tests.support.feeds import Given
from tests.support.schemas import fitting
from tests.support.tables import address, column, table_of, text

TABLES = [
    (source.name, schema.name)
    for source in nlbus.sources()
    for schema in find(source.name).schemas
    if isinstance(schema, Schema)
]
SEEDS = int(os.environ.get("NLBUS_FRAMES_SEEDS", "8"))
STRANGE = [
    "",
    "*",
    "eth[0]",
    "a\\b",
    "10.0.0.1",
    "::ffff:10.0.0.1",
    "::1",
    "00:01",
    "-1",
    "007",
    "7",
    "ü",
    "unspec",
]


def batches_of(rng: Random, source: str, name: str, count: int) -> list[Batch]:
    schema = next(each for each in find(source).schemas if each.name == name)
    assert isinstance(schema, Schema)
    found = []
    for _ in range(count):
        messages = [fitting(rng, schema) for _ in range(rng.randint(0, 4))]
        raw = [message(kind, payload, flags, 1) for kind, flags, payload in messages]
        found.append(Batch.from_datagrams(source, raw))
    return found


def any_predicate(rng: Random, frame: pl.DataFrame, depth: int = 2) -> pl.Expr:
    """A predicate of the frame's columns, mostly with values that occur."""
    if depth and rng.random() < 0.5:
        left, right = (any_predicate(rng, frame, depth - 1) for _ in range(2))
        return rng.choice([left & right, left | right, ~left])
    name = rng.choice(frame.columns)
    of, dtype = pl.col(name), frame.schema[name]
    values = [value for value in frame[name].to_list() if value is not None]
    if dtype.is_integer():
        values += [0, 1, 2]
    elif dtype in (pl.String, pl.Categorical):
        values += STRANGE
    elif dtype.is_temporal():
        values += [datetime(2020, 1, 1, tzinfo=UTC)]
    if isinstance(dtype, pl.List):
        inner = [item for value in values for item in value if item is not None]
        if dtype.inner == pl.String and rng.random() < 0.8:
            return of.list.contains(rng.choice([*inner, "up", "other"]))
        return rng.choice([of.is_null(), of.is_not_null(), of.list.len() > 1])
    if not values or rng.random() < 0.15:
        return rng.choice([of.is_null(), of.is_not_null()])
    value = rng.choice(values)
    if dtype == pl.Binary:
        return rng.choice([of == value, of != value, of.is_in(rng.choices(values, k=2))])
    if dtype == pl.Boolean:
        return rng.choice([of, ~of, of == value])
    kinds = [of == value, of != value, of.is_in(rng.choices(values, k=2)), of.eq_missing(value)]
    if dtype.is_integer() or dtype.is_temporal():
        kinds += [of < value, of <= value, of > value, of >= value, of.is_between(value, rng.choice(values))]
    if dtype.is_integer():
        kinds += [of * 2 == value, of > 1.5]
    if dtype == pl.String:
        kinds += [of.str.starts_with(value[: rng.randint(0, 4)]), of.str.contains("0"), of < value]
    return rng.choice(kinds)


@pytest.mark.parametrize("as_text", [True, False], ids=["text", "stored"])
@pytest.mark.parametrize(("source", "name"), TABLES)
def test_a_pushed_predicate_yields_the_rows_of_an_unpushed_one(source: str, name: str, as_text: bool) -> None:
    rows = taken = 0
    for seed in range(SEEDS):
        rng = Random(f"{source} {name} {seed}")
        batches = batches_of(rng, source, name, 3)
        table = Table.concat([batch.table(name) for batch in batches])
        frame = table.to_polars(text=as_text)
        if not len(frame):
            continue
        rows += len(frame)
        predicate = any_predicate(rng, frame)
        wanted = frame.filter(predicate)
        where, _ = pushed(predicate, table[:0], text=as_text)
        if where is not None:
            taken += 1
            kept = table.filter(where)
            assert kept.to_polars(text=as_text).filter(predicate).equals(wanted), (predicate, where)
        columns = rng.sample(frame.columns, rng.randint(1, min(4, len(frame.columns))))
        for engine in ("in-memory", "streaming"):
            lazy = scan(Given(source, batches), name, text=as_text).filter(predicate).select(columns)
            assert lazy.collect(engine=engine).equals(wanted.select(columns)), predicate  # type: ignore[call-overload]
    assert taken or rows < 20


OF = table_of(
    [
        text("ifname"), address("dst"), column("n", "u4"), column("proto", "u1", enum={2: "kernel"}),
        column("table", "u4", enum={254: "main"}), column("flags", flags={1: "up"}), column("on", "?"),
    ],
    [["lo", bytes(16), 1, 2, 254, 1, True]],
)  # fmt: skip


@pytest.mark.parametrize(
    ("predicate", "expression"),
    [
        (pl.col("ifname") == "lo", field("ifname") == "lo"),
        (pl.lit("lo") == pl.col("ifname"), field("ifname") == "lo"),
        (pl.lit(3, pl.UInt32) < pl.col("n"), field("n") > 3),
        (pl.col("ifname").str.starts_with("a*"), field("ifname").matches("a[*]*")),
        (pl.col("proto") == "kernel", field("proto") == 2),
        (pl.col("proto") == "7", field("proto") == 7),
        (pl.col("table") == "100", field("table") == 100),
        (~(pl.col("table") == "main"), field("table") != 254),
        (pl.col("flags").list.contains("up"), field("flags").has("up")),
        (pl.col("on"), field("on") == True),  # noqa: E712
        (pl.col("n").is_null() | (pl.col("n") >= 2), field("n").is_null() | (field("n") >= 2)),
        (pl.col("n").is_between(1, 2, closed="left"), (field("n") >= 1) & (field("n") < 2)),
        (pl.col("dst") == "::", field("dst") == "::"),
        # What stays with polars.
        (pl.col("n") * 2 == 4, None),
        (pl.col("proto") == "no such name", None),
        (pl.col("table") == "0100", None),
        (pl.col("table") == "4294967296", None),
        (pl.col("dst") != "::", None),
        (pl.col("dst") == "no address", None),
        (pl.col("ifname") == "a\\b", None),
        (pl.col("ifname").str.contains("l"), None),
        (~pl.col("flags").list.contains("up"), None),
    ],
)  # fmt: skip
def test_what_is_pushed(predicate: pl.Expr, expression: Any) -> None:
    where, whole = pushed(optimized(predicate), OF)
    assert str(where) == str(expression)
    assert whole is (expression is not None)


def optimized(predicate: pl.Expr) -> pl.Expr:
    """The predicate as a source receives it: with literals of the column's type."""
    received: list[pl.Expr] = []

    def read(columns: Any, given: pl.Expr, limit: Any, size: Any) -> Any:
        received.append(given)
        return iter([OF.to_polars().filter(given)])

    schema = OF.to_polars().schema
    pl.io.plugins.register_io_source(read, schema=schema).filter(predicate).collect()
    return received[0]


def test_a_part_is_pushed_and_the_rest_checked_by_polars() -> None:
    both = (pl.col("n") == 1) & (pl.col("n") * 2 == 4)
    where, whole = pushed(optimized(both), OF)
    assert (str(where), whole) == ("(field('n') == 1)", False)


# -- what engines ask for ------------------------------------------------------------------------------------

ENGINES = pytest.mark.parametrize("engine", ["in-memory", "streaming"])


def links(count: int = 4) -> tuple[list[Batch], pl.DataFrame]:
    batches = batches_of(Random(5), "route", "link", count)
    return batches, Table.concat([batch.table("link") for batch in batches]).to_polars()


@ENGINES
def test_engines_get_what_they_asked_for(engine: Any) -> None:
    batches, frame = links()

    def lazy() -> pl.LazyFrame:
        found: pl.LazyFrame = scan(Given("route", batches), "link")
        return found

    def both(query: Any) -> None:
        assert query(lazy()).collect(engine=engine).equals(query(frame.lazy()).collect())

    both(lambda of: of)
    both(lambda of: of.select(pl.len()))
    both(lambda of: of.head(2))
    both(lambda of: of.tail(2))
    both(lambda of: of.slice(1, 2))
    both(lambda of: of.select("mtu", "ifname", "nl_op"))  # not the order of the schema
    both(lambda of: of.head(3).filter(pl.col("mtu") > 1))
    both(lambda of: of.filter(pl.col("mtu") > 1).head(1))
    both(lambda of: of.select(pl.col("mtu").max(), pl.len()))
    both(lambda of: of.with_columns(double=pl.col("mtu") * 2).filter(pl.col("double") > 5))
    both(lambda of: of.group_by("nl_op").len().sort("nl_op"))
    both(lambda of: of.filter(pl.lit(value=False)))
    assert lazy().collect_schema() == frame.schema


@ENGINES
def test_columns_that_nobody_uses_are_not_decoded(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batches, frame = links()
    decoded: list[Any] = []
    real = nlbus.table.query.decoder

    def decoder(schema: Any, wanted: Any) -> Any:
        found = real(schema, wanted)
        return found._replace(rows=lambda *of: decoded.append(wanted) or found.rows(*of))  # type: ignore[func-returns-value]

    monkeypatch.setattr("nlbus.table.query.decoder", decoder)
    query = scan(Given("route", batches), "link").filter(pl.col("mtu") > 0).select("ifname")
    with plans() as found:
        assert query.collect(engine=engine).height == frame.filter(pl.col("mtu") > 0).height
    # And what the names of interfaces are learnt from.
    assert {frozenset(["ifname", "mtu"])} <= {*decoded} <= {
        frozenset(["ifname", "mtu"]), frozenset(["ifname", "ifindex"])
    }  # fmt: skip
    [plan] = found
    assert (plan.columns, str(plan.where), plan.rest) == (["ifname", "mtu"], "(field('mtu') > 0)", "")
    assert plan.messages == sum(map(len, batches))
    assert plan.rows == plan.yielded == frame.filter(pl.col("mtu") > 0).height
    assert "decoded where (field('mtu') > 0)" in str(plan)


def test_the_length_takes_one_column_at_most() -> None:
    batches, frame = links()
    with plans() as found:
        assert scan(Given("route", batches), "link").select(pl.len()).collect().item() == frame.height
    assert len(found[0].columns or ()) <= 1  # polars asks for one of one byte


@ENGINES
def test_a_function_of_python_is_left_to_polars(engine: Any) -> None:
    batches, frame = links()
    odd = pl.col("mtu").map_batches(lambda mtu: mtu % 2 == 1, return_dtype=pl.Boolean)
    condition = odd & (pl.col("ifindex") != 3)
    with plans() as found:
        lazy = scan(Given("route", batches), "link").filter(condition)
        assert lazy.collect(engine=engine).equals(frame.filter(condition))
    assert len(found) == 1


def test_the_plan_is_visible() -> None:
    batches, _ = links()
    shown = scan(Given("route", batches), "link", where="mtu > 5").filter(pl.col("ifname") == "lo").explain()
    assert "PYTHON[NLBUS] SCAN" in shown
    assert "where (field('mtu') > 5)" in shown
    assert 'col("ifname") == "lo"' in shown


def test_events_are_not_read_beyond_the_rows_that_are_wanted() -> None:
    batches, _ = links(9)
    feed = Given("route", batches)
    assert scan(feed, "link").head(2).collect().height == 2
    assert len(list(feed)) > 5
