"""Listener: rules in Python, a decorator each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from nlbus.errors import BusyError, SchemaError
from nlbus.listener.dispatch import handle
from nlbus.listener.engine import PATIENCE, Engine
from nlbus.listener.function import Function, Loop
from nlbus.listener.plan import planned
from nlbus.listener.rule import Rule, named
from nlbus.table.conditions import parse

if TYPE_CHECKING:
    from nlbus.bus.options import Trust
    from nlbus.bus.stream import Feed
    from nlbus.kernel.netns import Netns
    from nlbus.schema.topic import Topic
    from nlbus.sources import GroupsLike
    from nlbus.table.expressions import Expression

Handler = TypeVar("Handler", bound=Callable[[dict[str, Any]], Any])

NOBODY = -1  # no descriptor: what is called in our own thread ends when it ends


class Listener:
    """Calls functions with events, those of one device or key in their order, in a few threads.

    A function gets a dict: of uevent the variables of the device, as programs of udev rules do; elsewhere the
    columns of the table that have a value, as of `Table.iter_rows`; of sources without tables the message's
    type and payload. Beside these nl_table, nl_op ("new", "change", "del"), nl_time (ns UTC), nl_origin
    ("live", "snapshot", "resync"), nl_group; nl_lost, where so many events or datagrams were lost since the
    rule's last event; nl_count, of how many a debounced event is the last.

    What a function raises is logged (logger "nlbus") and counted, and it goes on, also after sys.exit();
    `stop` ends it. An async function runs in an event loop in a thread of its own, all in the same one.
    """

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._loop = Loop()
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    def on(
        self,
        source: str,
        match: Mapping[str, str] | None = None,
        where: Expression | str | None = None,
        table: str | Topic | Iterable[str | Topic] | None = None,
        *,
        groups: GroupsLike | None = None,
        debounce: float = 0.0,
        initial: bool = False,
        netns: Netns = None,
        options: Mapping[str, float] | None = None,
        trust: Trust = None,
        buffer_events: int | None = None,
        name: str = "",
    ) -> Callable[[Handler], Handler]:
        """Let a function have the events that fit.

        match: globs by key, `|` between alternatives; all must fit. where: an expression of `field`, or a
        text such as 'mtu > 1500 and ifname ~ "eth*"'. table: only of these; a Topic on the bus. groups,
        netns, options, trust, buffer_events: as of a Subscriber; uevent's group "kernel" is before udev's
        rules, "udev" after them. debounce: the last event of a device or key, once it was quiet for so many
        seconds (at the latest after ten times that). initial: first an event for all that is there, and again
        after a loss.
        SchemaError, UnknownColumn, UnknownSource, KernelError.
        """

        def add(function: Handler) -> Handler:
            self._rules.append(
                Rule(
                    source=source,
                    handler=Function(function, self._loop),
                    name=name,
                    groups=groups,
                    tables=table,
                    match=match or {},
                    where=parse(where) if isinstance(where, str) else where,
                    debounce=debounce,
                    initial=initial,
                    netns=netns,
                    settings={"options": options or {}, "trust": trust, "buffer_events": buffer_events},
                )
            )
            return function

        return add

    def run(
        self,
        workers: int = 4,
        queue: int = 1024,
        overflow: str = "block",
        *,
        count: int | None = None,
        seconds: float | None = None,
    ) -> None:
        """Listen until `stop`, or Ctrl-C; or until `count` events or `seconds`, and all was handled.

        workers: functions at a time. queue: events that may wait for one; then overflow="block" leaves the
        rest in the kernel's buffer, which may overrun, and "drop" drops them. Both are counted, and nl_lost
        of the rule's next event tells it. PermissionDenied, KernelError, SchemaError, BusyError if it runs.
        """
        if not self._rules:
            raise SchemaError("nothing to listen to: @app.on(source) says what a function is for")
        with self._lock:
            if self._engine is not None:
                raise BusyError("this listener runs already")
            self._engine = Engine(self._rules, workers=workers, queue=queue, overflow=overflow)
        self._loop.begin()
        try:
            self._engine.run(count, seconds)
        finally:
            self._loop.end(PATIENCE)
            engine, self._engine = self._engine, None
            engine.close()

    def stop(self) -> None:
        """Let `run` return, from any thread or a signal handler. Events that still wait are forgotten."""
        engine = self._engine
        if engine is not None:
            engine.stop()

    def replay(self, feed: Feed) -> int:
        """Call the functions with what a capture has, one after the other in this thread; how many calls.

        Debounced by the times of the capture. What a function raises is logged and counted here, too.
        """
        calls = 0
        self._loop.begin()
        try:
            for job in planned(self._rules, feed):
                handle(job, NOBODY)
                calls += 1
        finally:
            self._loop.end(PATIENCE)
        return calls

    def stats(self) -> dict[str, dict[str, int]]:
        """A rule: matched, handled, failed, timeouts, merged (by debounce), dropped (of a full queue)."""
        return {name: dict(rule.counts) for name, rule in named(self._rules).items()}

    def __repr__(self) -> str:
        return f"<Listener of {', '.join(named(self._rules)) or 'nothing'}>"
