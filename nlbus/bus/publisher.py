"""Publisher: events from this process to every subscriber of their groups."""

from __future__ import annotations

import errno
import threading
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nlbus._core.block import MAX_DATAGRAM
from nlbus._core.send.multicast import RELIABLE_SECONDS
from nlbus._core.send.sender import Sender
from nlbus.bus import transport as ways
from nlbus.bus.transport import Transport
from nlbus.errors import SchemaError, kernel_error
from nlbus.kernel.arguments import seconds, whole
from nlbus.kernel.groups import Groups
from nlbus.kernel.requests import messages, refusal
from nlbus.schema.topic import Topic
from nlbus.sources.bus import BUS, module_protocol
from nlbus.sources.source import NEEDS_ADMIN

if TYPE_CHECKING:
    from nlbus._typing import Array

DATAGRAM_BYTES = MAX_DATAGRAM  # one more byte would cost receivers twice the buffer
MIN_DATAGRAM_BYTES = 128
MAX_LINGER = 1.0


class Publisher:
    """Publishes on the bus of this network namespace; threads may share one.

    transport: "usersock" (NETLINK_USERSOCK, needs no privilege), "module" (nlbus.ko, needs CAP_NET_ADMIN, one
    send reaches all groups of an event), or "auto": the module if it is loaded and we have the privilege,
    else USERSOCK. A publisher keeps its transport: only later publishers use a module that is loaded later.

    reliable: wait up to 5 seconds for a full subscriber that has reliable=True as well, then raise
    KernelError. Through the module only; one stuck subscriber stalls all reliable publishers of its groups.

    linger: seconds, up to 1, that a single event may wait for others of its groups, to share a datagram; 0
    sends at the end of each call. datagram_bytes: the size that datagrams are filled to, at most 32,448.

    An event goes to all its groups, and each subscriber gets it once. A full subscriber loses the event and
    counts the loss: only a reliable publisher waits. SchemaError, PermissionDenied, KernelError.
    """

    def __init__(
        self,
        linger: float = 0.0,
        *,
        transport: Transport = "auto",
        reliable: bool = False,
        datagram_bytes: int = DATAGRAM_BYTES,
    ) -> None:
        linger = seconds(linger, "linger", MAX_LINGER)
        datagram_bytes = whole(datagram_bytes, "datagram_bytes", MIN_DATAGRAM_BYTES, DATAGRAM_BYTES)
        module = _module(ways.checked(transport), reliable)
        self.transport = "usersock" if module is None else "module"
        self._place = "NETLINK_USERSOCK" if module is None else "nlbus.ko"
        if module is not None:
            ways.arrived()  # have subscribers of this process join it first, or they miss our events
        try:
            self._sender = Sender(
                BUS.protocol if module is None else module,
                limit=datagram_bytes,
                linger=linger,
                portid=self._portid,
                relayed=module is not None,
                acked=reliable,
            )
        except OSError as error:
            raise kernel_error(error.errno or 0, f"opening a publisher on {self._place}") from error
        self._publish_one = self._sender.publish_one
        self._masks: dict[object, int] = {}
        # The thread refers to the sender only, so that it does not keep the publisher alive.
        timer = threading.Thread(target=self._sender.run_timer, name="nlbus-publisher", daemon=True)
        timer.start()
        self._close = weakref.finalize(self, _close, self._sender, timer)

    # 0: the kernel chooses. Tests set it, to restart a publisher under the address of another.
    _portid = 0

    def publish(
        self,
        data: bytes | bytearray | memoryview | np.void,
        groups: int | Iterable[int] | None = None,
        type: int = 0,
        *,
        topic: Topic | None = None,
    ) -> None:
        """Publish one event of any bytes, to these groups or to the topic's.

        SchemaError if it does not fit a datagram or the topic; ClosedError; KernelError.
        """
        fingerprint = 0
        if topic is not None:
            groups, type, fingerprint = self._of_topic(topic, groups, type)
            # np.void is a buffer, too; its stubs do not say so.
            size = memoryview(data).nbytes  # type: ignore[arg-type]
            if size != topic.dtype.itemsize:
                raise SchemaError(
                    f"an event of topic {topic.name} has {topic.dtype.itemsize} bytes, not {size}"
                )
        try:
            mask = self._masks[groups]
        except (KeyError, TypeError):
            mask = self._mask(groups)
        publish_one = self._publish_one  # a plain attribute is cheaper than a method lookup
        try:
            publish_one(data, mask, type, fingerprint)
        except OSError as error:
            raise self._refused(error, "publishing") from error

    def publish_many(
        self,
        records: Array,
        groups: int | Iterable[int] | None = None,
        type: int = 0,
        *,
        topic: Topic | None = None,
        masks: Array | None = None,
    ) -> None:
        """Publish the rows of an array, one event each: structured, or 2-D of any plain dtype.

        They go to `groups`, to the topic's groups, or each row to the groups of its own mask (uint32, bit
        g - 1 is group g). A contiguous array is sent without a copy.

        SchemaError, ClosedError, KernelError.
        """
        records = np.ascontiguousarray(records)
        fingerprint = 0
        if topic is not None:
            if masks is None:
                groups, type, fingerprint = self._of_topic(topic, groups, type)
            else:
                _, type, fingerprint = self._of_topic(topic, 1, type)
            if records.dtype != topic.dtype or records.ndim != 1:
                raise SchemaError(f"records of {records.dtype} for topic {topic.name} of {topic.dtype}")
        size = _record_size(records)
        if len(records) == 0:
            return
        mask = 0
        if masks is None:
            mask = self._mask(groups)
        elif groups is not None:
            raise SchemaError("groups and masks: pass one of them")
        else:
            masks = _bytes(_masks(masks, len(records)))
        try:
            self._sender.publish(_bytes(records), len(records), size, mask, masks, type, fingerprint)
        except OSError as error:
            raise self._refused(error, "publishing") from error

    def flush(self) -> None:
        """Send lingering events. ClosedError, KernelError."""
        self._sender.check()
        try:
            self._sender.flush()
        except OSError as error:
            raise self._refused(error, "publishing") from error

    def close(self) -> None:
        """Send lingering events and a last heartbeat per stream, then close; twice is fine. KernelError."""
        try:
            self._close()
        except OSError as error:
            raise self._refused(error, "closing a publisher") from error

    def stats(self) -> dict[str, Any]:
        """Counters: `streams` has groups (a mask), instance, events and datagrams of each stream.

        There are at most 1024 streams; `evicted` counts those that made room for others. `failed` counts
        lingering events that the kernel refused when they were sent.
        """
        names = ("groups", "instance", "events", "datagrams")
        return {
            "portid": self._sender.portid,
            "streams": [dict(zip(names, row, strict=True)) for row in self._sender.stream_rows()],
            "evicted": self._sender.evicted,
            "failed": self._sender.failed,
        }

    @property
    def portid(self) -> int:
        """The address that subscribers see."""
        return self._sender.portid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refused(self, error: OSError, doing: str) -> Exception:
        """The error, in the words of the kernel or the module if it gave any."""
        number = error.errno or 0
        action = f"{doing} on {self._place}"
        help = ""
        if self.transport == "module" and number == errno.ENOBUFS:
            help = f"a reliable subscriber was full for {RELIABLE_SECONDS} seconds: the others got it"
        for reply, _ in messages(self._sender.refusal()):
            if refused := refusal(reply, action, help):
                return refused
        return kernel_error(number, action, help)

    def _mask(self, groups: int | Iterable[int] | None) -> int:
        if groups is None:
            raise SchemaError("no destination: pass groups= or topic=")
        try:
            return self._masks[groups]
        except (KeyError, TypeError):
            pass
        mask = Groups.of(groups).mask
        if not mask:
            raise SchemaError("an empty set of groups: nobody would receive it")
        if isinstance(groups, int | Groups | tuple) and len(self._masks) < 1024:
            self._masks[groups] = mask
        return mask

    @staticmethod
    def _of_topic(topic: Topic, groups: Any, type: int) -> tuple[Any, int, int]:
        if type not in (0, topic.type):
            raise SchemaError(f"type={type:#x} for topic {topic.name} of type {topic.type:#x}")
        return topic.groups if groups is None else groups, topic.type, topic.fingerprint


def _module(transport: Transport, reliable: bool) -> int | None:
    """The protocol of nlbus.ko if we use it, else None. SchemaError, PermissionDenied, KernelError."""
    if transport == "usersock":
        why = "transport='usersock' was requested"
    else:
        protocol = module_protocol()
        if protocol is None:
            number, why = errno.EPROTONOSUPPORT, ways.NOT_LOADED
        elif ways.may_publish(protocol):
            return protocol
        else:
            number, why = errno.EPERM, f"publishing through nlbus.ko {NEEDS_ADMIN.partition(' ')[2]}"
        if transport == "module":
            raise kernel_error(number, "opening a publisher on nlbus.ko", why)
    if reliable:
        raise SchemaError(
            f"reliable: over NETLINK_USERSOCK the kernel reports no full subscriber to a sender; {why}"
        )
    return None


def _close(sender: Sender, timer: threading.Thread) -> None:
    if sender.inherited:
        # After a fork, a thread of the parent may hold the lock; the events are the parent's.
        sender.shut()
        return
    try:
        if not sender.closed:
            sender.flush(last=True)
    finally:
        # Garbage collection may run in the timer itself.
        if timer is not threading.current_thread():
            timer.join()
        sender.shut()


def _record_size(records: Array) -> int:
    if records.dtype.hasobject or records.ndim not in (1, 2):
        raise SchemaError(
            f"an array of {records.dtype} with {records.ndim} dimensions: publish a structured array, or "
            "a 2-D one with one row per event"
        )
    return int(records.dtype.itemsize * (records.shape[1] if records.ndim == 2 else 1))


def _masks(masks: Array, count: int) -> Array:
    masks = np.asarray(masks)
    if masks.dtype != np.uint32 or masks.shape != (count,):
        raise SchemaError(f"masks: {count} of uint32, one per record, not {masks.shape} of {masks.dtype}")
    if not masks.all():
        raise SchemaError(f"masks: record {int(np.flatnonzero(masks == 0)[0])} goes to no group")
    return np.ascontiguousarray(masks)


def _bytes(array: Array) -> Array:
    return array.reshape(-1).view(np.uint8)
