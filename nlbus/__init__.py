"""nlbus: Linux netlink multicast as a high-throughput event bus.

Subscribe to the kernel's events or to other processes' and get numpy arrays; publish arrays. Nothing is lost
without being counted.
"""

from nlbus.aio import AsyncSubscriber
from nlbus.bus.batch import Batch
from nlbus.bus.publisher import Publisher
from nlbus.bus.snapshot import snapshot
from nlbus.bus.state import State
from nlbus.bus.subscriber import Subscriber
from nlbus.bus.wait import wait
from nlbus.bus.windows import Window
from nlbus.capture import Capture, Recorded, open_capture, record
from nlbus.diag import NetlinkSocket, netlink_sockets
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
from nlbus.kernel.groups import Groups
from nlbus.listener import Listener
from nlbus.module import ModuleStats, module_stats, set_module
from nlbus.schema.topic import Topic
from nlbus.sources import Source, sources
from nlbus.table.describe import TableSchema, schema
from nlbus.table.expressions import Expression, field
from nlbus.table.loss import Loss
from nlbus.table.table import Table

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
