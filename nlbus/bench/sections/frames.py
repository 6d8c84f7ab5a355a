"""From a storm to a grouped result in polars and DuckDB: all rows and then the query, beside scan and view.

The storm changes routes of a table that nobody asks for, and some of one that the query wants. Before each
round all queues are filled. The reference collects the rows with all columns, as a data frame; the query then
selects and groups. The other side hands the same query to `scan`, or its condition to `duckdb_view`. The
bytes are those that the kernel holds for each reader once the storm is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from nlbus import Batch, ClosedError, Groups, MissingExtra, Source, Subscriber, Table, field, snapshot
from nlbus.bench.pairing import Side, Turn, alternate, one_core, timed
from nlbus.bench.plans import Progress, Scale
from nlbus.bench.results import Measurement, Missing
from nlbus.bench.routes import Routes
from nlbus.bus.stream import Feed
from nlbus.errors import extra
from nlbus.frames import duckdb_view, scan
from nlbus.table.expressions import Expression

SECTION = "frames"
FOREIGN, OURS = 4_000, 40  # routes made and removed, of the tables below
FOREIGN_TABLE, OUR_TABLE = 254, 100
STANDING = 20_000  # routes of a snapshot
COLUMNS = ["table", "oif"]
WHERE = f"table == {OUR_TABLE}"
SQL = "select nl_op, count(*) from {} where \"table\" = '{}' group by nl_op"
CAVEATS = (
    "frames: queues are filled before each round, so the kernel's work for each event is not in the times; "
    "that of a filter in the kernel is then saved, too.",
)

Query = Callable[[], int]


def measure(plan: Scale, progress: Progress) -> Iterator[Measurement | Missing]:
    """Events, then a snapshot, each by polars and DuckDB."""
    for library, make in (("polars", _polars), ("duckdb", _duckdb)):
        try:
            queries = make(extra(library, "this"))
        except MissingExtra as error:
            yield Missing(SECTION, f"{library}", str(error))
            continue
        with one_core():
            progress(f"{SECTION}: a storm, {library}")
            yield from _storm(library, queries, plan)
            progress(f"{SECTION}: a snapshot, {library}")
            yield from _snapshot(library, queries, plan)


# -- queries ----------------------------------------------------------------------------------------------

# Of a table that holds all rows, and of a source.
Queries = tuple[Callable[[Table], int], Callable[[Any], int]]


def _polars(pl: Any) -> Queries:
    def result(frame: Any) -> int:
        lazy = frame.filter(pl.col("table") == str(OUR_TABLE)).group_by("nl_op").len()
        return int(lazy.collect()["len"].sum())

    return lambda table: result(pl.DataFrame(table).lazy()), lambda source: result(scan(source, "route"))


def _duckdb(duckdb: Any) -> Queries:
    con = duckdb.connect()

    def result(name: str) -> int:
        try:
            return sum(count for _, count in con.sql(SQL.format(name, OUR_TABLE)).fetchall())
        finally:
            con.unregister(name)

    def of_table(table: Table) -> int:
        con.register("everything", table)
        return result("everything")

    def of_source(source: Any) -> int:
        duckdb_view(con, "wanted", source, "route", columns=COLUMNS, where=WHERE)
        return result("wanted")

    return of_table, of_source


# -- a storm ----------------------------------------------------------------------------------------------


class Queued(Feed):
    """What is queued for a subscriber: it ends there."""

    def __init__(self, sub: Subscriber) -> None:
        super().__init__("ignore")
        self._sub = sub

    @property
    def source(self) -> Source:
        """Of the subscriber."""
        return self._sub.source

    @property
    def groups(self) -> Groups:
        """Of the subscriber."""
        return self._sub.groups

    @property
    def where(self) -> Expression | None:
        """Of the subscriber."""
        return self._sub.where

    def empty(self, name: Any) -> Table:
        """As of the subscriber."""
        return self._sub.empty(name)

    def recv(self, timeout: float | None = None) -> Batch:
        """The next batch that is there."""
        batch = self._sub.recv(0)
        if not batch and not batch.loss:
            raise ClosedError("the queue is empty")
        return batch

    def stats(self) -> dict[str, Any]:
        """Of the subscriber."""
        return self._sub.stats()

    def explain(self) -> str:
        """Of the subscriber."""
        return self._sub.explain()

    def close(self) -> None:
        """Nothing: the subscriber belongs to others."""


def _storm(library: str, queries: Queries, plan: Scale) -> Iterator[Measurement]:
    of_table, of_source = queries
    foreign, ours = Routes(FOREIGN, table=FOREIGN_TABLE), Routes(OURS, table=OUR_TABLE)
    events = foreign.events + ours.events
    with ExitStack() as stack:
        stack.callback(foreign.close)
        stack.callback(ours.close)
        everything = [stack.enter_context(Subscriber("route", tables=["route"])) for _ in range(2)]
        wanted = stack.enter_context(
            Subscriber("route", tables={"route": COLUMNS}, where=field("table") == OUR_TABLE)
        )
        queued: list[tuple[int, int]] = []

        def fill() -> None:
            foreign.storm()
            ours.storm()
            queued.append(tuple(sub.stats()["buffer_used"] for sub in (everything[0], wanted)))

        def collected(sub: Subscriber) -> Side:
            feed = Queued(sub)
            return _checked(lambda: of_table(feed.collect("route")), ours.events, events)

        scanned = _checked(lambda: of_source(Queued(wanted)), ours.events, events)
        sides = [collected(everything[0]), collected(everything[1]), scanned]
        work = f"{events:,} changes of routes, {ours.events} of them wanted, grouped by {library}"
        rounds = [*alternate(sides, plan.rounds, before=fill, warm_up=1, seconds=plan.seconds / 4)]
        held, kept = queued[-1]
        note = f"the kernel held {held:,} bytes for all rows, {kept:,} for those wanted"
        yield _measured("scan" if library == "polars" else "duckdb_view", work, rounds, note)


def _snapshot(library: str, queries: Queries, plan: Scale) -> Iterator[Measurement]:
    of_table, of_source = queries
    foreign, ours = Routes(STANDING, table=FOREIGN_TABLE), Routes(OURS, table=OUR_TABLE)
    try:
        foreign.make()
        ours.make()
        rows = STANDING + OURS
        sides = [
            *[_checked(lambda: of_table(snapshot("route", "route")), OURS, rows) for _ in range(2)],
            _checked(lambda: of_source("route"), OURS, rows),
        ]
        rounds = [*alternate(sides, plan.rounds, warm_up=1, seconds=plan.seconds / 4)]
        work = f"a snapshot of {rows:,} routes, {OURS} of them wanted, grouped by {library}"
        yield _measured("scan" if library == "polars" else "duckdb_view", work, rounds, "")
    finally:
        foreign.remove()
        ours.remove()
        foreign.close()
        ours.close()


def _checked(query: Query, wanted: int, events: int) -> Side:
    """A side that finds `wanted` rows among `events`, which it counts as delivered."""
    run = timed(query)

    def turn() -> Turn:
        done = run()
        if done.delivered != wanted:
            raise AssertionError(f"{done.delivered} rows found of {wanted}")
        return Turn(done.cost, events)

    return turn


def _measured(subject: str, work: str, rounds: list[list[Turn]], note: str) -> Measurement:
    costs = [[turn.cost / turn.delivered for turn in turns] for turns in rounds]
    delivered = sum(turns[2].delivered for turns in rounds)
    return Measurement(
        section=SECTION,
        subject=subject,
        work=work,
        unit="ns/event",
        samples=tuple(ours for _, _, ours in costs),
        sent=delivered,
        delivered=delivered,
        ratios=tuple((first + again) / 2 / ours for first, again, ours in costs),
        control=tuple(first / again for first, again, _ in costs),
        reference="all rows, then the query",
        note=note,
    )
