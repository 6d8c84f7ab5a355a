"""Messages per second and group, of any kernel source.

python3 examples/group_rates.py --source route --seconds 10
nlbus record route day.pcapng; python3 examples/group_rates.py day.pcapng --with duckdb
"""

import duckdb
import gather
import numpy as np
import polars as pl

from nlbus import Batch
from nlbus.sources import find, group_names

SQL = """
    select time_bucket(interval '1 second', time) as second, "group", sum(count)::uinteger as messages
    from counts group by second, "group" order by second, "group"
"""


def counts_of(batches: list[Batch]) -> pl.DataFrame:
    """One row per batch and group: time, group, count. No Python object per message."""
    times, groups, counts = [], [], []
    for batch in batches:
        group, count = np.unique(batch.messages["group"], return_counts=True)
        times.append(np.full(len(group), batch.time_ns, "M8[ns]"))
        groups.append(group)
        counts.append(count.astype("u4"))
    if not times:
        return pl.DataFrame(schema={"time": pl.Datetime("ns"), "group": pl.UInt32, "count": pl.UInt32})
    columns = {"time": times, "group": groups, "count": counts}
    return pl.DataFrame({name: np.concatenate(parts) for name, parts in columns.items()})


def by_duckdb(counts: pl.DataFrame) -> pl.DataFrame:
    """second, group, messages."""
    return duckdb.sql(SQL).pl()


def by_polars(counts: pl.DataFrame) -> pl.DataFrame:
    """The same."""
    by = pl.col("time").dt.truncate("1s").alias("second"), "group"
    return counts.group_by(*by).agg(messages=pl.col("count").sum()).sort("second", "group")


def main() -> None:
    """Listen, then print the rates."""
    parser = gather.options("Messages per second and group")
    parser.add_argument("--source", default="route")
    options = parser.parse_args()
    with gather.opened(options, options.source) as feed:
        batches = list(gather.batches(feed, options.seconds))
    for second, group, messages in gather.engine(options, by_polars, by_duckdb)(counts_of(batches)).rows():
        name = group_names(find(options.source), [group])[0] if group else "(to us alone)"
        print(f"{second:%H:%M:%S} {name:24}{messages:8} a second")


if __name__ == "__main__":
    gather.run(main)
