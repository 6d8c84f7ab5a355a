"""Running programs for events: the options of `nlbus listen --exec`, and what it shares with `nlbus run`."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from types import FrameType
from typing import Any

import click

from nlbus.cli.render.view import ViewOptions
from nlbus.cli.shared.options import Count, Seconds, flat
from nlbus.cli.shared.shutdown import ending_signals
from nlbus.cli.shared.stderr import log_to_stderr, report
from nlbus.cli.shared.subscribe import SubscribeOptions, announce, trusted_uids
from nlbus.listener.command import TIMEOUT, Command
from nlbus.listener.dispatch import MAX_QUEUE, MAX_WORKERS
from nlbus.listener.engine import Engine
from nlbus.listener.rule import Rule

ALWAYS = ("handled", "failed", "lost")  # counters that are shown even if they are 0


@dataclass(frozen=True)
class ProgramOptions:
    """The values of the options about programs."""

    command: str | None
    initial: bool
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
        help="Deliver current objects (devices, links, connections ...) first, and again after a loss.",
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
    def with_program_options(*, program: str | None, initial: bool, **others: Any) -> None:
        names = ("shell", "debounce", "timeout", "workers", "queue", "overflow")
        limits = {name: others.pop(name) for name in names}
        given = {name: value for name, value in limits.items() if value}
        command(program_options=ProgramOptions(program, initial, given), **others)

    for option in reversed(OPTIONS):
        with_program_options = option(with_program_options)
    return with_program_options


def run_program(
    view_options: ViewOptions,
    program_options: ProgramOptions,
    count: int | None,
    seconds: float | None,
    subscription: SubscribeOptions,
) -> bool:
    """Run the program for each matching event. Return whether anything was lost."""
    assert program_options.command is not None
    if view_options.columns or view_options.raw or view_options.everything or view_options.output != "text":
        raise click.UsageError(
            "--exec cannot be combined with -o, --columns, -v or --raw: it prints no events"
        )
    if subscription["all_nsid"]:
        raise click.UsageError("--exec cannot be combined with --all-nsid: it covers one network namespace")
    limits = dict(program_options.limits)
    command = Command(
        program_options.command, shell=limits.pop("shell", False), timeout=limits.pop("timeout", TIMEOUT)
    )
    command.check()
    rule = Rule(
        source=subscription["source"],
        handler=command,
        groups=flat(subscription["groups"]) or None,
        tables=view_options.tables or None,
        match=view_options.match,
        where=view_options.where,
        debounce=limits.pop("debounce", 0.0),
        initial=program_options.initial,
        netns=subscription["netns"],
        settings={
            "options": dict(subscription["options"]),
            "trust": trusted_uids(subscription["trust"]),
            "buffer_events": subscription["buffer_events"],
        },
    )
    engine = Engine([rule], **limits)
    announce(rule.resolved_source, rule.joined_groups, subscription["netns"])
    with log_to_stderr():
        return serve(engine, count, seconds)


def serve(
    engine: Engine,
    count: int | None = None,
    seconds: float | None = None,
    at_end: Callable[[], None] = lambda: None,
) -> bool:
    """Run the engine until it ends or a signal ends it, and report totals. Return whether anything was lost.

    at_end: called before waiting for handlers.
    """
    try:
        with ended_by_signals(engine):
            engine.run(count, seconds)
    finally:
        at_end()
        forgotten = engine.close()
        total = engine.counts() | {"lost": engine.lost, "not handled": forgotten}
        words = [f"{total.pop('matched')} events"]
        words += [f"{number} {name}" for name, number in total.items() if number or name in ALWAYS]
        report(", ".join(words))
    return bool(total["lost"] or total["dropped"])


@contextmanager
def ended_by_signals(engine: Engine) -> Iterator[None]:
    """Let signals stop the engine. Ctrl-C does not reach the programs, which have sessions of their own."""

    def end(number: int, frame: FrameType | None) -> None:
        engine.stop()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, end) for number in ending_signals()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
