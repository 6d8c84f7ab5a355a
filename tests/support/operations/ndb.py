"""The same sequences for pyroute2's NDB: `python -m tests.support.operations.ndb FIRST COUNT`.

After each one, an NDB that was there all the time is compared with a new one of the same library. Columns are
those by which a user knows an object, and only of tables that it keeps.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter
from importlib.metadata import version
from ipaddress import ip_address
from typing import Any

from tests.support.operations.player import Player
from tests.support.operations.sequences import Churn, sequence

QUIET = 2.0  # seconds after the last operation
COLUMNS = {
    "interfaces": ("index", "ifname", "mtu", "address", "master", "operstate"),
    "addresses": ("index", "family", "address", "prefixlen"),
    "routes": ("family", "table", "dst", "dst_len", "oif", "gateway", "priority", "type"),
    "neighbours": ("ifindex", "dst", "lladdr"),
    "rules": ("family", "priority", "src", "table", "action", "iifname", "oifname", "fwmark"),
}

Rows = dict[str, Counter[tuple[Any, ...]]]


def opened() -> Any:
    """An NDB of this namespace."""
    from pyroute2 import NDB

    return NDB(sources=[{"target": "localhost", "kind": "local"}], log="critical")


def rows(ndb: Any) -> Rows:
    """What it has."""
    return {
        table: Counter(
            tuple(row[name] for name in names)
            for row in getattr(ndb, table).dump()
            if not unheard(table, row)
        )
        for table, names in COLUMNS.items()
    }


def unheard(table: str, row: Any) -> bool:
    """Whether the kernel announces no such row to anybody: neighbours that it makes for multicast."""
    return table == "neighbours" and ip_address(row["dst"]).is_multicast


def differing(churn: Churn) -> dict[str, int]:
    """How many rows of each table differ after a sequence: stale ones and missing ones."""
    player = Player()
    try:
        with player.home.inside():
            ndb = opened()
        try:
            player.all(churn.prelude)
            for tool, operations in churn.bursts():
                player.burst(tool, operations)
            time.sleep(QUIET)
            had = rows(ndb)
        finally:
            ndb.close()
        with player.home.inside():
            fresh = opened()
        try:
            has = rows(fresh)
        finally:
            fresh.close()
    finally:
        player.leave()
    return {
        table: (had[table] - has[table]).total() + (has[table] - had[table]).total()
        for table in COLUMNS
        if had[table] != has[table]
    }


def main() -> None:
    """Print how many sequences differ, and in which tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("first", type=int)
    parser.add_argument("count", type=int)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    every = (sequence(seed) for seed in range(args.first, args.first + args.count))
    results = [differing(churn) for churn in every if churn.source == "route"]
    tables = Counter(table for found in results for table in found)
    print(f"pyroute2 {version('pyroute2')}: {sum(map(bool, results))} of {len(results)} sequences differ")
    for table, count in tables.most_common():
        print(f"{count:5} {table}")


if __name__ == "__main__":
    main()
