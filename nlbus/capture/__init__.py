"""Capture files, written and read."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlbus.capture.reader import Capture, open_capture
    from nlbus.capture.recorded import Recorded, Recording
    from nlbus.capture.recorder import Recorder, record

__all__ = ["Capture", "Recorded", "Recorder", "Recording", "open_capture", "record"]

_HOMES = {
    "Capture": "reader",
    "Recorded": "recorded",
    "Recorder": "recorder",
    "Recording": "recorded",
    "open_capture": "reader",
    "record": "recorder",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is used: others use single modules of this package."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
