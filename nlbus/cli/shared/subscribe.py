"""The options of commands that subscribe, and `subscribe`, which opens the subscriber."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar

import click

from nlbus import Groups, Subscriber
from nlbus.bus.transport import Transport
from nlbus.cli.shared.completion import group_words, source_names
from nlbus.cli.shared.options import (
    Count,
    Seconds,
    flat,
    group_list,
    namespace,
    setting,
    transport_option,
    uid,
)
from nlbus.cli.shared.stderr import report
from nlbus.filters.messages import Wanted
from nlbus.kernel.netns import inside
from nlbus.sources import Source, find, group_names

Command = TypeVar("Command", bound=Callable[..., Any])


class SubscribeOptions(TypedDict):
    """The values of SOURCE and of the options that `subscribe` takes."""

    source: str
    groups: tuple[list[str], ...]
    buffer_events: int | None
    trust: tuple[int | None, ...]
    options: tuple[tuple[str, float], ...]
    netns: str | int | None
    all_nsid: bool
    transport: Transport


count_option = click.option("-c", "--count", type=Count(), metavar="N", help="End after exactly N events.")
OPTIONS = (
    click.argument("source", shell_complete=source_names),
    click.option(
        "-g", "--group", "--groups", "groups", type=group_list, multiple=True, metavar="G,...",
        shell_complete=group_words,
        help="Join these groups, by name or number; repeatable. Default: the default groups of SOURCE.",
    ),
    count_option,
    click.option("-s", "--seconds", type=Seconds(), metavar="S", help="End after S seconds."),
    click.option(
        "--buffer-events", type=Count(), metavar="N",
        help="Size the kernel's receive buffer for N events sent one by one. Default: 64 MB.",
    ),
    click.option(
        "--trust", type=uid, multiple=True, metavar="UID|any",
        help="On the bus, accept events of these users instead of your own and root; repeatable.",
    ),
    click.option(
        "--option", "options", type=setting, multiple=True, metavar="NAME=VALUE",
        help="Set a numeric option of the source (`nlbus sources` lists them); repeatable.",
    ),
    click.option(
        "--netns", type=namespace, metavar="NAME|PATH|PID", help="Listen in this network namespace.",
    ),
    click.option(
        "--all-nsid", is_flag=True,
        help="Also receive from the namespaces that have an id there (`ip netns list-id`).",
    ),
    transport_option,
)  # fmt: skip


def add_subscribe_options(command: Command) -> Command:
    """Add the argument SOURCE, the options of SubscribeOptions, --count and --seconds to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def subscribe(
    source: str,
    groups: tuple[list[str], ...],
    buffer_events: int | None,
    trust: tuple[int | None, ...],
    options: tuple[tuple[str, float], ...],
    netns: str | int | None,
    all_nsid: bool,
    transport: Transport,
    otherwise: Sequence[str] = (),
    snapshot: bool | Sequence[str] = False,
    wanted: Wanted | None = None,
) -> Subscriber:
    """Open a subscriber, and report on stderr that it listens. UsageError if there is no group to join.

    otherwise: the groups to join instead of the default, if `groups` is empty. wanted: of Subscriber.narrow.
    """
    found = inside(netns, lambda: find(source))
    if not groups and not found.default and not otherwise:
        raise click.UsageError(f"{found.name} has no default groups: pass --group, such as --group 1,7")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        subscriber = Subscriber(
            found.name,
            flat(groups) or list(otherwise) or None,
            trust=trusted_uids(trust),
            buffer_events=buffer_events,
            options=dict(options),
            netns=netns,
            all_nsid=all_nsid,
            transport=transport,
            snapshot=snapshot,
            on_loss="ignore",
        )
    if wanted is not None:
        subscriber.narrow(wanted)
    for warning in caught:
        report(str(warning.message))
    announce(found, subscriber.groups, netns)
    return subscriber


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
