"""nlbus: Linux netlink multicast as a high-throughput event bus.

Subscribe to the kernel's events or to other processes' and get numpy arrays; publish arrays. Nothing is lost
without being counted.
"""

from nlbus.aio import AsyncSubscriber
from nlbus.batch import Batch
from nlbus.capture import Capture, Recorded, open_capture, record
from nlbus.describe import TableSchema, schema
from nlbus.diag import NetlinkSocket, netlink_sockets
from nlbus.dumping import snapshot
from nlbus.errors import (
    ArenaFull,
    BusyError,
    CaptureError,
    ClosedError,
    KernelError,
    LossError,
    MissingExtra,
    NlbusError,
    PermissionDenied,
    SchemaError,
    UnknownColumn,
    UnknownSource,
)
from nlbus.expressions import Expression, field
from nlbus.groups import Groups
from nlbus.listener import Listener
from nlbus.loss import Loss
from nlbus.module import ModuleStats, module_stats, set_module
from nlbus.publisher import Publisher
from nlbus.sources import Source, sources
from nlbus.state import State
from nlbus.subscriber import Subscriber
from nlbus.table import Table
from nlbus.topic import Topic
from nlbus.waiting import wait
from nlbus.windows import Window

__all__ = [
    "ArenaFull",
    "AsyncSubscriber",
    "Batch",
    "BusyError",
    "Capture",
    "CaptureError",
    "ClosedError",
    "Expression",
    "Groups",
    "KernelError",
    "Listener",
    "Loss",
    "LossError",
    "MissingExtra",
    "ModuleStats",
    "NetlinkSocket",
    "NlbusError",
    "PermissionDenied",
    "Publisher",
    "Recorded",
    "SchemaError",
    "Source",
    "State",
    "Subscriber",
    "Table",
    "TableSchema",
    "Topic",
    "UnknownColumn",
    "UnknownSource",
    "Window",
    "field",
    "module_stats",
    "netlink_sockets",
    "open_capture",
    "record",
    "schema",
    "set_module",
    "snapshot",
    "sources",
    "wait",
]
