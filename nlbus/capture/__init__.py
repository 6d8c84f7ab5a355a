"""Floor 5: capture files, written and read."""

from nlbus.capture.reader import Capture, open_capture
from nlbus.capture.recorder import Recorded, Recorder, record

__all__ = ["Capture", "Recorded", "Recorder", "open_capture", "record"]
