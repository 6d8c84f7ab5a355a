"""Programs for events: the options of `nlbus listen --exec`, and what it shares with `nlbus run`."""

import logging
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
from nlbus.cli.shared.options import flat
from nlbus.cli.shared.shutdown import ending_signals
from nlbus.cli.shared.subscribe import SubscribeOptions, announce, trusted_uids
from nlbus.listener.command import TIMEOUT, Command
from nlbus.listener.engine import Engine
from nlbus.listener.rule import Rule

ALWAYS = ("handled", "failed", "lost")  # told even where it is 0


@dataclass(frozen=True)
class ProgramOptions:
    """The values of the options about programs."""

    command: str | None
    initial: bool
    limits: dict[str, Any]  # those that were given

    def __post_init__(self) -> None:
        if self.command is None and self.limits:
            raise click.UsageError(f"--{next(iter(self.limits))} is about --exec")


OPTIONS = (
    click.option("-x", "--exec", "program", metavar="COMMAND", help="Run this for each event; no shell."),
    click.option("--shell", is_flag=True, help="COMMAND is a script of /bin/sh."),
    click.option(
        "--initial", is_flag=True,
        help="First all that is there (devices, links, connections ...), and again after a loss.",
    ),
    click.option(
        "--debounce", type=click.FloatRange(0), metavar="S",
        help="Only the last event of a device or key, once it was quiet for S seconds.",
    ),
    click.option(
        "--timeout", type=click.FloatRange(0, min_open=True), metavar="S",
        help=f"End a program, and all it has started, after S seconds (without it {TIMEOUT:g}).",
    ),
    click.option("--workers", type=click.IntRange(1), metavar="N", help="Programs at a time (without it 4)."),
    click.option("--queue", type=click.IntRange(1), metavar="N", help="Events that wait (without it 1024)."),
    click.option(
        "--overflow", type=click.Choice(["block", "drop"]),
        help="If more come: leave them in the kernel's buffer (without it), or drop them. Both are counted.",
    ),
)  # fmt: skip


def add_program_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options; it is called with a `program_options`."""

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
    """Run the program for each event that fits; whether anything was lost."""
    assert program_options.command is not None
    if view_options.columns or view_options.raw or view_options.everything or view_options.output != "text":
        raise click.UsageError("--exec prints nothing of an event: no -o, --columns, -v, --raw")
    if subscription["all_nsid"]:
        raise click.UsageError("--exec is of one network namespace: no --all-nsid")
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
    with logged():
        return serve(engine, count, seconds)


def serve(
    engine: Engine,
    count: int | None = None,
    seconds: float | None = None,
    at_end: Callable[[], None] = lambda: None,
) -> bool:
    """Run it until it ends, or a signal ends it. Says what was done; whether anything was lost.

    at_end: called before handlers are waited for.
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
        click.echo(f"nlbus: {', '.join(words)}", err=True)
    return bool(total["lost"] or total["dropped"])


@contextmanager
def ended_by_signals(engine: Engine) -> Iterator[None]:
    """Signals stop it; programs in sessions of their own do not hear of Ctrl-C but through us."""

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


@contextmanager
def logged() -> Iterator[None]:
    """What the library logs goes to stderr, as lines of ours."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("nlbus: %(message)s"))
    logger = logging.getLogger("nlbus")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
