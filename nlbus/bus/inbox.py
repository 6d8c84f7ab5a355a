"""Batches that were received but not yet delivered: while groups changed, and snapshots."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from nlbus.bus.state.tracker import Dumped

if TYPE_CHECKING:
    from nlbus._core.receive.receiver import Receiver
    from nlbus.bus.batch import Batch


class Waiting(NamedTuple):
    """A batch in the inbox, or a dump that becomes one when its turn comes.

    covered: a snapshot that was taken later makes up for its losses.
    """

    batch: Batch | Dumped
    covered: bool


class Inbox:
    """The batches that recv returns before it asks the kernel for more.

    The consumer takes; other threads put while the consumer is paused. `stale`: events were lost, and no
    snapshot has made up for them yet. `answers`: replies of the kernel to us, which a socket counts as
    delivered messages.
    """

    def __init__(self, receiver: Receiver, more: Callable[[], bool]) -> None:
        self._receiver = receiver
        self._more = more  # whether recv has news beside these batches
        self._waiting: deque[Waiting] = deque()
        self.stale = False
        self.answers = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def messages(self) -> int:
        """Live messages (events) in the inbox: the sockets counted them, but recv has not returned them."""
        return sum(
            len(one.batch)
            for one in tuple(self._waiting)
            if not isinstance(one.batch, Dumped) and one.batch.origin == "live"
        )

    def put(self, batches: Iterable[Batch | Dumped], answers: int = 0) -> None:
        """Add batches from which this many answers were removed."""
        self._waiting.extend(Waiting(batch, False) for batch in batches)
        self.answers += answers

    def put_first(self, batches: Iterable[Batch]) -> None:
        """Add batches that are older than all others."""
        self._waiting.extendleft(Waiting(batch, False) for batch in reversed(list(batches)))

    def put_snapshot(self, batches: Iterable[Batch | Dumped]) -> None:
        """Add a snapshot that makes up for whatever the batches before it lost."""
        self._waiting = deque(Waiting(one.batch, True) for one in self._waiting)
        self.put(batches)
        self.stale = False

    def take(self) -> Waiting:
        """The oldest batch."""
        one = self._waiting.popleft()
        self.unsignal()
        return one

    def unsignal(self) -> None:
        """Let the receiver's fileno() fall silent, unless batches wait here."""
        if not self._waiting:
            self._receiver.unsignal()
            if self._waiting or self._more():  # another thread put one meanwhile
                self._receiver.signal()
