"""The tree of the processes that began while we listened, with their exit codes.

python3 examples/process_tree.py --seconds 5
nlbus record proc build.pcapng; python3 examples/process_tree.py build.pcapng --with duckdb
"""

import duckdb
import gather
import polars as pl

from nlbus import Table, snapshot

SQL = """
    with recursive forked as (
        select child_tgid as pid, first(parent_tgid order by nl_time, timestamp_ns) as parent
        from fork where child_pid = child_tgid group by child_tgid
    ), ended as (
        select process_tgid as pid, last(exit_code order by nl_time, timestamp_ns) as exit_code
        from exit where process_pid = process_tgid group by process_tgid
    ), tree as (
        select pid, parent, 0 as depth, format('{:010d}', pid) as path
        from forked where parent not in (select pid from forked)
        union all
        select forked.pid, forked.parent, depth + 1, path || format('/{:010d}', forked.pid)
        from forked join tree on forked.parent = tree.pid
        where depth < 100
    )
    select tree.pid, parent, depth, exit_code from tree left join ended using (pid) order by path
"""


def by_duckdb(fork: Table, exit: Table) -> pl.DataFrame:
    """pid, parent, depth, exit_code (null: still running); parents before their children."""
    return duckdb.sql(SQL).pl()


def by_polars(fork: Table, exit: Table) -> pl.DataFrame:
    """The same."""
    forked = (
        pl.DataFrame(fork)
        .filter(pl.col("child_pid") == pl.col("child_tgid"))  # else it is a thread
        .sort("nl_time", "timestamp_ns")
        .group_by(pid="child_tgid")
        .agg(parent=pl.col("parent_tgid").first())
    )
    ended = (
        pl.DataFrame(exit)
        .filter(pl.col("process_pid") == pl.col("process_tgid"))
        .sort("nl_time", "timestamp_ns")
        .group_by(pid="process_tgid")
        .agg(pl.col("exit_code").last())
    )
    own = pl.col("pid").cast(pl.String).str.zfill(10)
    level = forked.join(forked, left_on="parent", right_on="pid", how="anti").with_columns(path=own)
    levels = []
    while len(level) and len(levels) <= 100:
        levels.append(level.with_columns(depth=pl.lit(len(levels), pl.Int32)))
        above = level.select(parent="pid", above="path")
        level = forked.join(above, on="parent").select("pid", "parent", path=pl.col("above") + "/" + own)
    tree = pl.concat(levels) if levels else level.with_columns(depth=pl.lit(0, pl.Int32))
    return tree.join(ended, on="pid", how="left").sort("path").select("pid", "parent", "depth", "exit_code")


def ended(code: int | None) -> str:
    """An exit code as wait() has it."""
    if code is None:
        return "runs"
    return f"signal {code & 0x7F}" if code & 0x7F else f"exit {code >> 8}"


def main() -> None:
    """Listen, then print the tree."""
    options = gather.options("A tree of new processes").parse_args()
    with gather.opened(options, "proc") as feed:
        tables = gather.gathered(feed, ["fork", "exit", "comm"], options.seconds)
    names = [tables["comm"]] if options.file else [snapshot("proc", "comm"), tables["comm"]]
    name_of = {row["process_pid"]: row["comm"] for table in names for row in table.iter_rows()}
    tree = gather.engine(options, by_polars, by_duckdb)(tables["fork"], tables["exit"])
    for pid, parent, depth, code in tree.rows():
        if not depth:
            print(f"{parent} {name_of.get(parent, '?')}")
        print(f"{'  ' * depth}  {pid} {name_of.get(pid, '?')} ({ended(code)})")


if __name__ == "__main__":
    gather.run(main)
