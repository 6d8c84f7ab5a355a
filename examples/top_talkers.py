"""The addresses that move the most bytes, in connections that ended while we listened or are still open.

    python3 examples/top_talkers.py --seconds 60
    nlbus record conntrack day.pcapng; python3 examples/top_talkers.py day.pcapng --with duckdb

The kernel counts bytes of connections that began while net.netfilter.nf_conntrack_acct was 1.
"""

import sys

import duckdb
import gather
import polars as pl

from nlbus import Table, snapshot

NAMES = ["orig_src", "orig_dst", "orig_bytes", "reply_bytes"]

SQL = """
    select orig_src as address, count(*) as connections,
           sum(orig_bytes)::ubigint as sent, sum(reply_bytes)::ubigint as received
    from flows
    group by orig_src
    order by coalesce(sent, 0) + coalesce(received, 0) desc, address
    limit 10
"""


def by_duckdb(flows: Table) -> pl.DataFrame:
    """Address, connections, bytes sent and received; the largest sum first."""
    return duckdb.sql(SQL).pl()


def by_polars(flows: Table) -> pl.DataFrame:
    """The same."""
    total = pl.sum_horizontal("sent", "received")
    return (
        pl.DataFrame(flows.select(NAMES))
        .group_by(address="orig_src")
        .agg(
            connections=pl.len(),
            sent=_sum("orig_bytes"),
            received=_sum("reply_bytes"),
        )
        .sort([total, "address"], descending=[True, False])
        .head(10)
    )


def _sum(name: str) -> pl.Expr:
    """The sum, as in SQL: null, not 0, if every value is null."""
    return pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum())


def flows_of(table: Table) -> Table:
    """Each connection once: its counters come with its end or with a snapshot."""
    return table.filter((table["nl_op"] == 2) | (table["nl_origin"] == 1))


def warn_unless_counted(flows: Table) -> None:
    """Warn about connections whose bytes the kernel did not count."""
    uncounted = int((~flows.valid("orig_bytes")).sum())
    if uncounted:
        print(
            f"WARNING: of {uncounted} of {len(flows)} connections the bytes are not known: the kernel did "
            "not count them. For those to come: sysctl net.netfilter.nf_conntrack_acct=1",
            file=sys.stderr,
        )


def main() -> None:
    """Listen, then print the table."""
    options = gather.options("Top talkers").parse_args()
    with gather.opened(options, "conntrack", groups=["destroy"]) as feed:
        ended = gather.gathered(feed, ["conntrack"], options.seconds)["conntrack"]
    tables = [ended] if options.file else [ended, snapshot("conntrack", "conntrack")]
    flows = Table.concat([flows_of(table) for table in tables])
    warn_unless_counted(flows)
    top = gather.engine(options, by_polars, by_duckdb)(flows)
    print(f"{'ADDRESS':40}{'CONNECTIONS':>12}{'SENT':>16}{'RECEIVED':>16}")
    for address, connections, *counts in top.rows():
        sent, received = ("?" if count is None else count for count in counts)
        print(f"{address:40}{connections:12}{sent:>16}{received:>16}")


if __name__ == "__main__":
    gather.run(main)
