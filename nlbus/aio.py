"""AsyncSubscriber: batches for asyncio, uvloop included, and through anyio for trio; no thread, no queue."""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self

from nlbus.bus.batch import Batch
from nlbus.bus.merge import Merged
from nlbus.bus.state.state import State
from nlbus.bus.stream import Feed
from nlbus.bus.subscriber import Subscriber
from nlbus.errors import BusyError, ClosedError, MissingExtra
from nlbus.kernel.arguments import optional_seconds, whole
from nlbus.kernel.groups import Groups
from nlbus.sources import GroupsLike

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from nlbus.table.table import Table

P = ParamSpec("P")


def _as(model: Callable[Concatenate[Any, P], None]) -> Callable[[Any], Callable[Concatenate[Any, P], None]]:
    """Let a method have another one's parameters, for type checkers and help()."""
    return functools.wraps(model, assigned=())


class AsyncFeed:
    """Batches that are awaited: of a Subscriber, or of several. The errors are those of its recv.

    One task receives at a time (BusyError). A recv that is cancelled, at whatever moment, has taken nothing:
    the next one gets the batch. All else is plain calls, from any task or thread; so is `close`, which wakes
    the receiving task with ClosedError. It belongs to no event loop and may move from one to another.

    On asyncio nothing else is needed; elsewhere MissingExtra is raised where anyio is not installed.
    """

    def __init__(self, feed: Subscriber | Merged) -> None:
        self._subscriber = feed
        self._receiving = False

    # -- receiving --------------------------------------------------------------------------------

    async def recv(self, timeout: float | None = None) -> Batch:
        """The next batch; an empty one when `timeout` seconds are up. 0 only looks, None waits for ever.

        Other tasks get their turn first in each call, however fast batches come: so a cancel scope without
        any time gets nothing, use timeout=0. The errors are Subscriber.recv's.
        """
        if self._receiving:
            raise BusyError("another task is receiving: one consumer a subscriber")
        fd = self._subscriber.fileno()
        limit = optional_seconds(timeout, "timeout")
        deadline = math.inf if limit is None else time.monotonic() + limit
        self._receiving = True
        try:
            await _turn()
            while True:
                # Nothing is awaited between taking a batch and returning it: that makes cancelling safe.
                batch = self._subscriber.recv(timeout=0)
                left = deadline - time.monotonic()
                if batch or batch.loss or batch.complete or left <= 0:
                    return batch
                await _readable(fd, left)
        finally:
            self._receiving = False

    def batches(self, timeout: float | None = None, stop_after: int | None = None) -> AsyncIterator[Batch]:
        """Batches until none came for `timeout` seconds, or `stop_after` events were yielded, or `close`.

        SchemaError, and what recv raises.
        """
        limit = None if stop_after is None else whole(stop_after, "stop_after", 0, sys.maxsize)
        return _Batches(self, optional_seconds(timeout, "timeout"), limit)

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self.batches()

    # -- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Close it: a waiting recv raises ClosedError. Closing twice is fine."""
        self._subscriber.close()

    async def aclose(self) -> None:
        """Close, for contextlib.aclosing."""
        self.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._subscriber.closed

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    # -- what is going on -------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Counters since the start, by name: see Subscriber.stats."""
        return self._subscriber.stats()

    def explain(self) -> str:
        """The opened sockets and what the kernel granted, in words."""
        return self._subscriber.explain()

    def fileno(self) -> int:
        """A descriptor, readable while recv(timeout=0) has news. Do not register it: `recv` does."""
        return self._subscriber.fileno()

    def __repr__(self) -> str:
        return repr(self._subscriber).replace("<Subscriber", f"<{type(self).__name__}")


class AsyncSubscriber(AsyncFeed):
    """A Subscriber whose batches are awaited: the same parameters, the same errors. See AsyncFeed."""

    _subscriber: Subscriber

    @_as(Subscriber.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(Subscriber(*args, **kwargs))

    @property
    def state(self) -> State:
        """The current objects, as of the last batch that recv returned: see Subscriber.state. SchemaError."""
        return self._subscriber.state

    # -- membership -------------------------------------------------------------------------------

    @property
    def groups(self) -> Groups:
        """The groups that this subscriber belongs to now."""
        return self._subscriber.groups

    def join(self, groups: GroupsLike) -> None:
        """Join further groups. PermissionDenied, UnknownSource, SchemaError, ClosedError."""
        self._subscriber.join(groups)

    def leave(self, groups: GroupsLike) -> None:
        """Leave groups; what was sent to them until now is still delivered."""
        self._subscriber.leave(groups)

    def verdict(
        self,
        rows: Batch | Table,
        accept: bool | ArrayLike | None = None,
        *,
        verdicts: int | ArrayLike | None = None,
        mark: int | ArrayLike | None = None,
        payload: Mapping[int, bytes] | None = None,
    ) -> int:
        """Decide on packets that wait in the kernel: see Subscriber.verdict."""
        return self._subscriber.verdict(rows, accept, verdicts=verdicts, mark=mark, payload=payload)

    @property
    def transport(self) -> str:
        """How events come: see Subscriber.transport."""
        return self._subscriber.transport


class AsyncMerged(AsyncFeed):
    """The batches of several subscribers as one, in order of time, as of nlbus.merge."""

    def __init__(self, subscribers: Iterable[AsyncSubscriber | Feed]) -> None:
        feeds = [each._subscriber if isinstance(each, AsyncFeed) else each for each in subscribers]
        super().__init__(Merged(feeds))


def merge(subscribers: Iterable[AsyncSubscriber | Feed]) -> AsyncMerged:
    """The batches of several subscribers as one feed to await, in order of time. SchemaError."""
    return AsyncMerged(subscribers)


class _Batches(AsyncIterator[Batch]):
    """Not an async generator, which must be closed and ends with the first LossError."""

    def __init__(self, subscriber: AsyncFeed, timeout: float | None, stop_after: int | None) -> None:
        self._subscriber = subscriber
        self._timeout = timeout
        self._left = math.inf if stop_after is None else stop_after

    async def __anext__(self) -> Batch:
        if self._left <= 0:
            raise StopAsyncIteration
        try:
            batch = await self._subscriber.recv(self._timeout)
        except ClosedError:
            raise StopAsyncIteration from None
        if not batch and not batch.loss and not batch.complete:
            raise StopAsyncIteration
        self._left -= len(batch)
        return batch


# -- the two kinds of event loop ----------------------------------------------------------------------


async def _turn() -> None:
    """Let all other tasks run; a cancellation takes effect here."""
    if _on_asyncio():
        import asyncio  # noqa: PLC0415

        await asyncio.sleep(0)
    else:
        await _anyio().lowlevel.checkpoint()


async def _readable(fd: int, seconds: float) -> None:
    """Return once fd is readable, or `seconds` are up (or a little before)."""
    if _on_asyncio():
        await _asyncio_readable(fd, seconds)
    else:
        with _anyio().move_on_after(seconds):
            await _anyio().wait_readable(fd)


async def _asyncio_readable(fd: int, seconds: float) -> None:
    import asyncio  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    news: asyncio.Future[None] = loop.create_future()
    # Only while a task waits: a descriptor that stays readable would keep the loop awake.
    loop.add_reader(fd, _settle, news)
    timer = loop.call_later(seconds, _settle, news) if seconds < math.inf else None
    try:
        await news
    finally:
        if timer is not None:
            timer.cancel()
        if not loop.is_closed():  # as for a task that is garbage-collected
            loop.remove_reader(fd)


def _settle(news: asyncio.Future[None]) -> None:
    if not news.done():
        news.set_result(None)


def _on_asyncio() -> bool:
    """Whether an asyncio task awaits us: a running loop may also host trio in guest mode."""
    # A program on asyncio has imported it. For others, it would be a quarter of the import of nlbus.
    asyncio = sys.modules.get("asyncio")
    try:
        return asyncio is not None and asyncio.current_task() is not None
    except RuntimeError:
        return False


def _anyio() -> Any:
    try:
        import anyio.lowlevel  # noqa: PLC0415

        anyio.wait_readable  # noqa: B018 - since 4.7
    except (ImportError, AttributeError) as error:
        raise MissingExtra(
            "AsyncSubscriber does without it on asyncio only; elsewhere, as on trio, it needs anyio 4.7 or "
            "later: pip install anyio"
        ) from error
    return anyio
