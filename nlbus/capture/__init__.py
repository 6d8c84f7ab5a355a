"""Capture files, written and read."""

from nlbus.capture.reader import Capture, open_capture
from nlbus.capture.recorded import Recorded, Recording
from nlbus.capture.recorder import Recorder, record

__all__ = ["Capture", "Recorded", "Recorder", "Recording", "open_capture", "record"]
