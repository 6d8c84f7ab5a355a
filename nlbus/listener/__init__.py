"""Listeners: functions and programs for events, in the manner of udev rules."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlbus.listener.app import Listener

__all__ = ["Listener"]


def __getattr__(name: str) -> Any:
    """Import the class when it is used: others use single modules of this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nlbus.listener.app import Listener  # noqa: PLC0415

    return Listener
