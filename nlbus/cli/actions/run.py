"""`nlbus run`: run a rules file as a service."""

import signal
import threading
from types import FrameType

from nlbus._text import escape
from nlbus.bus.stream import log
from nlbus.cli.shared.logs import log_to_stderr
from nlbus.cli.shared.programs import caution, serve
from nlbus.cli.shared.stdout import write_all
from nlbus.cli.shared.subscribe import announce
from nlbus.errors import NlbusError
from nlbus.kernel.groups import Groups
from nlbus.listener.command import Command
from nlbus.listener.engine import PATIENCE, Engine
from nlbus.listener.function import Loop
from nlbus.listener.notify import Notifier
from nlbus.listener.rule import named
from nlbus.listener.rules import Rules, load_rules


def run(file: str, check: bool) -> None:
    """Run programs and Python functions for events, by the rules in FILE."""
    _Service(file, check).run()


class _Service:
    def __init__(self, file: str, check: bool) -> None:
        self._file = file
        self._check = check
        self._loop = Loop()

    def run(self) -> None:
        """Run until a signal ends it or a source fails."""
        rules = load_rules(self._file, self._loop)
        _caution(rules)
        if self._check:
            write_all(escape(f"{self._file}: {_count(rules)}: {', '.join(named(rules.rules))}") + "\n")
            return
        notifier = Notifier()
        beat = None if notifier.watchdog is None else (notifier.watchdog, notifier.alive)
        self._loop.begin()
        with log_to_stderr():
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
                log.info("reloaded: %s", _count(new))
                _caution(new)
                _greet(new)
                if (new.workers, new.queue, new.overflow) != (rules.workers, rules.queue, rules.overflow):
                    log.warning("workers, queue and overflow change only at the next start")
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


def _caution(rules: Rules) -> None:
    for name, rule in named(rules.rules).items():
        if isinstance(rule.handler, Command):
            caution(rule.handler, f"rule {name!r}")


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
