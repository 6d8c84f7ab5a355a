"""Running programs for events: the options of `nlbus listen --exec`, and what it shares with `nlbus run`."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import click

from nlbus.cli.render.view_options import ViewOptions
from nlbus.cli.shared.logs import log_to_stderr
from nlbus.cli.shared.options import flat
from nlbus.cli.shared.program_options import ProgramOptions
from nlbus.cli.shared.shutdown import ending_signals
from nlbus.cli.shared.stderr import report
from nlbus.cli.shared.subscribe import announce, trusted_uids
from nlbus.cli.shared.subscribe_options import SubscribeOptions
from nlbus.listener.command import TIMEOUT, Command
from nlbus.listener.engine import Engine
from nlbus.listener.rule import Rule

ALWAYS = ("handled", "failed", "lost")  # counters that are shown even if they are 0


def run_program(
    view_options: ViewOptions,
    program_options: ProgramOptions,
    count: int | None,
    seconds: float | None,
    subscription: SubscribeOptions,
) -> bool:
    """Run the program for each matching event. Return whether anything was lost."""
    assert program_options.command is not None
    given = view_options
    if given.columns or given.raw or given.everything or given.local or given.output != "text":
        raise click.UsageError(
            "--exec cannot be combined with -o, --columns, -v, --local or --raw: it prints no events"
        )
    if subscription["others"]:
        raise click.UsageError("--exec is of one source: `nlbus run` has rules of several")
    if subscription["all_nsid"]:
        raise click.UsageError("--exec cannot be combined with --all-nsid: it covers one network namespace")
    limits = dict(program_options.limits)
    command = Command(
        program_options.command, shell=limits.pop("shell", False), timeout=limits.pop("timeout", TIMEOUT)
    )
    command.check()
    caution(command)
    rule = Rule(
        source=subscription["source"],
        handler=command,
        groups=flat(subscription["groups"]) or None,
        tables=view_options.tables or None,
        match=view_options.match,
        where=view_options.where,
        debounce=limits.pop("debounce", 0.0),
        initial=program_options.initial,
        repair=program_options.repair or None,
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


def caution(command: Command, rule: str = "") -> None:
    """Report on stderr what a program gets as it is, although a shell would interpret it."""
    if command.unexpanded:
        how = "with shell = true" if rule else "with --shell"
        report(
            f"{rule or '--exec'}: {command.unexpanded} reaches the program as it is: COMMAND is a script of "
            f"/bin/sh only {how}; the event is in the environment"
        )


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
