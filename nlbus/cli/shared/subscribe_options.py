"""The options of commands that subscribe."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click

from nlbus.cli.shared.completion import group_words, source_names
from nlbus.cli.shared.options import (
    Count,
    Seconds,
    group_list,
    namespace,
    setting,
    transport_option,
    uid,
)

if TYPE_CHECKING:
    from nlbus.bus.transport import Transport

Command = TypeVar("Command", bound=Callable[..., Any])


class SubscribeOptions(TypedDict):
    """The values of SOURCE, the others, and of the options that `subscribe` takes."""

    source: str
    others: tuple[str, ...]
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
    click.argument("others", metavar="[SOURCE]...", nargs=-1, shell_complete=source_names),
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
