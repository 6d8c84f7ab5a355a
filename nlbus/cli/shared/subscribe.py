"""What every command that listens is asked: where, and how. And doing so."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar

import click

from nlbus import Groups, Subscriber
from nlbus.bus.transport import Transport
from nlbus.cli.shared.completion import group_words, source_names
from nlbus.cli.shared.options import flat, group_list, namespace, setting, transport_option, uid
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


OPTIONS = (
    click.argument("source", shell_complete=source_names),
    click.option(
        "-g", "--group", "--groups", "groups", type=group_list, multiple=True, metavar="G,...",
        shell_complete=group_words,
        help="Groups by name or number; may be given several times. Without it, the source's default groups.",
    ),
    click.option("-c", "--count", type=click.IntRange(1), metavar="N", help="End after exactly N events."),
    click.option("-s", "--seconds", type=click.FloatRange(0), metavar="S", help="End after S seconds."),
    click.option(
        "--buffer-events", type=click.IntRange(1), metavar="N",
        help="Let the kernel's receive buffer hold N events sent one by one (64 MB without it).",
    ),
    click.option(
        "--trust", type=uid, multiple=True, metavar="UID|any",
        help="Where processes publish, believe these users instead of ourselves and root; repeatable.",
    ),
    click.option(
        "--option", "options", type=setting, multiple=True, metavar="NAME=VALUE",
        help="An option of the source (`nlbus sources` lists them), a number; repeatable.",
    ),
    click.option(
        "--netns", type=namespace, metavar="NAME|PATH|PID", help="Listen in this network namespace.",
    ),
    click.option(
        "--all-nsid", is_flag=True,
        help="Hear the namespaces that have an id there, too (`ip netns list-id`).",
    ),
    transport_option,
)  # fmt: skip


def add_subscribe_options(command: Command) -> Command:
    """Give a command the argument SOURCE, the options of SubscribeOptions, --count and --seconds."""
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
) -> Subscriber:
    """A subscriber; stderr says that it listens, and what warnings there were. UsageError without groups.

    otherwise: the groups to join where none are given, instead of the default.
    """
    where = inside(netns, lambda: find(source))
    if not groups and not where.default and not otherwise:
        raise click.UsageError(f"{where.name} has no default groups: give some, as in --group 1,7")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        subscriber = Subscriber(
            where.name,
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
    for warning in caught:
        click.echo(f"nlbus: {warning.message}", err=True)
    announce(where, subscriber.groups, netns)
    return subscriber


def trusted_uids(trust: tuple[int | None, ...]) -> Any:
    """What --trust says, as a Subscriber wants it."""
    if not trust:
        return None
    return "any" if None in trust else trust


def announce(source: Source, groups: Groups, netns: str | int | None) -> None:
    """Say on stderr that it has begun, and of devices, at which end of udev."""
    place = "" if netns is None else f", in network namespace {netns}"
    moment = ""
    if source.name == "uevent":
        moment = " (after udev's rules)" if 2 in groups else " (before udev's rules; -g udev: after them)"
    names = ", ".join(group_names(source, groups))
    click.echo(f"nlbus: listening to {source.name}, groups {names}{place}{moment}", err=True)
