"""The options of commands that subscribe, and `subscribe`, which opens the subscriber."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import click

from nlbus import Groups, Merged, Subscriber, merge
from nlbus.bus.transport import Transport
from nlbus.cli.render.interface_names import InterfaceNames
from nlbus.cli.render.view import OF_ONE_TABLE, View
from nlbus.cli.render.view_options import ViewOptions
from nlbus.cli.shared.options import (
    flat,
)
from nlbus.cli.shared.stderr import report
from nlbus.cli.shared.subscribe_options import SubscribeOptions
from nlbus.errors import SchemaError
from nlbus.filters import HEADS, Wanted
from nlbus.kernel.netns import inside
from nlbus.sources import Source, find, group_names


def subscribe(
    source: str,
    others: tuple[str, ...],
    groups: tuple[list[str], ...],
    buffer_events: int | None,
    trust: tuple[int | None, ...],
    options: tuple[tuple[str, float], ...],
    netns: str | int | None,
    all_nsid: bool,
    transport: Transport,
    otherwise: Sequence[str] = (),
    snapshot: bool | Sequence[str] = False,
    repair: bool | None = None,
    initial: bool = False,
    wanted: Wanted | None = None,
    facts: bool = False,
) -> Subscriber:
    """Open a subscriber, and report on stderr that it listens. UsageError if there is no group to join.

    otherwise: the groups to join instead of the default, if `groups` is empty. initial: show a
    snapshot that `repair` needs. wanted: of Subscriber.narrow. facts: read those that the source offers.
    """
    found = inside(netns, lambda: find(source))
    if not groups and not found.default and not otherwise:
        raise click.UsageError(f"{found.name} has no default groups: pass --group, such as --group 1,7")
    by_head = None if wanted is None else wanted.get(HEADS, [None])[0]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        subscriber = Subscriber(
            found.name,
            flat(groups) or list(otherwise) or None,
            trust=trusted_uids(trust),
            buffer_events=buffer_events,
            options=dict(options) | ({"facts": 1} if facts else {}),
            netns=netns,
            all_nsid=all_nsid,
            transport=transport,
            snapshot=snapshot,
            repair=repair,
            on_loss="ignore",
            where=by_head,
            **accepting(found),
        )
    if wanted is not None and by_head is None:
        subscriber.narrow(wanted)
    for warning in caught:
        report(str(warning.message))
    announce(found, subscriber.groups, netns)
    if found.answers is not None:
        report(
            f"{found.name}: every packet is accepted as soon as it is read; programs decide with verdict()"
        )
    while repair and not initial and not subscriber.recv().complete:
        pass  # it knows the current objects now, nobody asked to see them
    return subscriber


def accepting(source: Source) -> dict[str, Any]:
    """Keywords of a subscriber that only listens: no packet may wait for a verdict that never comes."""
    return {} if source.answers is None else {"accept_all": True, "at_close": "accept"}


def subscribe_all(
    subscription: SubscribeOptions, views: Mapping[str, View], initial: bool = False, repair: bool = False
) -> Merged:
    """Open a subscriber of each source, for what its view shows, as one feed. UsageError for --group."""
    if subscription["groups"] or subscription["options"]:
        raise click.UsageError("--group and --option are of one source: name tables with --table instead")
    with ExitStack() as opened:
        found = []
        for name, view in views.items():
            of: SubscribeOptions = {**subscription, "source": name}
            one = subscribe(
                **of,
                otherwise=view.groups,
                snapshot=view.present(initial or repair, keyed=repair),
                repair=repair or None,
                initial=initial,
                wanted=view.wanted,
                facts=view.asks_facts,
            )
            opened.callback(one.close)
            found.append(one)
        merged = merge(found)
        opened.pop_all()
    return merged


def views_of(
    subscription: SubscribeOptions, view_options: ViewOptions, names: InterfaceNames
) -> dict[str, View]:
    """The views of all sources. Those without a table or column to show are left out, and reported.

    UsageError for a source twice, or a format of one table; SchemaError if no source has anything to show.
    """
    wanted = [subscription["source"], *subscription["others"]]
    if len(set(wanted)) < len(wanted):
        raise click.UsageError(f"each source once, not {' '.join(wanted)}")
    if view_options.output in OF_ONE_TABLE:
        raise click.UsageError(f"{view_options.output} has the rows of one table: name one source")
    views, unfit = dict[str, View](), list[SchemaError]()
    for name in wanted:
        try:
            views[name] = View(
                inside(subscription["netns"], lambda name=name: find(name)),  # type: ignore[misc]
                view_options,
                names,
            )
        except SchemaError as error:
            unfit.append(error)
            report(f"not listening to {name}: {error}")
    if not views:
        raise unfit[0]
    return views


def trusted_uids(trust: tuple[int | None, ...]) -> Any:
    """The value of --trust as a Subscriber takes it."""
    if not trust:
        return None
    return "any" if None in trust else trust


def announce(source: Source, groups: Groups, netns: str | int | None) -> None:
    """Report on stderr that listening has begun; for uevent, also whether before or after udev's rules."""
    place = "" if netns is None else f", in network namespace {netns}"
    moment = ""
    if source.name == "uevent":
        moment = " (after udev's rules)" if 2 in groups else " (before udev's rules; -g udev: after them)"
    names = ", ".join(group_names(source, groups))
    report(f"listening to {source.name}, groups {names}{place}{moment}")
