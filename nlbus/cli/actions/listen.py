"""`nlbus listen`: print events and gaps, one per line."""

from collections.abc import Mapping
from typing import Unpack

import click

from nlbus.bus.stream import Feed
from nlbus.cli.render.interface_names import InterfaceNames
from nlbus.cli.render.times import Clock
from nlbus.cli.render.view import OF_ONE_TABLE, View
from nlbus.cli.render.view_options import ViewOptions
from nlbus.cli.shared.follow import LOSS_EXIT, follow, report_totals
from nlbus.cli.shared.output import check_binary
from nlbus.cli.shared.program_options import ProgramOptions
from nlbus.cli.shared.programs import run_program
from nlbus.cli.shared.shutdown import Shutdown
from nlbus.cli.shared.sinks import stdout_sink
from nlbus.cli.shared.stdout import discard_stdout
from nlbus.cli.shared.subscribe import subscribe, subscribe_all, views_of
from nlbus.cli.shared.subscribe_options import SubscribeOptions
from nlbus.kernel.netns import inside
from nlbus.sources import find

# Sources whose events have indices of interfaces.
NAMING = ("route", "packet", "sock_diag", "nflog", "nfqueue")


def listen(
    *,
    view_options: ViewOptions,
    program_options: ProgramOptions,
    count: int | None,
    seconds: float | None,
    fail_on_loss: bool,
    explain: bool,
    **subscription: Unpack[SubscribeOptions],
) -> None:
    """Print the events of SOURCE. `nlbus sources` lists the sources."""
    if program_options.command is not None and not explain:
        lost = run_program(view_options, program_options, count, seconds, subscription)
        if lost and fail_on_loss:
            raise click.exceptions.Exit(LOSS_EXIT)
        return
    Clock.local = view_options.local
    check_binary(view_options.output)
    initial, repair = program_options.initial, program_options.repair
    if (initial or repair) and view_options.output == "pcapng":
        option = "--initial" if initial else "--repair"
        raise click.UsageError(f"-o pcapng cannot be combined with {option}: a capture has events only")
    wanted = [subscription["source"], *subscription["others"]]
    names = InterfaceNames(
        live=any(name in NAMING for name in wanted),
        netns=subscription["netns"],
        all_nsid=subscription["all_nsid"],
    )
    if subscription["others"]:
        views = views_of(subscription, view_options, names)
        with subscribe_all(subscription, views, initial, repair) as merged:
            _print(merged, view_options, names, None, views, count, seconds, fail_on_loss, explain)
        return
    source = inside(subscription["netns"], lambda: find(subscription["source"]))
    view = View(source, view_options, names)
    if view_options.output in OF_ONE_TABLE:
        view.only  # noqa: B018 - raises before joining
    with subscribe(
        **subscription,
        otherwise=view.groups,
        snapshot=view.present(initial or repair, keyed=repair),
        repair=repair or None,
        initial=initial,
        wanted=view.wanted,
        facts=view.asks_facts,
    ) as subscriber:
        views = {source.name: view}
        _print(subscriber, view_options, names, view, views, count, seconds, fail_on_loss, explain)


def _print(
    feed: Feed,
    view_options: ViewOptions,
    names: InterfaceNames,
    view: View | None,
    views: Mapping[str, View],
    count: int | None,
    seconds: float | None,
    fail_on_loss: bool,
    explain: bool,
) -> None:
    if explain:
        click.echo(feed.explain())
        return
    names.update()  # now, before an interface can be deleted
    sink = None
    try:
        sink = stdout_sink(view_options.output, feed, view, lambda source: views.get(source.name))
        with Shutdown(feed) as shutdown:
            follow(feed, sink, shutdown, count, seconds)
    except BrokenPipeError:
        discard_stdout()
    lost = report_totals(feed.stats(), sink, feed.source)
    if lost and fail_on_loss:
        raise click.exceptions.Exit(LOSS_EXIT)
