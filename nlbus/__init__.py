"""nlbus: Linux netlink multicast as a high-throughput event bus.

Subscribe to the kernel's events or to other processes' and get numpy arrays; publish arrays. Nothing is lost
without being counted.
"""

from __future__ import annotations

import sys
from importlib import import_module

# As in typing, whose import would take as long as all of this.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from nlbus.aio import AsyncSubscriber
    from nlbus.bus.batch import Batch
    from nlbus.bus.merge import Merged, merge
    from nlbus.bus.publisher import Publisher
    from nlbus.bus.snapshot import snapshot
    from nlbus.bus.state.state import State
    from nlbus.bus.subscriber import Subscriber
    from nlbus.bus.verdicts.decision import Verdict
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
    from nlbus.frames import duckdb_view, scan
    from nlbus.kernel.groups import Groups
    from nlbus.listener import Listener
    from nlbus.module import ModuleStats, module_stats, set_module
    from nlbus.schema.topic import Topic
    from nlbus.sources import Source, sources
    from nlbus.table.describe import TableSchema, schema
    from nlbus.table.expressions import Expression, field
    from nlbus.table.loss import Loss
    from nlbus.table.table import Table

__version__ = "0.1.0"

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
    "Merged",
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
    "Verdict",
    "Window",
    "duckdb_view",
    "field",
    "merge",
    "module_stats",
    "netlink_sockets",
    "open_capture",
    "record",
    "scan",
    "schema",
    "set_module",
    "snapshot",
    "sources",
    "wait",
]

if not TYPE_CHECKING:
    ModuleType = type(sys)

# A public name is imported when it is first used, so that `nlbus --help` starts without numpy.
_HOMES = {
    "nlbus.aio": "AsyncSubscriber",
    "nlbus.bus.batch": "Batch",
    "nlbus.bus.merge": "Merged merge",
    "nlbus.bus.publisher": "Publisher",
    "nlbus.bus.snapshot": "snapshot",
    "nlbus.bus.state.state": "State",
    "nlbus.bus.subscriber": "Subscriber",
    "nlbus.bus.verdicts.decision": "Verdict",
    "nlbus.bus.wait": "wait",
    "nlbus.bus.windows": "Window",
    "nlbus.capture": "Capture Recorded open_capture record",
    "nlbus.diag": "NetlinkSocket netlink_sockets",
    "nlbus.errors": "ArenaFull BusyError CaptureError ClosedError KernelError LossError MissingExtra "
    "NlbusError PermissionDenied SchemaError UnknownColumn UnknownSource",
    "nlbus.frames": "duckdb_view scan",
    "nlbus.kernel.groups": "Groups",
    "nlbus.listener": "Listener",
    "nlbus.module": "ModuleStats module_stats set_module",
    "nlbus.schema.topic": "Topic",
    "nlbus.sources": "Source sources",
    "nlbus.table.describe": "TableSchema schema",
    "nlbus.table.expressions": "Expression field",
    "nlbus.table.loss": "Loss",
    "nlbus.table.table": "Table",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}
# Public as well, as in nlbus.packet.rules().
_MODULES = ("aio", "capture", "diag", "errors", "faults", "frames", "listener", "module", "packet", "ynl")


def __getattr__(name: str) -> Any:
    """Import a public name (PEP 562)."""
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


class _Package(ModuleType):
    """Importing the packages nlbus.schema and nlbus.sources must not hide the functions of these names."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOME or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
