"""Links that flap, with their addresses: changes of operstate, joined with addresses.

python3 examples/flaps_with_addresses.py --seconds 60
nlbus record route flap.pcapng; python3 examples/flaps_with_addresses.py flap.pcapng --with duckdb
"""

import duckdb
import gather
import polars as pl

from nlbus import Table, snapshot

LINK = ["nl_time", "nl_row", "ifindex", "ifname", "operstate"]
ADDR = ["nl_op", "ifindex", "local", "address"]

SQL = """
    with changed as (
        select *, operstate != lag(operstate) over (partition by ifindex order by nl_time, nl_row) as changed
        from link
    ), flaps as (
        select ifindex, last(ifname order by nl_time, nl_row) as ifname,
               count(*) filter (changed)::uinteger as flaps,
               last(operstate order by nl_time, nl_row)::varchar as now
        from changed group by ifindex having flaps > 0
    ), addresses as (
        select ifindex, list(distinct coalesce(local, address) order by coalesce(local, address)) as addresses
        from addr where nl_op != 'del' group by ifindex
    )
    select ifindex, ifname, flaps, now, addresses
    from flaps left join addresses using (ifindex) order by flaps desc, ifindex
"""


def by_duckdb(link: Table, addr: Table) -> pl.DataFrame:
    """ifindex, ifname, changes of operstate, the last one, addresses; the most changes first."""
    return duckdb.sql(SQL).pl()


def by_polars(link: Table, addr: Table) -> pl.DataFrame:
    """The same."""
    state = pl.col("operstate").cast(pl.String)
    flaps = (
        pl.DataFrame(link.select(LINK))
        .sort("nl_time", "nl_row")
        .with_columns(now=state, changed=(state != state.shift()).over("ifindex"))
        .group_by("ifindex")
        .agg(pl.col("ifname").last(), flaps=pl.col("changed").sum(), now=pl.col("now").last())
        .filter(pl.col("flaps") > 0)
    )
    addresses = (
        pl.DataFrame(addr.select(ADDR))
        .filter(pl.col("nl_op").cast(pl.String) != "del")
        .group_by("ifindex")
        .agg(addresses=pl.coalesce("local", "address").unique().sort())
    )
    joined = flaps.join(addresses, on="ifindex", how="left")
    return joined.sort(["flaps", "ifindex"], descending=[True, False])


def main() -> None:
    """Listen, then print the links."""
    options = gather.options("Links that flap").parse_args()
    with gather.opened(options, "route", tables=["link", "addr"]) as feed:
        tables = gather.gathered(feed, ["link", "addr"], options.seconds)
    addr = tables["addr"] if options.file else Table.concat([snapshot("route", "addr"), tables["addr"]])
    flapped = gather.engine(options, by_polars, by_duckdb)(tables["link"], addr)
    for _, name, flaps, now, addresses in flapped.rows():
        print(f"{name:16}{flaps:5} changes, now {now:16}{' '.join(addresses or [])}")


if __name__ == "__main__":
    gather.run(main)
