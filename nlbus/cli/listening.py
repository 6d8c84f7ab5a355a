"""What every command that listens is asked: where, and how. And doing so."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar

import click

from nlbus import Subscriber
from nlbus.cli.options import flat, group_list, namespace, setting, uid
from nlbus.netns import inside
from nlbus.sources import find, group_names

Command = TypeVar("Command", bound=Callable[..., Any])


class Where(TypedDict):
    """The values of SOURCE and of the options that `subscribe` takes."""

    source: str
    groups: tuple[list[str], ...]
    buffer_events: int | None
    trust: tuple[int | None, ...]
    options: tuple[tuple[str, float], ...]
    netns: str | int | None
    all_nsid: bool


OPTIONS = (
    click.argument("source"),
    click.option(
        "-g", "--group", "--groups", "groups", type=group_list, multiple=True, metavar="G,...",
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
)  # fmt: skip


def listening_options(command: Command) -> Command:
    """Give a command the argument SOURCE, the options of Where, --count and --seconds."""
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
    otherwise: Sequence[str] = (),
) -> Subscriber:
    """A subscriber; stderr says that it listens, and what warnings there were. UsageError without groups.

    otherwise: the groups to join where none are given, instead of the default.
    """
    where = inside(netns, lambda: find(source))
    if not groups and not where.default and not otherwise:
        raise click.UsageError(f"{where.name} has no default groups: give some, as in --group 1,7")
    uids: Any = None
    if trust:
        uids = "any" if None in trust else trust
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        subscriber = Subscriber(
            where.name,
            flat(groups) or list(otherwise) or None,
            trust=uids,
            buffer_events=buffer_events,
            options=dict(options),
            netns=netns,
            all_nsid=all_nsid,
            on_loss="ignore",
        )
    for warning in caught:
        click.echo(f"nlbus: {warning.message}", err=True)
    names = ", ".join(group_names(where, subscriber.groups))
    place = "" if netns is None else f", in network namespace {netns}"
    click.echo(f"nlbus: listening to {where.name}, groups {names}{place}", err=True)
    return subscriber
