"""`nlbus record`: write events to a capture file, or rows of a table to files for other programs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Unpack

import click

from nlbus.bus.stream import Feed
from nlbus.capture import Recorder
from nlbus.cli.render.interface_names import InterfaceNames
from nlbus.cli.render.view import View
from nlbus.cli.render.view_options import ViewOptions
from nlbus.cli.shared.follow import LOSS_EXIT, follow, report_totals
from nlbus.cli.shared.output import STDOUT, check_binary, new_file, recording_format, refuse_existing
from nlbus.cli.shared.shutdown import Shutdown
from nlbus.cli.shared.sinks import RecordingSink, table_sink
from nlbus.cli.shared.stdout import discard_stdout
from nlbus.cli.shared.subscribe import subscribe, subscribe_all, views_of
from nlbus.cli.shared.subscribe_options import SubscribeOptions
from nlbus.kernel.netns import inside
from nlbus.sources import find

ACTION = "recording to"


def record(
    *,
    file: str,
    view_options: ViewOptions,
    count: int | None,
    seconds: float | None,
    roll_size: int | None,
    roll_seconds: float | None,
    force: bool,
    fail_on_loss: bool,
    **subscription: Unpack[SubscribeOptions],
) -> None:
    """Record the events of SOURCE to FILE; - is stdout."""
    format = view_options.output
    if format == "auto":
        format = recording_format(file, subscription["source"], view_options.tables)
    view_options = replace(view_options, output=format)  # checks the combination
    check_binary(format, file)
    if format == "pcapng" and (roll_size or roll_seconds):
        raise click.UsageError("--roll-size and --roll-seconds require a table: .arrows or .parquet")
    if file == STDOUT and (roll_size or roll_seconds):
        raise click.UsageError(
            "--roll-size and --roll-seconds cannot be combined with stdout, which is one file"
        )
    if subscription["others"]:
        if format != "pcapng":
            raise click.UsageError(f"{format} has the rows of one table: name one source")
        views = views_of(subscription, view_options, InterfaceNames())
        with subscribe_all(subscription, views) as merged:
            _record(merged, None, file, format, count, seconds, force, None, None, fail_on_loss)
        return
    view = None
    if format != "pcapng":
        view = View(inside(subscription["netns"], lambda: find(subscription["source"])), view_options)
        view.only  # noqa: B018 - raises before joining
    with subscribe(
        **subscription,
        otherwise=view.groups if view else (),
        wanted=view.wanted if view else None,
        facts=view is not None and view.asks_facts,
    ) as subscriber:
        _record(subscriber, view, file, format, count, seconds, force, roll_size, roll_seconds, fail_on_loss)


def _record(
    feed: Feed,
    view: View | None,
    file: str,
    format: str,
    count: int | None,
    seconds: float | None,
    force: bool,
    roll_size: int | None,
    roll_seconds: float | None,
    fail_on_loss: bool,
) -> None:
    sink = None
    try:
        with (
            _sink(feed, view, file, format, force, roll_size, roll_seconds) as sink,
            Shutdown(feed) as shutdown,
        ):
            follow(feed, sink, shutdown, count, seconds)
    except BrokenPipeError:
        discard_stdout()
        return
    lost = report_totals(feed.stats(), sink, feed.source)
    if lost and fail_on_loss:
        raise click.exceptions.Exit(LOSS_EXIT)


@contextmanager
def _sink(
    subscriber: Feed,
    view: View | None,
    file: str,
    format: str,
    force: bool,
    roll_size: int | None,
    roll_seconds: float | None,
) -> Iterator[RecordingSink]:
    if view is None:
        # Unbuffered: each batch is one write.
        with new_file(file, force, ACTION, buffering=0) as out:
            yield RecordingSink(Recorder(out, subscriber, "stdout" if file == STDOUT else file))
        return
    if not (roll_size or roll_seconds):
        refuse_existing(file, force, ACTION)
    yield table_sink(sys.stdout.buffer if file == STDOUT else file, format, view, roll_size, roll_seconds)
