"""Listeners: functions and programs for events, in the manner of udev rules."""

from nlbus.listener.app import Listener

__all__ = ["Listener"]
