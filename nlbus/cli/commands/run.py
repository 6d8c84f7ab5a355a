"""`nlbus run`: a file of rules, as a service."""

import signal
import threading
from types import FrameType

import click

from nlbus.bus.stream import log
from nlbus.cli.shared.programs import logged, serve
from nlbus.cli.shared.subscribe import announce
from nlbus.errors import NlbusError
from nlbus.kernel.groups import Groups
from nlbus.listener.engine import PATIENCE, Engine
from nlbus.listener.function import Loop
from nlbus.listener.notify import Notifier
from nlbus.listener.rule import named
from nlbus.listener.rules import Rules, load_rules


@click.command()
@click.argument("file")
@click.option("--check", is_flag=True, help="Read FILE, say what is wrong with it, and end.")
def run(file: str, check: bool) -> None:
    """Run the programs and functions that the rules in FILE have for events.

    \b
    workers = 4                  # at a time
    queue = 1024                 # events that wait; overflow = "drop" drops more
    [[rule]]
    source = "uevent"            # as of `nlbus listen`: also table, netns ...
    groups = ["udev"]            # after udev's rules; "kernel": before them
    match = { ACTION = "add", SUBSYSTEM = "net" }
    exec = "./plug.sh --fast"    # or a list; shell = true: a script of /bin/sh
    timeout = 30                 # seconds
    initial = true               # first for all that is there
    [[rule]]
    source = "route"
    where = 'operstate == down and ifname ~ "eth*"'
    debounce = 0.5               # seconds of quiet
    python = "alarms:link_down"  # a function of a module, maybe beside FILE

    Programs find the event in their environment, as `nlbus listen --help` says, and run in FILE's folder.
    FILE is checked whole before anything runs; an error names the line. SIGHUP reads it again: if it is
    wrong, the old rules stay, and the log says why. Modules, and the limits of all, stay as they were.

    SIGTERM and Ctrl-C end it: programs get SIGTERM, and SIGKILL 2 seconds later. To systemd it tells when it
    is ready, reloads and stops, and answers its watchdog (Type=notify; systemd/nlbus-run.service).

    \b
    nlbus run --check rules.toml
    nlbus run rules.toml
    nlbus test rules.toml flap.pcapng    what would run for these events
    """
    _Service(file, check).run()


class _Service:
    def __init__(self, file: str, check: bool) -> None:
        self._file = file
        self._check = check
        self._loop = Loop()

    def run(self) -> None:
        """Until a signal ends it, or a source fails."""
        rules = load_rules(self._file, self._loop)
        if self._check:
            click.echo(f"{self._file}: {_count(rules)}: {', '.join(named(rules.rules))}")
            return
        notifier = Notifier()
        beat = None if notifier.watchdog is None else (notifier.watchdog, notifier.alive)
        self._loop.begin()
        with logged():
            engine = Engine(
                rules.rules, workers=rules.workers, queue=rules.queue, overflow=rules.overflow, every=beat
            )
            _greet(rules)
            self._serve(engine, rules, notifier)

    def _serve(self, engine: Engine, rules: Rules, notifier: Notifier) -> None:
        def reload() -> None:
            notifier.reloading()
            try:
                new = load_rules(self._file, self._loop)
                engine.replace(new.rules)
            except NlbusError as error:
                log.error("the old rules stay: %s", getattr(error, "strerror", None) or error)
            else:
                log.info("read again: %s", _count(new))
                _greet(new)
                if (new.workers, new.queue, new.overflow) != (rules.workers, rules.queue, rules.overflow):
                    log.warning("workers, queue and overflow are as they were until the next start")
            notifier.ready(_status(engine))

        def end() -> None:
            notifier.stopping()
            self._loop.end(PATIENCE)

        def hang_up(number: int, frame: FrameType | None) -> None:
            engine.call(reload)

        main = threading.current_thread() is threading.main_thread()
        previous = signal.signal(signal.SIGHUP, hang_up) if main else None
        try:
            notifier.ready(_status(engine))
            serve(engine, at_end=end)
        finally:
            if main:
                signal.signal(signal.SIGHUP, previous)


def _greet(rules: Rules) -> None:
    heard: dict[tuple[str, object], Groups] = {}
    for rule in rules.rules:
        place = (rule.source, rule.netns)
        heard[place] = heard.get(place, Groups()) | rule.joined_groups
    sources = {rule.source: rule.resolved_source for rule in rules.rules}
    for (source, netns), groups in heard.items():
        announce(sources[source], groups, netns if isinstance(netns, str | int) else None)


def _count(rules: Rules) -> str:
    return f"{len(rules.rules)} rule{'s' * (len(rules.rules) != 1)}"


def _status(engine: Engine) -> str:
    return f"{len(engine.rules)} rules"
