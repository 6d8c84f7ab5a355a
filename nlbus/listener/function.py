"""Functions as handlers: sync functions run in the worker, async ones in one shared event loop."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from nlbus.errors import SchemaError
from nlbus.listener.events import Event
from nlbus.listener.rule import HandlerError

if TYPE_CHECKING:
    import asyncio

    from nlbus.listener.rule import Rule


class Function:
    """A function that takes an event, or a coroutine function, which `loop` runs."""

    def __init__(self, function: Callable[[Event], Any], loop: Loop, name: str = "") -> None:
        self.function = function
        self._name = name or getattr(function, "__qualname__", repr(function))
        self._async = inspect.iscoroutinefunction(function)
        self._loop = loop

    def handle(self, rule: Rule, event: Event, ending: int) -> None:
        """Call the function. Raises whatever it raises."""
        if self._async:
            self._loop.run(self.function, event)
        else:
            self.function(event)

    def __str__(self) -> str:
        return self._name


class Loop:
    """An event loop in its own thread, between `begin` and `end`; the first coroutine starts it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Future[None]  # ends the loop
        self._over = True

    def begin(self) -> None:
        """Allow coroutines to run."""
        self._over = False

    def run(self, function: Callable[[Event], Coroutine[Any, Any, Any]], event: Event) -> None:
        """Run a coroutine to its end, from another thread. HandlerError if the loop ends before it."""
        # asyncio would take half of the time of importing nlbus, and most listeners have no coroutines.
        import asyncio  # noqa: PLC0415
        from concurrent.futures import CancelledError  # noqa: PLC0415

        with self._lock:
            if self._over:
                raise HandlerError("ended with us")
            if self._loop is None:
                loop = self._loop = asyncio.new_event_loop()
                self._ended = loop.create_future()
                self._thread = threading.Thread(
                    target=_serve, args=[loop, self._ended], name="nlbus-asyncio", daemon=True
                )
                try:
                    self._thread.start()
                except RuntimeError as error:
                    self._loop = self._thread = None
                    loop.close()
                    raise HandlerError(str(error)) from error
            future = asyncio.run_coroutine_threadsafe(function(event), self._loop)
        try:
            future.result()
        except (CancelledError, asyncio.CancelledError):
            raise HandlerError("ended with us") from None

    def end(self, patience: float) -> None:
        """Cancel running coroutines, and end the thread."""
        with self._lock:
            self._over = True
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(self._ended.set_result, None)
            thread.join(patience)


def _serve(loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
    import asyncio  # noqa: PLC0415

    asyncio.set_event_loop(loop)
    try:
        _run_until(loop, ended)
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        _run_until(loop, asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _run_until(loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any]) -> None:
    while not done.done():
        # These leave the loop; the task reports them too.
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            loop.run_until_complete(done)


def entry_point(text: str) -> Callable[[Event], Any]:
    """The function that `module:name` names. SchemaError."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise SchemaError(f"{text!r}: not module:function, as in alarms:flap")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # a module may raise anything
        raise SchemaError(f"{text}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise SchemaError(f"{text}: not a function but {type(found).__name__}")
    return found  # type: ignore[no-any-return]
