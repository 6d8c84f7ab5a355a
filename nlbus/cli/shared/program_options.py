"""The options of `nlbus listen` about programs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click

from nlbus.cli.shared.options import Count, Seconds

# Of nlbus.listener.
TIMEOUT = 60.0
MAX_WORKERS = 1024
MAX_QUEUE = 1_000_000


@dataclass(frozen=True)
class ProgramOptions:
    """The values of the options about programs."""

    command: str | None
    initial: bool
    repair: bool
    limits: dict[str, Any]  # only those that were passed

    def __post_init__(self) -> None:
        if self.command is None and self.limits:
            raise click.UsageError(f"--{next(iter(self.limits))} requires --exec")


OPTIONS = (
    click.option(
        "-x", "--exec", "program", metavar="COMMAND",
        help="Run COMMAND for each event, without a shell.",
    ),
    click.option("--shell", is_flag=True, help="Run COMMAND as a script of /bin/sh."),
    click.option(
        "--initial", is_flag=True,
        help="Deliver current objects (devices, links, connections ...) first.",
    ),
    click.option(
        "--repair", is_flag=True,
        help="Also deliver what the kernel changes without a message, as routes that go with their link, and "
        "after a loss the differences.",
    ),
    click.option(
        "--debounce", type=Seconds(), metavar="S",
        help="Wait until a device or key was quiet for S seconds, then handle its last event only.",
    ),
    click.option(
        "--timeout", type=Seconds(positive=True), metavar="S",
        help=f"End a program, and everything it started, after S seconds. Default: {TIMEOUT:g}.",
    ),
    click.option(
        "--workers", type=Count(most=MAX_WORKERS), metavar="N", help="Programs at a time. Default: 4."
    ),
    click.option(
        "--queue", type=Count(most=MAX_QUEUE), metavar="N", help="Events that may wait. Default: 1024."
    ),
    click.option(
        "--overflow", type=click.Choice(["block", "drop"]),
        help="When the queue is full, leave further events in the kernel's buffer (block, the default) or "
        "drop them. Both count what is lost.",
    ),
)  # fmt: skip


def add_program_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add these options to a command, which receives them as `program_options`."""

    @wraps(command)
    def with_program_options(*, program: str | None, initial: bool, repair: bool, **others: Any) -> None:
        names = ("shell", "debounce", "timeout", "workers", "queue", "overflow")
        limits = {name: others.pop(name) for name in names}
        given = {name: value for name, value in limits.items() if value}
        command(program_options=ProgramOptions(program, initial, repair, given), **others)

    for option in reversed(OPTIONS):
        with_program_options = option(with_program_options)
    return with_program_options
