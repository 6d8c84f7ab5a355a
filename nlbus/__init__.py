"""nlbus: Linux netlink multicast as a high-throughput event bus.

Subscribe to the kernel's events or to other processes' and get numpy arrays; publish arrays. Nothing is lost
without being counted.
"""

from nlbus.batch import Batch
from nlbus.errors import (
    ArenaFull,
    BusyError,
    ClosedError,
    KernelError,
    LossError,
    MissingExtra,
    NlbusError,
    PermissionDenied,
    SchemaError,
    UnknownSource,
)
from nlbus.groups import Groups
from nlbus.loss import Loss
from nlbus.publisher import Publisher
from nlbus.sources import Source, sources
from nlbus.subscriber import Subscriber
from nlbus.topic import Topic
from nlbus.waiting import wait

__all__ = [
    "ArenaFull",
    "Batch",
    "BusyError",
    "ClosedError",
    "Groups",
    "KernelError",
    "Loss",
    "LossError",
    "MissingExtra",
    "NlbusError",
    "PermissionDenied",
    "Publisher",
    "SchemaError",
    "Source",
    "Subscriber",
    "Topic",
    "UnknownSource",
    "sources",
    "wait",
]
