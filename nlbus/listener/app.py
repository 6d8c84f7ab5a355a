"""Listener: rules in Python, one decorator per rule."""

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
    from nlbus.sources import GroupsLike, Source
    from nlbus.table.expressions import Expression

Handler = TypeVar("Handler", bound=Callable[[dict[str, Any]], Any])

NO_STOP = -1  # no descriptor: a function called in our own thread is not interrupted


class Listener:
    """Calls functions with events in a few threads; events of one device or key keep their order.

    A function gets a dict: for uevent the variables of the device, as the programs of udev rules do; for a
    source with tables the columns that have a value, as from `Table.iter_rows`; for other sources the type
    and payload of the message. It also holds nl_table, nl_op ("new", "change", "del"), nl_time (ns UTC),
    nl_origin ("live", "snapshot", "resync", "repair"), nl_group; nl_lost, the number of events or datagrams
    lost since the rule's last event; and nl_count, the number of events that a debounced one stands for.

    An exception in a function, SystemExit included, is logged (logger "nlbus") and counted, and the listener
    goes on; `stop` ends it. All async functions run in one event loop in a thread of its own.
    """

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._loop = Loop()
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    def on(
        self,
        source: str | Source,
        match: Mapping[str, str] | None = None,
        where: Expression | str | None = None,
        table: str | Topic | Iterable[str | Topic] | None = None,
        *,
        groups: GroupsLike | None = None,
        debounce: float = 0.0,
        initial: bool = False,
        repair: bool | None = None,
        netns: Netns = None,
        options: Mapping[str, float] | None = None,
        trust: Trust = None,
        buffer_events: int | None = None,
        name: str = "",
    ) -> Callable[[Handler], Handler]:
        """Decorate a function that gets the matching events.

        match: globs by key, `|` between alternatives; all must match. where: an expression of `field`, or a
        text such as 'mtu > 1500 and ifname ~ "eth*"'. table: only events of these tables; a Topic on the bus.
        groups, netns, options, trust, buffer_events: as for a Subscriber; uevent's group "kernel" precedes
        udev's rules, "udev" follows them. debounce: deliver only the last event of a device or key, after so
        many seconds without another (at most ten times as many after the first). initial: deliver current
        objects first. repair: also deliver what the kernel changes without a message, as routes that go with
        their link (nl_origin "repair"), and after a loss the differences ("resync"). None: as `initial`;
        False: with `initial`, all objects come again after a loss. name: of the rule, in logs and `stats`.
        SchemaError, UnknownColumn, UnknownSource, KernelError.
        """

        def add(function: Handler) -> Handler:
            self._rules.append(
                Rule(
                    source=str(source),
                    handler=Function(function, self._loop),
                    name=name,
                    groups=groups,
                    tables=table,
                    match=match or {},
                    where=parse(where) if isinstance(where, str) else where,
                    debounce=debounce,
                    initial=initial,
                    repair=repair,
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
        """Listen until `stop` or Ctrl-C; or until `count` events or `seconds`, and all events are handled.

        workers: functions that run at the same time, 1 to 1024. queue: events that may wait for a worker, up
        to 1,000,000. When it is full, overflow="block" leaves further events in the kernel's buffer, which
        may overrun, and "drop" drops them; both are counted, and the rule's next event reports them as
        nl_lost. PermissionDenied, KernelError, SchemaError; BusyError if it runs already.
        """
        if not self._rules:
            raise SchemaError("nothing to listen to: decorate a function with @app.on(source)")
        with self._lock:
            if self._engine is not None:
                raise BusyError("this listener is running already")
            self._engine = Engine(self._rules, workers=workers, queue=queue, overflow=overflow)
        self._loop.begin()
        try:
            self._engine.run(count, seconds)
        finally:
            self._loop.end(PATIENCE)
            engine, self._engine = self._engine, None
            engine.close()

    def stop(self) -> None:
        """Make `run` return, from any thread or a signal handler. Waiting events are dropped."""
        engine = self._engine
        if engine is not None:
            engine.stop()

    def replay(self, feed: Feed) -> int:
        """Call the functions with the events of a capture, one by one in this thread; return how many calls.

        Debouncing follows the times in the capture. Exceptions are logged and counted as in `run`.
        """
        calls = 0
        self._loop.begin()
        try:
            for job in planned(self._rules, feed):
                handle(job, NO_STOP)
                calls += 1
        finally:
            self._loop.end(PATIENCE)
        return calls

    def stats(self) -> dict[str, dict[str, int]]:
        """Counters per rule: matched, handled, failed, timeouts, merged (debounced), dropped (queue full)."""
        return {name: dict(rule.counts) for name, rule in named(self._rules).items()}

    def __repr__(self) -> str:
        return f"<Listener of {', '.join(named(self._rules)) or 'nothing'}>"
