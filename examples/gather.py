"""Shared by the recipes: events of a capture file, or of this machine for some seconds, as tables."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from nlbus import Batch, ClosedError, NlbusError, Subscriber, Table, open_capture
from nlbus.bus.stream import Feed


def options(about: str) -> argparse.ArgumentParser:
    """The command line of a recipe."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("file", nargs="?", help="a capture by `nlbus record`; without it, this machine, live")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to listen")
    parser.add_argument("--with", dest="engine", choices=["polars", "duckdb"], default="polars")
    return parser


def run(recipe: Callable[[], None]) -> None:
    """Run it; an error of nlbus is printed in one line."""
    try:
        recipe()
    except NlbusError as error:
        sys.exit(str(getattr(error, "strerror", None) or error))


def opened(options: argparse.Namespace, source: str, **keywords: Any) -> Feed:
    """The capture, or a subscriber."""
    return open_capture(options.file, source) if options.file else Subscriber(source, **keywords)


def batches(feed: Feed, seconds: float) -> Iterator[Batch]:
    """What comes in `seconds`, or to the end of a capture; Ctrl-C ends it, too."""
    end = time.monotonic() + seconds
    try:
        while not feed.live or time.monotonic() < end:
            yield feed.recv(max(0.0, end - time.monotonic()))
    except (ClosedError, KeyboardInterrupt):
        return


def gathered(feed: Feed, names: list[str], seconds: float) -> dict[str, Table]:
    """The rows of these tables that come meanwhile."""
    tables: dict[str, list[Table]] = {name: [] for name in names}
    for batch in batches(feed, seconds):
        for name, some in tables.items():
            some.append(batch.table(name))
    if not any(tables.values()):
        return {name: Batch.from_datagrams(feed.source.name, []).table(name) for name in names}
    whole = {name: Table.concat(some) for name, some in tables.items()}
    loss = whole[names[0]].loss
    if loss:
        print(f"incomplete: {loss}", file=sys.stderr)
    return whole


def engine(options: argparse.Namespace, by_polars: Callable[..., Any], by_duckdb: Callable[..., Any]) -> Any:
    """The engine that --with selects."""
    return by_polars if options.engine == "polars" else by_duckdb
